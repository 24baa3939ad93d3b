"""The fenced blocks of the README and the manual, and the notes that stand above them.

A note is an HTML comment on the lines right above a fence; `batchlab guide` does not print it.

    not run: REASON     nothing of the block is run; it is still read for mistakes
    needs: PROGRAM      left out where that program is not installed
    first: COMMAND      what the reader has done before (bash); repeatable
    then: COMMAND       what the test does after it (bash); repeatable
    until: WORDS        the last command serves until Ctrl-C, which it gets once it has said WORDS
    exit: CODE          how the block ends, 0 unless told
    printed by: COMMAND the block shows lines of what that command prints on a terminal
    ci:NAME             a command that `.ci/run` takes from the README and runs
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT
from tests.generated import GENERATED

PAGES = (ROOT / "README.md", *sorted((ROOT / "batchlab" / "guide").glob("*.md")))
# by hand: what is generated is held to be what its makers make of it, and its blocks are drawings
WRITTEN = tuple(page for page in PAGES if str(page.relative_to(ROOT)) not in GENERATED)

_FENCE = re.compile(r"(?P<ticks>```+)(?P<language>\S*)")
_NOTE = re.compile(r"<!-- (?P<key>[a-z ]+?)(?::\s*(?P<value>.*?))? -->")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: where it begins, in which language, and the notes above it."""

    page: Path
    line: int
    language: str
    text: str
    notes: tuple[tuple[str, str], ...]

    def said(self, key: str) -> list[str]:
        """The values of the notes of this name, in order."""
        return [value for name, value in self.notes if name == key]

    @property
    def is_run(self) -> bool:
        return not self.said("not run") and not self.said("ci")

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    """The blocks of a page, in order."""
    notes: list[tuple[str, str]] = []
    ticks, language, start = "", "", 0
    text: list[str] = []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        if ticks:
            if line.rstrip() != ticks:
                text.append(line)
                continue
            yield Block(page, start, language, "\n".join(text) + "\n", tuple(notes))
            ticks, text, notes = "", [], []
        elif opened := _FENCE.fullmatch(line.rstrip()):
            ticks, language, start = opened["ticks"], opened["language"], number
        elif note := _NOTE.fullmatch(line.rstrip()):
            notes.append((note["key"], note["value"] or ""))
        elif line.strip():
            notes = []
    assert not ticks, f"{page.name}:{start}: the block has no end"


def outside_blocks(page: Path) -> list[tuple[int, str]]:
    """The lines of a page that are in no block, with their numbers."""
    kept, ticks = [], ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        opened = _FENCE.fullmatch(line.rstrip())
        if ticks:
            ticks = "" if line.rstrip() == ticks else ticks
        elif opened:
            ticks = opened["ticks"]
        else:
            kept.append((number, line))
    return kept


BLOCKS = [block for page in WRITTEN for block in blocks_of(page)]


def commands_of(text: str) -> Iterator[str]:
    """Each line of a bash block that calls batchlab, continued lines joined."""
    for line in text.replace("\\\n", " ").splitlines():
        yield from re.findall(r"(?:^|[ /'(])(batchlab [a-z](?:'[^']*'|\"[^\"]*\"|[^|;&>)#'\"])*)", line)
