"""Chaos mocks by others: aimock (npm, MIT) and llmock (PyPI, MIT), each with its own journal.

    python -m tests.proofs.real.chaos                   # some two minutes; needs npm and pip for the first time
    python -m tests.proofs.real.chaos --only llmock

300 rows, plain and streamed, killed once and resumed, while the mock drops requests, cuts connections,
answers nonsense, refuses by rate, and keeps a rate limit of its own. What a row must end as is read from
the mock's journal: once it has refused a row for good, that row has failed; else the row is answered.
"""

from __future__ import annotations

import json
import random
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request, urlopen

from tests.proofs.arguments import ended, one_of, options
from tests.proofs.real.scene import (
    Books,
    Figures,
    Trial,
    broken,
    free_port,
    get_json,
    scratch_npm,
    scratch_venv,
    serving,
    settled,
)

AIMOCK = "@copilotkit/aimock"
WORDS_ALLOWED = 60  # tokens of llmock's context, about
# a 404 after rows were answered is asked once more, and chaos may let it through then
REFUSED = {400: "bad_request", 404: "not_found|ok", 413: "too_large", 422: "bad_request"}
UNANSWERED = "server|connection|invalid_response|timeout|rate_limit|overloaded"
CHAOS = ["--chaos-drop", "0.08", "--chaos-malformed", "0.05", "--chaos-disconnect", "0.05"]
CHAOS += ["--chaos-ratelimit", "0.03", "--chaos-latency", "150"]
RATES = {400: 0.02, 404: 0.01, 408: 0.02, 409: 0.02, 413: 0.01, 422: 0.01, 429: 0.03}
RATES |= {500: 0.04, 502: 0.03, 503: 0.02, 504: 0.02, 524: 0.01, 529: 0.01}
STREAM_FAULTS = {"disconnect": 0.05, "truncate": 0.05, "stall": 0.02, "malformed": 0.05}


@dataclass(frozen=True)
class Seen:
    """One request in a mock's journal."""

    row: int
    status: int
    good: bool
    is_long: bool = False


class Journal:
    """What a mock wrote down, by row."""

    def __init__(self, url: str, texts: Sequence[str], tokens: tuple[int, int] | None) -> None:
        self._url = url
        self._rows = {text: row for row, text in enumerate(texts)}
        self._tokens = tokens

    def requests(self) -> list[Seen]:
        """All of them, oldest first."""
        found = get_json(self._url)
        entries = found["requests"] if isinstance(found, dict) else found
        assert isinstance(entries, list)
        return [self._seen(entry) for entry in entries if entry["method"] == "POST"]

    def _seen(self, entry: dict) -> Seen:
        text = entry["body"]["messages"][-1]["content"].removeprefix("Say it shorter: ")
        if "response" in entry:  # aimock's
            status = entry["response"]["status"]
            chaos = entry["response"].get("chaosAction")
            return Seen(self._rows[text], status, status == 200 and not chaos)
        harmless = not entry["fault"] or entry["fault"].startswith("stream:stall")  # it goes on after a stall
        good = entry["status"] == 200 and entry["completed"] and harmless
        return Seen(self._rows[text], entry["status"], good, is_long=len(text.split()) > WORDS_ALLOWED)

    def idle(self) -> None:
        """Waits until nothing more comes."""
        settled(lambda: len(self.requests()))

    def books(self) -> Books:
        requests = self.requests()
        good = [one for one in requests if one.good]
        prompt, completion = (
            (None, None) if self._tokens is None else (len(good) * each for each in self._tokens)
        )
        return Books(len(requests), len(good), Counter(str(one.row) for one in good), prompt, completion)

    def expected(self) -> dict[int, str]:
        """What each row must end as, by what it was answered."""
        requests = self.requests()
        wanted = dict.fromkeys(self._rows.values(), UNANSWERED)
        wanted |= dict.fromkeys((one.row for one in requests if one.good), "ok")
        for one in requests:
            if one.status in REFUSED:
                # a row that is too long for it may be hit by chaos instead
                wanted[one.row] = REFUSED[one.status] + (
                    "|context_length" if one.is_long and one.status == 400 else ""
                )
        return wanted


@contextmanager
def aimock(home: Path) -> Iterator[tuple[str, str, tuple[int, int] | None]]:
    """The base URL of an aimock, of its journal, and what it bills for each answer."""
    place = scratch_npm("aimock", AIMOCK)
    usage = {"prompt_tokens": 11, "completion_tokens": 6, "total_tokens": 17}
    fixture = {
        "match": {"userMessage": "parcel"},
        "response": {"content": "A shorter remark on it.", "usage": usage},
    }
    (home / "fixtures.json").write_text(json.dumps({"fixtures": [fixture]}))
    port = free_port()
    words = ["node", place / "dist" / "cli.js", "-p", str(port), "-f", home / "fixtures.json", "-l", "5"]
    url = f"http://127.0.0.1:{port}"
    with serving(
        [*words, "--journal-max", "0", "--log-level", "warn", *CHAOS],
        log=home / "mock.log",
        ready=f"{url}/__aimock/journal",
    ):
        yield f"{url}/v1", f"{url}/__aimock/journal", (11, 6)


@contextmanager
def llmock(home: Path) -> Iterator[tuple[str, str, tuple[int, int] | None]]:
    """The same of an llmock, which counts no tokens of what it cannot send to the end."""
    python = scratch_venv("llmock", "llmock")
    port = free_port()
    words = [python.parent / "llmock", "serve", "-h", "127.0.0.1", "-p", str(port), "--log-level", "warning"]
    words += [
        "--latency-ms",
        "150",
        "--rpm",
        "1200",
        "--context-window",
        "100",
        "--stream-stall-seconds",
        "3",
    ]
    for status, rate in RATES.items():
        words += ["--error-rate", f"{status}={rate}"]
    for kind, rate in STREAM_FAULTS.items():
        words += ["--stream-fault", f"{kind}={rate}"]
    url = f"http://127.0.0.1:{port}"
    with serving(words, log=home / "mock.log", ready=f"{url}/_llmock/scenario"):
        urlopen(Request(f"{url}/_llmock/reset", method="POST"), timeout=10).close()
        yield f"{url}/v1", f"{url}/_llmock/requests", None


MOCKS = {"aimock": aimock, "llmock": llmock}


def trial(name: str, rows: int, rng: random.Random, *, stream: bool) -> Figures:
    """One run before a fresh mock."""
    texts = [f"remark {row} on parcel {rng.randrange(10**6)}" for row in range(rows)]
    if name == "llmock":
        for row in range(40, rows, 50):
            texts[row] += " and on" * 80  # longer than its context
    with tempfile.TemporaryDirectory(prefix="batchlab-chaos-") as folder, MOCKS[name](Path(folder)) as mock:
        base_url, journal_url, tokens = mock
        journal = Journal(journal_url, texts, tokens)
        return Trial(
            f"{name}, {'streamed' if stream else 'plain'}",
            base_url,
            texts,
            idle=journal.idle,
            books=journal.books,
            rng=rng,
            expected=journal.expected,
            words=("-c", "16", "--timeout", "60s", "--max-tokens", "20", *(("--stream",) if stream else ())),
            model="gpt-4o",
        ).figures()


def main() -> None:
    """Prints the tables; exits with 1 when a promise was broken."""
    given = options(__doc__, rows=300, seed=1, only=one_of(sorted(MOCKS)))
    rng = random.Random(given.seed)
    figures = []
    for name in [given.only] if given.only else sorted(MOCKS):
        for stream in (False, True):
            figures.append(trial(name, given.rows, rng, stream=stream))
            print(figures[-1].table(), flush=True)
    _print_versions()
    ended(broken(figures))


def _print_versions() -> None:
    package = scratch_npm("aimock", AIMOCK) / "package.json"
    print("aimock", json.loads(package.read_text())["version"], flush=True)
    version = "import importlib.metadata as m; print('llmock', m.version('llmock'))"
    subprocess.run([scratch_venv("llmock", "llmock"), "-c", version], check=False)


if __name__ == "__main__":
    main()
