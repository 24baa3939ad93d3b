"""Excel workbooks (`.xlsx`): a sheet with a header row, a row at a time."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import lzma
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from batchlab.counts import counted
from batchlab.errors import InputError
from batchlab.inputs.sources.column_types import ColumnTypes, json_text
from batchlab.inputs.sources.files import DataFile
from batchlab.inputs.sources.records import FaultyRow, Pass, RecordSource
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
_FORMULA = re.compile(rb"<(?:\w{1,20}:)?f[\s/>]")  # in the XML of a sheet
_NOT_COMPUTED = "a formula of which the file holds no value; open and save it in Excel or LibreOffice"


class _NotComputed:
    """Stands for the value of a formula that nothing has computed yet."""


NOT_COMPUTED = _NotComputed()


class SheetSource(RecordSource):
    """Rows of one sheet, below the first row that is not empty, which names the columns.

    Numbers stay numbers, times become text as ISO 8601 writes them, a formula is what it was last
    computed to. One that a program wrote, and no spreadsheet has computed, is null, and the fault of a row
    that is asked about it. An empty cell is null; empty rows are skipped.
    """

    def __init__(self, files: Sequence[DataFile], shown_as: str, reading: Reading) -> None:
        super().__init__(files, shown_as, reading)
        self._inside = reading.inside
        self._formulas: bool | None = None  # whether there are any; found out when first asked

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
            unnamed = errors = without_value = 0
            # an earlier version skipped rows that have nothing but such formulas, and its plans still do
            mark = {"formulas": 1} if self._has_formulas() else {}
            used = {index for index, _ in header}
            digest.update(json_text([name for _, name in header]).encode())
            types.see(dict.fromkeys(name for _, name in header))
            for number, cells in rows:
                if scan.full:
                    break
                values, faults = _values(header, cells)
                without_value += bool(faults)
                errors += any(value in _ERRORS for value in values.values() if type(value) is str)
                unnamed += any(cell is not None and index not in used for index, cell in enumerate(cells))
                digest.update(json_text(values).encode())
                if not types.knows(values):
                    types.see(values)
                seen = FaultyRow(values, faults) if faults else values
                scan.row(seen, None, number, {"row": scan.rows, **mark})
                if on_progress is not None and scan.rows % REPORT_EVERY == 0:
                    on_progress(scan.rows, None)
        left_out = f"{self.path}: cells in columns without a name are left out ({counted(unnamed, 'row')})"
        wrong = f"{self.path}: cells hold an error of Excel's, such as #N/A ({counted(errors, 'row')})"
        empty = (
            f"{self.path}: formulas of which the file holds no value, as programs write them "
            f"({counted(without_value, 'row')}); they read as null, and a row that is asked about one fails. "
            "Open and save the file in Excel or LibreOffice, which compute them"
        )
        told = (unnamed, left_out), (errors, wrong), (without_value, empty)
        self._tell([text for count, text in told if count])
        return scan.builder.plan(
            scan.rows, types.kinds(), digest.hexdigest(), [one.file for one in self._files]
        )

    def _read(self, shard: Shard, plan: InputPlan) -> Iterator[Row]:
        row_id, position = 0, shard.position
        is_earlier = not any(one.position.get("formulas") for one in plan.shards)
        with self._opened() as rows:
            header = self._header(rows)
            for _, cells in rows:
                if is_earlier and all(_is_empty(cell) or cell is NOT_COMPUTED for cell in cells):
                    continue
                if row_id >= position["row"]:
                    values, faults = _values(header, cells)
                    yield Row(row_id, FaultyRow(values, faults) if faults else values)
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
        # what the library warns of (styles, validations, links) is nothing of a row's, and would stand among
        # a command's lines; a filter that ends with the reading is not safe where another thread has one, too
        warnings.filterwarnings("ignore", category=UserWarning, module=r"openpyxl\.")
        with self._files[0].file.open("rb") as file:
            try:
                book = openpyxl.load_workbook(file, read_only=True, data_only=True)
                with contextlib.closing(book):
                    sheet = self._sheet(book)
                    if not self._has_formulas():
                        yield _rows(sheet)
                        return
                    texts = openpyxl.load_workbook(file, read_only=True)  # of formulas, and not their values
                    with contextlib.closing(texts):
                        yield _computed_rows(
                            sheet, texts[sheet.title], zero_is_none=bool(book.calculation.fullCalcOnLoad)
                        )
            except (*_DAMAGE, openpyxl.utils.exceptions.InvalidFileException) as error:
                raise InputError(
                    self.path,
                    f"damaged Excel workbook ({(str(error).splitlines() or [type(error).__name__])[0]})",
                ) from error

    def _has_formulas(self) -> bool:
        """Whether a sheet has any: telling those without a value takes a second reading."""
        if self._formulas is None:
            with self._files[0].file.open("rb") as file, zipfile.ZipFile(file) as archive:
                sheets = [name for name in archive.namelist() if name.startswith("xl/worksheets/")]
                self._formulas = any(_mentions(archive, name) for name in sheets)
        return self._formulas

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
        if NOT_COMPUTED in cells:
            raise InputError(self.path, f"the name of a column is {_NOT_COMPUTED}", row=number)
        found = [(index, str(_plain(cell))) for index, cell in enumerate(cells) if cell is not None]
        names = [name for _, name in found]
        for name in names:
            if names.count(name) > 1:
                raise InputError(self.path, f"two columns are named {name!r}", "Rename one.", row=number)
        return found


def _mentions(archive: zipfile.ZipFile, name: str) -> bool:
    with archive.open(name) as file:
        before = b""
        while data := file.read(1 << 20):
            if _FORMULA.search(before + data):
                return True
            before = data[-32:]  # a tag may be cut here
    return False


def _rows(sheet: Any, most: int | None = None) -> Iterator[tuple[int, tuple[Any, ...]]]:
    sheet.reset_dimensions()  # what writers say of a sheet's size is often wrong
    for number, cells in enumerate(sheet.iter_rows(values_only=True, max_row=most), 1):
        if not all(map(_is_empty, cells)):
            yield number, cells


def _computed_rows(values: Any, texts: Any, *, zero_is_none: bool) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """As `_rows`, of a sheet whose formulas are read by their values and by their texts.

    Args:
        zero_is_none: the file says that none of its formulas has been computed: where openpyxl stores
            nothing, XlsxWriter stores 0, and a value that its caller knew.
    """

    def seen(cell: Any, formula: Any) -> Any:
        if formula.data_type != "f":
            return cell.value
        is_text = cell.data_type == "str"  # Excel says so of one that was computed to be empty
        is_none = cell.value is None and not is_text
        is_none |= zero_is_none and type(cell.value) is int and cell.value == 0
        return NOT_COMPUTED if is_none else cell.value

    values.reset_dimensions()
    texts.reset_dimensions()
    for number, (cells, formulas) in enumerate(zip(values.iter_rows(), texts.iter_rows(), strict=True), 1):
        row = tuple(map(seen, cells, formulas))
        if not all(map(_is_empty, row)):
            yield number, row


def _is_empty(cell: Any) -> bool:
    return cell is None or cell == ""


def _values(header: Sequence[tuple[int, str]], cells: Sequence[Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The columns' values, null where there is none, and what is wrong with some of them."""
    values = {name: _plain(cells[index]) if index < len(cells) else None for index, name in header}
    faults = {
        name: _NOT_COMPUTED for index, name in header if index < len(cells) and cells[index] is NOT_COMPUTED
    }
    return values, faults


def _plain(cell: Any) -> Any:
    if cell is NOT_COMPUTED:
        return None
    if isinstance(cell, dt.datetime):
        return (cell.date() if cell.time() == dt.time() else cell).isoformat()
    if isinstance(cell, dt.date | dt.time):
        return cell.isoformat()
    return cell if cell is None or isinstance(cell, str | bool | int | float) else str(cell)
