"""Some texts of a Parquet column without the rest of its row group: only the pages that they are in are read.

A page of a sorted list has its rows in as many row groups. Arrow reads a column of such a group from its
start: 3 MB on average for one text of 2 kB, whose own page has 1 MB. What is read by hand here is what our
parts have (data pages of version 1, texts as they are or by a dictionary); of anything else `Unknown` is
raised, and Arrow reads it. The format: https://parquet.apache.org/docs/file-format/data-pages/ and, of the
headers, Thrift's compact protocol.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from batchlab.arrow import pa, pq
from batchlab.looking.browse.columns import Numbers
from batchlab.store.disk.files import read_at

_HEADER_BYTES = 1 << 12  # that are read at once; one with statistics of long texts has more
_MOST_HEADER = 1 << 16
_DATA_PAGE, _DICTIONARY_PAGE = 0, 2
_PLAIN, _DICTIONARIES = 0, (2, 8)  # encodings
_RLE = 3
_MOST_DEPTH = 8  # of structs in a header
_MOST_WIDTH = 32  # bits of a place in a dictionary


class Unknown(Exception):
    """It is written in another way than those that are known here, or it is damaged."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Where a column of texts is, in one row group.

    Attributes:
        start, stop: offsets of its pages in the file.
        rows: how many it has.
        size: bytes of its pages, decompressed.
        is_null: whether all of them are null.
        codec: Arrow's name of the compression; "" for none.
        may_be_null: whether each page says which of its texts are null.
    """

    start: int
    stop: int
    rows: int
    size: int
    is_null: bool
    codec: str
    may_be_null: bool

    @classmethod
    def of(cls, group: pq.RowGroupMetaData, place: int, column: pq.ColumnSchema) -> Chunk | None:
        """That of a column at a place of a row group; None where it is no plain column of texts."""
        is_text = column.physical_type == "BYTE_ARRAY" and column.logical_type.type == "STRING"
        if not is_text or column.max_repetition_level or column.max_definition_level > 1:
            return None
        found = group.column(place)
        starts = [found.data_page_offset]
        if found.has_dictionary_page and found.dictionary_page_offset:
            starts.append(found.dictionary_page_offset)
        codec = found.compression.lower()
        statistics = found.statistics
        nulls = statistics.null_count if statistics is not None and statistics.has_null_count else None
        return cls(
            start=min(starts),
            stop=min(starts) + found.total_compressed_size,
            rows=group.num_rows,
            size=found.total_uncompressed_size,
            is_null=nulls == group.num_rows,
            codec="" if codec == "uncompressed" else codec,
            may_be_null=column.max_definition_level == 1,
        )


def texts_at(descriptor: int, chunk: Chunk, places: Sequence[int]) -> list[str | None]:
    """The texts at some places of a column, in rising order; every page that is used is checked by its sum.

    Raises:
        Unknown: Arrow should read it.
    """
    if chunk.is_null:
        return [None] * len(places)
    try:
        return _found(descriptor, chunk, places)
    except (OSError, LookupError, TypeError, ValueError, ArithmeticError, pa.ArrowException) as error:
        raise Unknown(str(error)) from error


@dataclass(frozen=True, slots=True)
class _Page:
    """A page as its header tells of it.

    Attributes:
        size, stored: bytes, decompressed and as they are in the file.
        at: where its content begins.
        count: of its values, null or not.
        levels: the encoding of what says which are null.
    """

    is_dictionary: bool
    size: int
    stored: int
    at: int
    crc: int | None
    count: int
    encoding: int
    levels: int


def _found(descriptor: int, chunk: Chunk, places: Sequence[int]) -> list[str | None]:
    pages = list(_pages(descriptor, chunk))
    dictionary = pages[0] if pages[0].is_dictionary else None
    pages = pages[1:] if dictionary else pages
    # headers have no sum of their own: what they say has to fit together
    if any(page.is_dictionary for page in pages) or sum(page.count for page in pages) != chunk.rows:
        raise Unknown("pages of other rows than it has")
    found: list[str | None] = []
    first = 0
    for page in pages:
        here = [place - first for place in places if first <= place < first + page.count]
        if here:
            found += _texts_of(descriptor, chunk, page, dictionary, here)
        first += page.count
    return found


def _pages(descriptor: int, chunk: Chunk) -> Iterator[_Page]:
    at = chunk.start
    while at < chunk.stop:
        page = _page(descriptor, at)
        at = page.at + page.stored
        is_possible = 0 <= page.size <= chunk.size and page.stored >= 0 and at <= chunk.stop
        if not is_possible or not page.count >= 0:
            raise Unknown("a page that cannot be")
        yield page


def _texts_of(
    descriptor: int, chunk: Chunk, page: _Page, dictionary: _Page | None, places: Sequence[int]
) -> list[str | None]:
    data = _content(descriptor, chunk, page)
    count, at = page.count, 0
    is_there = np.ones(count, dtype=bool)
    if chunk.may_be_null:
        if page.levels != _RLE:
            raise Unknown(f"levels in encoding {page.levels}")
        at = 4 + int.from_bytes(data[:4], "little")
        is_there = _hybrid(data[4:at], 1, count).astype(bool)
        if at > len(data):
            raise Unknown("a page that ends too soon")
    before = np.cumsum(is_there) - is_there  # texts that come before each place
    there = [place for place in places if is_there[place]]
    numbers = [int(before[place]) for place in there]
    values, all_there = data[at:], int(is_there.sum())
    if page.encoding in _DICTIONARIES:
        if dictionary is None:
            raise Unknown("no dictionary")
        codes = _hybrid(values[1:], values[0], all_there) if all_there else is_there
        numbers = [int(codes[number]) for number in numbers]
        values, all_there = _content(descriptor, chunk, dictionary), dictionary.count
    elif page.encoding != _PLAIN:
        raise Unknown(f"encoding {page.encoding}")
    texts = _plain(values, all_there, numbers)
    said = {place: texts[number] for place, number in zip(there, numbers, strict=True)}
    return [said.get(place) for place in places]


def _plain(values: memoryview, count: int, numbers: Sequence[int]) -> dict[int, str]:
    """Some of `count` texts, by their numbers: each is its length in four bytes, and then itself."""
    texts: dict[int, str] = {}
    wanted = frozenset(numbers)
    at = 0
    for number in range(count):
        begin = at + 4
        at = begin + int.from_bytes(values[at:begin], "little")
        if number in wanted:
            texts[number] = bytes(values[begin:at]).decode()
    if at != len(values):
        raise Unknown("texts that are not as long as their page")
    return texts


def _hybrid(data: memoryview, width: int, count: int) -> Numbers:
    """Numbers of `width` bits, in runs of one number or packed by eight: all that `data` has."""
    if width > _MOST_WIDTH:
        raise Unknown(f"numbers of {width} bits")
    found = np.zeros(count, dtype=np.int64)
    at = done = 0
    size = (width + 7) // 8
    weights = 1 << np.arange(width, dtype=np.int64)
    while done < count:
        head, at = _varint(data, at)
        many = (head >> 1) * (8 if head & 1 else 1)
        end = at + ((head >> 1) * width if head & 1 else size)
        if not many or end > len(data):
            raise Unknown("a run that cannot be")
        many = min(many, count - done)
        if not head & 1:
            found[done : done + many] = int.from_bytes(data[at:end], "little")
        elif width:
            bits = np.unpackbits(np.frombuffer(data[at:end], dtype=np.uint8), bitorder="little")
            found[done : done + many] = bits.reshape(-1, width)[:many] @ weights
        at, done = end, done + many
    if at != len(data):
        raise Unknown("more numbers than it should have")
    return found


def _content(descriptor: int, chunk: Chunk, page: _Page) -> memoryview:
    stored = read_at(descriptor, page.stored, page.at)
    if len(stored) < page.stored or (page.crc is not None and zlib.crc32(stored) != page.crc & 0xFFFFFFFF):
        raise Unknown("a page whose checksum is another")
    data = pa.Codec(chunk.codec).decompress(stored, page.size) if chunk.codec else stored
    if len(data) != page.size:
        raise Unknown("a page of another length")
    return memoryview(data).cast("B")


def _page(descriptor: int, at: int) -> _Page:
    size = _HEADER_BYTES
    while True:
        data = memoryview(read_at(descriptor, size, at))
        try:
            found, length = _struct(data, 0)
            break
        except IndexError:
            if size >= _MOST_HEADER or len(data) < size:
                raise
            size = _MOST_HEADER
    kind, is_dictionary = found[1], found[1] == _DICTIONARY_PAGE
    head = found[7 if is_dictionary else 5]
    if kind not in (_DATA_PAGE, _DICTIONARY_PAGE) or not isinstance(head, dict):
        raise Unknown(f"a page of kind {kind}")
    if is_dictionary and head[2] not in (_PLAIN, _DICTIONARIES[0]):
        raise Unknown("a dictionary in another encoding")
    return _Page(
        is_dictionary,
        size=found[2],
        stored=found[3],
        at=at + length,
        crc=found.get(4),
        count=head[1],
        encoding=head[2],
        levels=head.get(3, _RLE),
    )


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise Unknown("a number beyond 64 bits")


def _struct(data: memoryview, at: int, depth: int = 0) -> tuple[dict[int, Any], int]:
    """A struct of Thrift's compact protocol, its fields by their numbers, and where it ends."""
    if depth > _MOST_DEPTH:
        raise Unknown("a header of too many structs")
    found: dict[int, Any] = {}
    number = 0
    while (head := data[at]) != 0:
        at += 1
        kind = head & 0x0F
        if head >> 4:
            number += head >> 4
        else:
            number, at = _zigzag(data, at)
        if kind in (1, 2):
            found[number] = kind == 1
        elif kind == 3:
            found[number], at = data[at], at + 1
        elif kind in (4, 5, 6):
            found[number], at = _zigzag(data, at)
        elif kind == 8:
            length, at = _varint(data, at)
            found[number], at = data[at : at + length], at + length
            if at > len(data):
                raise IndexError(at)
        elif kind == 12:
            found[number], at = _struct(data, at, depth + 1)
        else:
            raise Unknown(f"a field of kind {kind}")
    return found, at + 1


def _zigzag(data: memoryview, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return (value >> 1) ^ -(value & 1), at
