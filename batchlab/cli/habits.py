"""Commands that people type by habit and that are called otherwise here."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# what is typed: what to type instead
_HABITS = {
    ("resume", "continue", "restart"): "batchlab run goes on with a run: type the same command again",
    ("start", "submit", "go", "exec"): "did you mean batchlab run JOB.toml?",
    ("list", "runs", "history", "dir"): "did you mean batchlab ls?",
    ("tail", "watch", "follow", "monitor", "top", "attach"): "did you mean batchlab status RUN --watch?",
    ("ps", "progress", "info", "inspect", "state"): "did you mean batchlab status RUN?",
    (
        "cat",
        "head",
        "less",
        "print",
        "answers",
        "results",
        "get",
        "open",
    ): "did you mean batchlab show RUN?",
    ("browse", "browser", "dashboard", "serve", "ui", "web"): "did you mean batchlab view?",
    ("log", "logs"): "batchlab status RUN says how it goes, batchlab show RUN what was answered; "
    "batchlab run … --log-file FILE keeps a log",
    (
        "stop",
        "kill",
        "pause",
    ): "batchlab status RUN names its process: kill PID ends it in order, resumable; batchlab cancel RUN calls off its batches",
    ("errors", "failures", "failed"): "did you mean batchlab show RUN --status failed?",
    ("rerun", "redo", "again"): "did you mean batchlab retry RUN?",
    ("validate", "test", "dry-run", "estimate", "preview", "lint"): "did you mean batchlab plan JOB.toml?",
    ("ping", "doctor", "login", "auth"): "did you mean batchlab check?",
    ("new", "create"): "did you mean batchlab init?",
    (
        "models",
        "presets",
        "providers",
    ): "batchlab check --list names the services; -m takes the name of any model of theirs",
    ("fetch", "gather", "poll"): "did you mean batchlab collect RUN?",
    ("abort",): "did you mean batchlab cancel RUN?",
    ("download", "save", "output", "to-csv", "convert"): "did you mean batchlab export RUN -o FILE?",
    ("price", "prices", "costs", "usage", "spend"): "did you mean batchlab cost RUN?",
    ("help", "man", "docs", "manual"): "did you mean batchlab --help, or batchlab guide?",
    ("version",): "did you mean batchlab --version?",
    ("html", "page", "plot"): "did you mean batchlab report RUN?",
    ("rm", "delete", "clean", "remove"): "a run is a directory: delete runs/NAME yourself",
}
_SAID = {word: said for words, said in _HABITS.items() for word in words}


def instead_of(word: str, commands: Iterable[str]) -> str:
    """What to say of a command that there is not."""
    if (said := _SAID.get(word.lower())) is not None:
        return f"there is no command {word!r}; {said}"
    if close := difflib.get_close_matches(word.lower(), [*commands], n=1, cutoff=0.6):
        return f"there is no command {word!r}; did you mean batchlab {close[0]}?"
    if word.endswith((".toml", ".jsonl", ".csv", ".parquet")):
        return f"there is no command {word!r}; did you mean batchlab run {word}?"
    return f"there is no command {word!r}; batchlab --help lists them."
