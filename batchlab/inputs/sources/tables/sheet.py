"""Excel workbooks (`.xlsx`): a sheet with a header row, a row at a time."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import lzma
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from batchlab.counts import counted
from batchlab.errors import InputError
from batchlab.inputs.sources.column_types import ColumnTypes, json_text
from batchlab.inputs.sources.files import DataFile
from batchlab.inputs.sources.records import Pass, RecordSource
from batchlab.inputs.sources.source import CheckRow, InputPlan, OnProgress, Reading
from batchlab.records import Row, Shard

REPORT_EVERY = 1_000
# what a file that is no workbook, or not a whole one, makes the library raise
_DAMAGE = (
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    IndexError,
    SyntaxError,
    EOFError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
    OSError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)
_ERRORS = {"#N/A", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!", "#SPILL!", "#CALC!"}
LOOK_ROWS = 100  # in which a sheet that is not empty has a cell


class SheetSource(RecordSource):
    """Rows of one sheet, below the first row that is not empty, which names the columns.

    Numbers stay numbers, times become text as ISO 8601 writes them, a formula is what it was last
    computed to. An empty cell is null; empty rows are skipped.
    """

    def __init__(self, files: Sequence[DataFile], shown_as: str, reading: Reading) -> None:
        super().__init__(files, shown_as, reading)
        self._inside = reading.inside

    def peek(self) -> tuple[str, ...]:
        """The header's names."""
        with self._opened() as rows:
            return tuple(name for _, name in self._header(rows))

    def scan(
        self,
        shard_rows: int,
        *,
        on_progress: OnProgress | None = None,
        check: CheckRow | None = None,
        limit: int | None = None,
    ) -> InputPlan:
        """See `Source.scan`."""
        scan, types = Pass(shard_rows, check, limit, several=False), ColumnTypes()
        digest = hashlib.blake2b(digest_size=16)
        with self._opened() as rows:
            header = self._header(rows)
            unnamed = errors = 0
            used = {index for index, _ in header}
            digest.update(json_text([name for _, name in header]).encode())
            types.see(dict.fromkeys(name for _, name in header))
            for number, cells in rows:
                if scan.full:
                    break
                values = _values(header, cells)
                errors += any(value in _ERRORS for value in values.values() if type(value) is str)
                unnamed += any(cell is not None and index not in used for index, cell in enumerate(cells))
                digest.update(json_text(values).encode())
                if not types.knows(values):
                    types.see(values)
                scan.row(values, None, number, {"row": scan.rows})
                if on_progress is not None and scan.rows % REPORT_EVERY == 0:
                    on_progress(scan.rows, None)
        left_out = f"{self.path}: cells in columns without a name are left out ({counted(unnamed, 'row')})"
        wrong = f"{self.path}: cells hold an error of Excel's, such as #N/A ({counted(errors, 'row')})"
        self._tell([left_out if unnamed else None, wrong if errors else None])
        return scan.builder.plan(
            scan.rows, types.kinds(), digest.hexdigest(), [one.file for one in self._files]
        )

    def _read(self, shard: Shard, plan: InputPlan) -> Iterator[Row]:
        del plan
        row_id = 0
        with self._opened() as rows:
            header = self._header(rows)
            for _, cells in rows:
                if row_id >= shard.position["row"]:
                    yield Row(row_id, _values(header, cells))
                row_id += 1

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Iterator[tuple[int, tuple[Any, ...]]]]:
        """(number, cells) of the sheet's rows that are not empty."""
        try:
            import openpyxl
        except ImportError:
            raise InputError(
                self.path, "is an Excel workbook", "To read it: pip install 'batchlab[xlsx]'."
            ) from None
        with self._files[0].file.open("rb") as file:
            try:
                book = openpyxl.load_workbook(file, read_only=True, data_only=True)
                with contextlib.closing(book):
                    yield _rows(self._sheet(book))
            except (*_DAMAGE, openpyxl.utils.exceptions.InvalidFileException) as error:
                raise InputError(
                    self.path,
                    f"damaged Excel workbook ({(str(error).splitlines() or [type(error).__name__])[0]})",
                ) from error

    def _sheet(self, book: Any) -> Any:
        sheets = {sheet.title: sheet for sheet in book.worksheets}
        if self._inside:
            if self._inside not in sheets:
                raise InputError(
                    self.path, f"there is no sheet {self._inside!r}", f"It has: {', '.join(sheets)}."
                )
            return sheets[self._inside]
        full = [sheet for sheet in sheets.values() if next(_rows(sheet, LOOK_ROWS), None) is not None]
        if len(full) == 1:
            return full[0]
        if not full:
            raise InputError(self.path, "has no header row and no rows")
        names = [sheet.title for sheet in full]
        raise InputError(
            self.path, f"has the sheets {', '.join(names)}", f"Name one: '{self.path}::{names[0]}'."
        )

    def _header(self, rows: Iterator[tuple[int, tuple[Any, ...]]]) -> list[tuple[int, str]]:
        """The columns that have a name, and where."""
        first = next(rows, None)
        if first is None:
            raise InputError(self.path, "has no header row and no rows")
        number, cells = first
        found = [(index, str(_plain(cell))) for index, cell in enumerate(cells) if cell is not None]
        names = [name for _, name in found]
        for name in names:
            if names.count(name) > 1:
                raise InputError(self.path, f"two columns are named {name!r}", "Rename one.", row=number)
        return found


def _rows(sheet: Any, most: int | None = None) -> Iterator[tuple[int, tuple[Any, ...]]]:
    sheet.reset_dimensions()  # what writers say of a sheet's size is often wrong
    for number, cells in enumerate(sheet.iter_rows(values_only=True, max_row=most), 1):
        if any(cell is not None and cell != "" for cell in cells):
            yield number, cells


def _values(header: Sequence[tuple[int, str]], cells: Sequence[Any]) -> dict[str, Any]:
    return {name: _plain(cells[index]) if index < len(cells) else None for index, name in header}


def _plain(cell: Any) -> Any:
    if isinstance(cell, dt.datetime):
        return (cell.date() if cell.time() == dt.time() else cell).isoformat()
    if isinstance(cell, dt.date | dt.time):
        return cell.isoformat()
    return cell if cell is None or isinstance(cell, str | bool | int | float) else str(cell)
