"""Rows that are no text in UTF-8: a few are their own trouble, many tell of a file in another encoding."""

from __future__ import annotations

from dataclasses import dataclass

from batchlab.counts import agreeing, counted
from batchlab.errors import InputError
from batchlab.inputs.sources.text_files.file import TextFile

MOST_SHARE = 0.05  # of the rows; stray bytes in UTF-8 are rarer, and accents in Western text more frequent
ALONE = 1  # one row is its own trouble, however few the others are
_SHOWN_BEFORE, _SHOWN_AFTER = 12, 24  # bytes around the first that is no text
_EVERY_BYTE = "latin-1"  # which has a character for each


@dataclass(frozen=True, slots=True)
class Undecoded:
    """A line that could not be decoded, and where in which file it is.

    Attributes:
        at: of its first byte that is no text.
    """

    text: TextFile
    number: int
    line: bytes
    at: int

    @classmethod
    def of(cls, text: TextFile, number: int, line: bytes) -> Undecoded | None:
        """None for a line that is text."""
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            return cls(text, number, line, error.start)
        return None

    def problem(self, of_line: str = "") -> str:
        """What is wrong with its row."""
        if self.text.encoding is not None:  # the bytes here are no longer those of the file
            return f"character {self.at + 1}{of_line} cannot be read as {self.text.encoding.upper()} text"
        return f"byte {self.at + 1} ({self.line[self.at]:#04x}){of_line} is not UTF-8 text"

    @property
    def is_plain(self) -> bool:
        """Whether it was read as UTF-8, because nothing says that it is something else."""
        return self.text.encoding is None

    def wrong_header(self) -> InputError:
        """The error when it is the header: without the names of its columns no row can be read."""
        problem = f"{self.problem()}, and the line names the columns: the file is in another encoding; "
        return InputError(self.text.shown_as, problem + self.remedy(), row=self.number)

    def remedy(self) -> str:
        """Which encoding it may be in, and how the line reads then, so that a person sees whether it is."""
        if not self.is_plain:
            return "pass {input.encoding} with the one it was saved in."
        encoding = self._likely()
        shown = self.line[max(0, self.at - _SHOWN_BEFORE) : self.at + _SHOWN_AFTER].decode(encoding)
        shown = " ".join("".join(c if c.isprintable() else " " for c in shown).split())
        return (
            f"pass {{input.encoding={encoding}}}, which reads {shown!r} there; where that is not what it "
            "says, the encoding it was saved in."
        )

    def _likely(self) -> str:
        try:
            self.line.decode("cp1252")
        except UnicodeDecodeError:
            return _EVERY_BYTE
        return "cp1252"


@dataclass(slots=True)
class NoText:
    """What one pass over an input has seen of them."""

    count: int = 0
    first: Undecoded | None = None

    def see(self, found: Undecoded) -> None:
        """One more row of the input."""
        self.count += 1
        self.first = self.first or found

    def look(self, text: TextFile, number: int, line: bytes) -> None:
        """The same for a row that is refused, and may be text."""
        if (found := Undecoded.of(text, number, line)) is not None:
            self.see(found)

    def judged(self, rows: int, *, named: bool) -> list[str]:
        """What is worth telling of them.

        Args:
            named: the job names the encoding; it is taken at its word.

        Raises:
            InputError: they are so many of `rows` that the file must be in another encoding.
        """
        first = self.first
        if first is None or named or not first.is_plain:
            return []
        are = agreeing(self.count, "is", "are")
        of_rows = f"{self.count:,} of {counted(rows, 'row')} {are} not UTF-8 text"
        if self.count > max(ALONE, rows * MOST_SHARE) or self.count == rows:
            problem = f"{of_rows}, so the file is in another encoding; {first.remedy()}"
            remedy = ""
            if self.count < rows:
                remedy = "With {input.encoding=utf-8} these rows fail, and the others are asked."
            raise InputError(first.text.shown_as, problem, remedy, row=first.number)
        where = f"{first.text.shown_as}:{first.number}"
        return [f"{where}: {of_rows}. If the file is in another encoding, {first.remedy()}"]
