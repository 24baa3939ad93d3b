"""An embeddings response, read with care: each text gets its own vector, or none gets any.

A vector is kept as the base64 of little-endian float32, which is also how OpenAI sends it for
`encoding_format = "base64"`; a JSON number becomes the nearest float32.
Sources: OpenAI API reference (embeddings, create; the embedding object).
"""

from __future__ import annotations

import base64
import binascii
import math
import sys
from array import array
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from batchlab.counts import counted
from batchlab.protocol.chat import is_error
from batchlab.protocol.usage import usage_of
from batchlab.protocol.values import ReplyProblem, id_of, parse_json
from batchlab.records import Reply, Usage

ITEM_BYTES = 4
_NUMBERS = {int, float}


class EmbeddingsProblem(ReplyProblem):
    """A body with status 200 that does not have each text's vector.

    Attributes:
        is_refusal: it is as the endpoint means it, and would be the same the next time.
    """

    def __init__(self, problem: str, usage: Usage, *, is_refusal: bool = False) -> None:
        super().__init__(problem, usage)
        self.is_refusal = is_refusal


def input_count(texts: Any) -> int:
    """How many texts a request's `input` holds: it is one, a list of them, or a list of tokens."""
    return 1 if isinstance(texts, str) or not texts or isinstance(texts[0], int) else len(texts)


def parse_embeddings(body: bytes, asked: Mapping[str, Any]) -> Reply:
    """The vectors that a response has for the request `asked`.

    Raises:
        EmbeddingsProblem: an index is missing, doubled or out of range, or a vector is empty, not
            finite, or of another length than the others or than `dimensions`.
        ReplyProblem: it is no embeddings response at all.
    """
    data = parse_json(body)
    if not isinstance(data, dict):
        raise ReplyProblem("not an object")
    usage = _usage(data)
    if is_error({"choices": [], **data}):
        raise ReplyProblem("an error with status 200", usage)
    count, items = input_count(asked.get("input")), data.get("data")
    if not isinstance(items, list):
        raise EmbeddingsProblem("the answer has status 200 but no embeddings", usage)
    if len(items) != count:
        raise EmbeddingsProblem(f"{counted(len(items), 'embedding')} for {counted(count, 'text')}", usage)
    found: dict[int, bytes] = {}
    for item in items:
        index, vector = _item(item, usage, single=count == 1)
        if not 0 <= index < count or index in found:
            raise EmbeddingsProblem(
                f"index {index} is doubled or out of range for {counted(count, 'text')}", usage
            )
        found[index] = vector
    lengths = {len(vector) // ITEM_BYTES for vector in found.values()}
    if len(lengths) > 1:
        raise EmbeddingsProblem(f"embeddings of different lengths: {sorted(lengths)}", usage)
    dimensions = asked.get("dimensions")
    if isinstance(dimensions, int) and dimensions not in lengths:
        problem = f"the embedding has {counted(lengths.pop(), 'dimension')}, and {dimensions} were asked for"
        raise EmbeddingsProblem(problem, usage, is_refusal=True)
    return Reply(
        completion=None,
        usage=usage,
        model=id_of(data.get("model")),
        response_id=id_of(data.get("id")),
        vectors=tuple(base64.b64encode(found[index]).decode() for index in range(count)),
    )


def vector_bytes(text: str) -> bytes:
    """Little-endian float32 of a kept vector."""
    return base64.b64decode(text)


def vector_text(little_endian: bytes) -> str:
    """How a vector is kept."""
    return base64.b64encode(little_endian).decode()


def _usage(data: Mapping[str, Any]) -> Usage:
    """As reported; an embedding has no completion, so its completion tokens are 0 and not unknown."""
    usage = usage_of(data)
    if usage.prompt_tokens is None and usage.total_tokens is not None:
        usage = replace(usage, prompt_tokens=usage.total_tokens)
    if usage.prompt_tokens is None or usage.completion_tokens is not None:
        return usage
    return replace(usage, completion_tokens=0)


def _item(item: Any, usage: Usage, *, single: bool) -> tuple[int, bytes]:
    if not isinstance(item, dict):
        raise EmbeddingsProblem("an embedding that is no object", usage)
    index = item.get("index", 0 if single else None)
    if type(index) is not int:  # True is none
        raise EmbeddingsProblem("an embedding without an index", usage)
    vector = _floats(item.get("embedding"))
    # a sum takes in every inf and nan, in a tenth of the time of a look at each number
    if not vector or not math.isfinite(sum(vector)):
        raise EmbeddingsProblem(f"embedding {index} is empty or has numbers that are none", usage)
    return index, _little(vector).tobytes()


def _floats(value: Any) -> array[float]:
    """The numbers of a vector; none when it is not one."""
    floats = array("f")
    if isinstance(value, str):
        try:
            data = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            return floats
        if len(data) % ITEM_BYTES == 0:
            floats.frombytes(data)
        return _little(floats)
    if not isinstance(value, list) or not _NUMBERS.issuperset(map(type, value)):
        return floats
    try:
        floats.extend(value)
    except OverflowError:  # a whole number past the range of floats
        return array("f")
    return floats


def _little(floats: array[float]) -> array[float]:
    """Between this machine's order of bytes and little-endian, either way."""
    if sys.byteorder == "big":
        floats.byteswap()
    return floats
