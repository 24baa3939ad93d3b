"""JSON that is no JSON Lines: a list of rows, one object with such a list, or objects over several lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from batchlab.errors import InputError
from batchlab.inputs.sources.files import DataFile
from batchlab.inputs.sources.json_files.items import (
    CutOffError,
    Item,
    Layout,
    NoRowsError,
    json_items,
    layout_of,
    members_of,
)
from batchlab.inputs.sources.json_files.lines import JsonPass
from batchlab.inputs.sources.json_files.values import NOT_JSON, read_object
from batchlab.inputs.sources.records import RecordSource
from batchlab.inputs.sources.source import CheckRow, InputPlan, OnProgress, Reading
from batchlab.inputs.sources.text_files.compression import read_errors
from batchlab.inputs.sources.text_files.file import TextFile
from batchlab.records import Row, Shard

LOOK_BYTES = 1 << 20
REPORT_EVERY = 2_000
TEXT_COLUMN = "prompt"


class JsonSource(RecordSource):
    """Rows of JSON documents, an object at a time. A text in a list is a row with a prompt."""

    def __init__(self, files: Sequence[DataFile], shown_as: str, reading: Reading) -> None:
        super().__init__(files, shown_as, reading)
        self._texts = [
            TextFile.at(one.file, str(one) if len(files) > 1 else shown_as, reading.encoding) for one in files
        ]
        self._layouts = [_layout(text) for text in self._texts]

    def peek(self) -> tuple[str, ...]:
        """Keys of the first good row."""
        for number, one in enumerate(self._files):
            for item in self._items(number, None):
                values, problem, _ = self._values(number, item)
                if problem is None and values:
                    return tuple({**values, **one.keys})
        return ()

    def scan(
        self,
        shard_rows: int,
        *,
        on_progress: OnProgress | None = None,
        check: CheckRow | None = None,
        limit: int | None = None,
    ) -> InputPlan:
        """See `Source.scan`."""
        scan = JsonPass(shard_rows, check, limit, several=len(self._files) > 1)
        for number, one in enumerate(self._files):
            scan.begin(number, one)
            for ordinal, item in enumerate(self._items(number, None, to_the_end=True), 1):
                if scan.full:
                    break
                scan.digest.update(item.text + b"\n")
                values, problem, replaced = self._values(number, item)
                if replaced:
                    scan.replaced(ordinal)
                if problem is None:
                    scan.see(values)
                else:
                    scan.no_text.look(self._texts[number], ordinal, item.text)
                scan.row(values, problem, ordinal, {"offset": item.offset})
                if on_progress is not None and scan.rows % REPORT_EVERY == 0:
                    on_progress(item.offset, self._texts[number].total if len(self._files) == 1 else None)
        lists = [
            f"{text.shown_as}: the rows are the list {layout.name!r} of its one object"
            for text, layout in zip(self._texts, self._layouts, strict=True)
            if layout.name
        ]
        self._tell(
            [*(text.described() for text in self._texts), *lists, *scan.notes(self.path), *self._judged(scan)]
        )
        return scan.builder.plan(
            scan.rows, scan.kinds(self._files), scan.digest.hexdigest(), [one.file for one in self._files]
        )

    def _read(self, shard: Shard, plan: InputPlan) -> Iterator[Row]:
        del plan
        first, row_id = shard.position.get("file", 0), shard.first_row
        for number in range(first, len(self._files)):
            keys = self._files[number].keys
            for item in self._items(number, shard.position["offset"] if number == first else None):
                values, problem, _ = self._values(number, item)
                yield Row(row_id, {**keys, **values} if keys and not problem else values, problem)
                row_id += 1

    def _items(self, number: int, offset: int | None, *, to_the_end: bool = False) -> Iterator[Item]:
        text, layout = self._texts[number], self._layouts[number]
        start = layout.offset if offset is None else offset
        with text.open(start) as file, read_errors(text.shown_as):
            try:
                for item in json_items(file, start, inside=layout.inside):
                    if isinstance(item, Item):
                        yield item
                    elif to_the_end:
                        self._refuse_rest(text, layout, item.offset)
            except CutOffError as error:
                raise InputError(
                    text.shown_as,
                    "is cut off: it ends within "
                    + ("its list" if layout.inside else "an object")
                    + f" (line {_line_at(text, error.offset):,})",
                    "Copy or download it again.",
                ) from None

    def _refuse_rest(self, text: TextFile, layout: Layout, offset: int) -> None:
        """What follows the list must hold no rows of its own."""
        with text.open(offset) as file:
            rest = file.read(LOOK_BYTES)
        if layout.name:
            members, end = members_of(rest, 0)
            other = next((member.name for member in members if member.is_list), None)
            if other is not None:
                raise InputError(
                    text.shown_as,
                    f"is one object with several lists of rows: {layout.name!r}, {other!r}",
                    f"Choose one, for example: jq -c '.{layout.name}[]' IN.json > rows.jsonl.",
                )
            if end is None and len(rest) < LOOK_BYTES:
                raise CutOffError(offset)
            rest = rest[end:] if end is not None else b""
        if rest.strip(b" \t\r\n,\x1e"):
            raise InputError(
                text.shown_as,
                f"something follows the end of its list (line {_line_at(text, offset):,})",
                "Make lines of it: jq -c '.[]' IN.json > rows.jsonl.",
            )

    def _values(self, number: int, item: Item) -> tuple[dict[str, Any], str | None, bool]:
        if item.text[:1] == b'"' and self._layouts[number].inside:
            try:
                return {TEXT_COLUMN: orjson.loads(item.text)}, None, False
            except ValueError:
                values, problem, replaced = read_object(b'{"%s":%s}' % (TEXT_COLUMN.encode(), item.text))
        else:
            values, problem, replaced = read_object(item.text)
        if problem is not None and problem.startswith(NOT_JSON) and "is not a JSON number" not in problem:
            # where a bracket or a quote is missing, what follows cannot be told apart
            text = self._texts[number]
            raise InputError(text.shown_as, problem, row=_line_at(text, item.offset))
        return values, problem, replaced


def _layout(text: TextFile) -> Layout:
    head = text.head(LOOK_BYTES)
    try:
        return layout_of(head, whole=len(head) < LOOK_BYTES)
    except NoRowsError as error:
        raise InputError(text.shown_as, error.problem, error.remedy) from None


def _line_at(text: TextFile, offset: int) -> int:
    """The line that an offset of the text is on."""
    lines = 1
    with text.open() as file:
        while offset > 0 and (block := file.read(min(offset, 1 << 20))):
            lines += block.count(b"\n")
            offset -= len(block)
    return lines
