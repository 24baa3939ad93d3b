"""What to do about rows of a finished run that are not ok."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from batchlab.arrow import pc
from batchlab.counts import counted
from batchlab.protocol.redact import printable
from batchlab.shell import command_line
from batchlab.store.asking import AskAgain
from batchlab.store.parts import part_tables
from batchlab.store.view import RunView
from batchlab.totals import Totals

SHOWN_CAUSES, SHOWN_CHARS = 3, 160  # of the reasons why rows failed; of what a provider said
_READ = ("status", "error_class", "error_code", "error_message")
_ASK_LATER = "the provider's trouble; ask again later"
_CORRECT = "correct the rows, or what is asked of them"
# what to do, by error class; else the error's own words have to tell
_REMEDIES = {
    "bad_input": "never sent; error_message says what is wrong with each row",
    "bad_request": _CORRECT,
    "client_error": "batchlab's own trouble; please report it",
    "connection": _ASK_LATER,
    "content_filter": "refused for what they say; correct the rows, or ask another model",
    "context_length": "too long for the model; shorten them, or ask one with a longer context",
    "invalid_response": _ASK_LATER,
    "overloaded": _ASK_LATER,
    "rate_limit": "refused by a limit; ask again with a lower concurrency",
    "server": _ASK_LATER,
    "timeout": "no answer in time; raise {limits.timeout}, or ask again with a lower concurrency",
    "too_large": "shorten them, or what they ask for",
}


@dataclass(frozen=True, slots=True)
class Cause:
    """Why some rows failed.

    Attributes:
        code: HTTP status, if there was one.
        said: what was said of one of them.
    """

    error_class: str
    code: int | None
    rows: int
    said: str


def causes(run: RunView) -> list[Cause]:
    """Why rows of the sealed shards failed, the commonest first. Reads their parts."""
    names = [run.manifest.prefix + name for name in _READ]
    counts: Counter[tuple[str, int | None]] = Counter()
    said: dict[tuple[str, int | None], str] = {}
    for index in sorted(run.shards_to_ask(AskAgain())):
        for table in part_tables(run.part(index), names):
            failed = table.filter(pc.equal(table.column(names[0]), "failed"))
            columns = (failed.column(name).to_pylist() for name in names[1:])
            for error_class, code, message in zip(*columns, strict=True):
                cause = (error_class or "?", code)
                counts[cause] += 1
                said.setdefault(cause, message or "")
    return [Cause(*cause, rows, said[cause]) for cause, rows in counts.most_common()]


def what_to_do(
    totals: Totals,
    run: str,
    why: Sequence[Cause] = (),
    max_tokens: int | None = None,
    *,
    asked_again: bool = False,
) -> list[str]:
    """A line or two for each kind of rows of a finished run that are not ok.

    Args:
        run: where it is.
        max_tokens: what answers were allowed; None when that was not the same for all, or not set.
        asked_again: those that were cut off were asked again with `max_tokens`. An answer that failed then
            left the old one, cut off by less.
    """
    retry, lines = command_line("retry", run), []
    if totals.truncated:
        most = f"max_tokens {max_tokens:,}" if max_tokens else "max_tokens"
        cut = f"still cut off after {most}" if asked_again else f"cut off by {most}"
        more = 2 * max_tokens if max_tokens else "N"
        lines.append(
            f"{totals.truncated:,} {cut}; to ask them with more: {retry} --only truncated --max-tokens {more}"
        )
    if totals.filtered:
        lines.append(
            f"{totals.filtered:,} filtered by the provider; to ask them again: {retry} --only filtered"
        )
    if totals.empty:
        lines.append(
            f"{totals.empty:,} empty (paid, without content); to ask them again: {retry} --only empty"
        )
    lines += [_cause_line(cause) for cause in why[:SHOWN_CAUSES]]
    if others := sum(cause.rows for cause in why[SHOWN_CAUSES:]):
        lines.append(f"{others:,} failed by other causes: error_class and error_message have them")
    if totals.failed and totals.failed == totals.bad_input:
        lines.append("the failed rows were never sent: error_message says what is wrong with each")
    elif totals.failed:
        lines.append(f"to ask again for failed rows: {retry}")
    if totals.invalid:
        lines.append(
            "invalid answers do not fit the schema (error_message says why); to ask again for them: "
            f"{retry} --only invalid"
        )
    return lines


def _cause_line(cause: Cause) -> str:
    code = f" {cause.code}" if cause.code is not None else ""
    what = _REMEDIES.get(cause.error_class, "")
    said = f' ("{printable(cause.said, SHOWN_CHARS)}")' if cause.said else ""
    return f"{counted(cause.rows, 'row')} failed by {cause.error_class}{code}{said}" + (
        f": {what}" if what else ""
    )
