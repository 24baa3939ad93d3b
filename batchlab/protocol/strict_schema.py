"""Whether a JSON Schema is one that OpenAI's strict structured outputs take.

Source: OpenAI's guide "Structured model outputs", section "Supported schemas": every object closed and
all its properties required, the root an object, a subset of the keywords, at most 10 levels and 5,000
properties.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

MAX_LEVELS = 10
MAX_PROPERTIES = 5_000

_TAKEN = frozenset(
    "type properties required additionalProperties items enum const anyOf $ref $defs definitions $schema $id "
    "title description pattern format multipleOf minimum maximum exclusiveMinimum exclusiveMaximum "
    "minItems maxItems".split()
)
_FORMATS = frozenset("date-time time date duration email hostname ipv4 ipv6 uuid".split())


def strict_problem(schema: Mapping[str, Any]) -> str | None:
    """Why strict mode would refuse the schema, with the place; None when it would take it."""
    if schema.get("type") != "object":
        return "$: the top level is no object"
    return next(_problems(schema), None)


def _problems(schema: Mapping[str, Any]) -> Iterator[str]:
    pending: list[tuple[str, Any, int]] = [("$", schema, 1)]
    properties = 0
    while pending:
        where, one, level = pending.pop(0)
        if not isinstance(one, Mapping):
            yield f"{where}: true or false stands for a schema"
            continue
        if level > MAX_LEVELS:
            yield f"{where}: more than {MAX_LEVELS} levels"
            return
        members = one.get("properties", {})
        properties += len(members)
        yield from _own_problems(where, one, members)
        pending += [(f"{where}.{name}", inner, level + 1) for name, inner in members.items()]
        if "items" in one:
            pending.append((f"{where}[]", one["items"], level + 1))
        pending += [(where, inner, level) for inner in one.get("anyOf", ())]
        for place in ("$defs", "definitions"):
            pending += [(name, inner, 1) for name, inner in one.get(place, {}).items()]
    if properties > MAX_PROPERTIES:
        yield f"more than {MAX_PROPERTIES:,} properties"


def _own_problems(where: str, schema: Mapping[str, Any], members: Mapping[str, Any]) -> Iterator[str]:
    unknown = sorted(set(schema) - _TAKEN)
    if unknown:
        yield f"{where}: {unknown[0]}"
    if "$ref" in schema and len(schema) > 1 and where != "$":
        yield f"{where}: keywords beside $ref"
    if schema.get("format", "date") not in _FORMATS:
        yield f"{where}: format {schema['format']}"
    if schema.get("type") == "object" or members:
        if schema.get("additionalProperties") is not False:
            yield f"{where}: no additionalProperties = false"
        optional = [name for name in members if name not in schema.get("required", ())]
        if optional:
            yield f"{where}.{optional[0]}: not required"
