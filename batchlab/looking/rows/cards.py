"""Rows of a run as a person reads them: a head, what was asked, what was answered, and why not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TextIO

from batchlab.looking.phrases import money
from batchlab.looking.show import ShownRow
from batchlab.progress.terminal import columns, width
from batchlab.protocol.redact import printable, printable_lines

Style = Callable[[str, str], str]  # a text, and what it is: `head`, `bad`, `label`

ASKED_CHARS, ANSWER_CHARS = 500, 2_000  # of a page's rows; a row that was named is shown whole
LINE_CHARS = 100  # of one answer in a line, where no terminal says its width
_BAD = ("failed", "invalid")


def plain(text: str, _: str) -> str:
    """No style at all."""
    return text


def card(row: ShownRow, *, room: int | None, whole: bool, style: Style = plain) -> Iterator[str]:
    """The lines of one row.

    Args:
        room: columns of the terminal, in which lines are wrapped; None: they are not.
        whole: nothing is cut.
    """
    yield style(_head(row), "bad" if row.status in _BAD else "head")
    fields: list[tuple[str, str, int]] = [(who, text, ASKED_CHARS) for who, text in row.asked]
    if not row.as_sent:
        fields.append(("note", "what was sent differs: a file that the job names has changed since", 0))
    if whole and row.results.get("reasoning"):
        fields.append(("reasoning", str(row.results["reasoning"]), 0))
    if row.answer or row.status in {"ok", "truncated", "filtered", "invalid"}:
        fields.append(("answer", row.answer or "(empty)", ANSWER_CHARS))
    if whole and row.results.get("parsed"):
        fields.append(("parsed", str(row.results["parsed"]), 0))
    if row.results.get("error_message"):
        fields.append(("error", _error(row), 0))
    wide = max((len(printable(who, 12)) for who, _, _ in fields), default=0)
    for who, text, most in fields:
        lines = _wrapped(_cut(text, 0 if whole else most), room and max(20, room - wide - 4))
        name = printable(who, 12)
        for number, line in enumerate(lines):
            label = style(f"{name if number == 0 else '':{wide}}", "label")
            yield f"  {label}  {line}".rstrip()


def answer_line(row: ShownRow, stream: TextIO) -> str:
    """One answer in one line that fits the terminal."""
    named = f"row {row.row_id}" + (f", id {row.custom_id}" if row.custom_id != str(row.row_id) else "")
    head = f"an answer ({printable(named, 40)}): "
    room = (columns(stream) if stream.isatty() else None) or LINE_CHARS + len(head)
    text = printable(row.answer, max(20, room - width(head) - 1))
    while len(text) > 20 and width(head + text) >= room:  # signs that take two columns
        text = text[: -2 - (width(head + text) - room) // 2] + "…"
    return head + text


def _head(row: ShownRow) -> str:
    """What the row is, and what it took."""
    results = row.results
    said = [f"row {row.row_id}"]
    if row.custom_id != str(row.row_id):
        said.append(f"id {printable(row.custom_id, 60)}")
    said.append(row.status)
    if (lane := row.results.get("lane")) not in (None, "live"):
        said.append(str(lane))
    asked, answered = results.get("prompt_tokens"), results.get("completion_tokens")
    if asked is not None or answered is not None:
        said.append(f"{_count(asked)} + {_count(answered)} tokens")
    if results.get("cost_usd") is not None:
        said.append(money(results["cost_usd"]))
    elif row.status not in {"pending", "failed"}:  # these have no answer that costs anything
        said.append("cost ?")
    if results.get("cost_wasted_usd"):
        said.append(f"{money(results['cost_wasted_usd'])} not kept")
    if results.get("latency_ms") is not None:
        said.append(f"{results['latency_ms'] / 1_000:.1f} s")
    if (results.get("attempts") or 0) > 1:
        said.append(f"{results['attempts']} attempts")
    finish = results.get("finish_reason")
    if finish and finish != "stop":
        said.append(printable(str(finish), 40))
    return " · ".join(said)


def _count(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


def _error(row: ShownRow) -> str:
    kind, code = row.results.get("error_class") or "", row.results.get("error_code")
    named = f"{kind} ({code})" if code else kind
    return f"{named}: {row.results['error_message']}" if named else str(row.results["error_message"])


def _cut(text: str, most: int) -> str:
    if not most or len(text) <= most:
        return text
    return f"{text[:most].rstrip()}… ({len(text):,} characters)"


def _wrapped(text: str, room: int | None) -> list[str]:
    """The text's lines, safe to print, each at most `room` columns wide; words stay whole if they can."""
    lines: list[str] = []
    for line in printable_lines(text.strip("\r\n")):
        if room is None or width(line) <= room:
            lines.append(line)
            continue
        indent = line[: len(line) - len(line.lstrip())][: room // 2]
        begun = indent
        for word in line.split():
            for piece in _pieces(word, room - len(indent)):
                if begun.strip() and width(begun) + 1 + width(piece) > room:
                    lines.append(begun)
                    begun = indent
                begun += f" {piece}" if begun.strip() else piece
        lines.append(begun)
    return lines


def _pieces(word: str, room: int) -> Iterator[str]:
    """A word that is wider than the room in pieces that fit; text of scripts without blanks too."""
    begun, taken = "", 0
    for sign in word:
        wide = width(sign)
        if begun and taken + wide > room:
            yield begun
            begun, taken = "", 0
        begun, taken = begun + sign, taken + wide
    yield begun
