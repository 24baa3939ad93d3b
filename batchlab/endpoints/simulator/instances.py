"""JSON values that fit a JSON Schema, made up: the same for the same draws.

The keywords that people give to models: types, enum, const, properties, items, anyOf, allOf, $ref,
lengths and bounds, a few formats. A `pattern` is not honoured.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

MAX_LEVELS = 8  # deeper than that, optional members are left out and lists are short
MAX_BEGINNINGS = 50  # places of a prompt at which a schema is looked for

# a number in [0, 1) that depends on its arguments only
Draw = Callable[..., float]

_FORMATS = {
    "date-time": "2026-03-14T09:26:53Z",
    "date": "2026-03-14",
    "time": "09:26:53Z",
    "duration": "PT15M",
    "email": "someone@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.7",
    "ipv6": "2001:db8::7",
    "uri": "https://example.com/",
    "uuid": "6f1c3c0e-7c1a-4f0e-9d3b-2a1b3c4d5e6f",
}


def wanted_schema(body: Mapping[str, Any], prompt: str) -> dict[str, Any] | None:
    """The schema that an answer has to fit; None when prose is wanted.

    That of a `response_format`, else one that stands in the prompt, as a model would read it there.
    """
    wanted = body.get("response_format")
    kind = wanted.get("type") if isinstance(wanted, Mapping) else None
    if isinstance(wanted, Mapping) and kind == "json_schema":
        return dict(wanted["json_schema"]["schema"])
    found = _schema_in(prompt)
    return {"type": "object"} if found is None and kind == "json_object" else found


def _schema_in(prompt: str) -> dict[str, Any] | None:
    """The first JSON object of a text that looks like a schema."""
    if '"type"' not in prompt:
        return None
    place = -1
    for _ in range(MAX_BEGINNINGS):
        place = prompt.find("{", place + 1)
        if place < 0:
            return None
        try:
            value, _ = json.JSONDecoder().raw_decode(prompt, place)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) and value.keys() & {"properties", "items", "$schema", "$defs", "enum"}:
            return value
    return None


def instance_of(schema: Mapping[str, Any], draw: Draw, words: Sequence[str]) -> Any:
    """A value that fits `schema`."""
    return _Maker(schema, draw, words).value(schema, "$", 0)


class _Maker:
    def __init__(self, root: Mapping[str, Any], draw: Draw, words: Sequence[str]) -> None:
        self._root = root
        self._draw = draw
        self._words = words

    def value(self, schema: Any, place: str, level: int) -> Any:
        schema = self._whole(schema, place, level)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self._pick(schema["enum"], place)
        match self._kind(schema, place):
            case "object":
                return self._object(schema, place, level)
            case "array":
                return self._array(schema, place, level)
            case "integer" | "number" as kind:
                return self._number(schema, place, whole=kind == "integer")
            case "boolean":
                return self._draw(place.encode()) < 0.5
            case "null":
                return None
        return self._string(schema, place)

    def _whole(self, schema: Any, place: str, level: int) -> dict[str, Any]:
        """The schema with its references, one of its choices and all of its parts put in."""
        whole = dict(schema) if isinstance(schema, Mapping) else {}
        for _ in range(20):
            if "$ref" in whole:
                target: Any = self._root
                for step in str(whole.pop("$ref")).removeprefix("#").strip("/").split("/"):
                    target = target.get(step, {}) if step and isinstance(target, Mapping) else target
                whole = {**target, **whole} if isinstance(target, Mapping) else whole
            elif whole.get("anyOf") or whole.get("oneOf"):
                choices = whole.pop("anyOf", None) or whole.pop("oneOf")
                # far down, a choice of null ends a recursion
                ends = [one for one in choices if isinstance(one, Mapping) and one.get("type") == "null"]
                choice = ends[0] if ends and level > MAX_LEVELS else self._pick(choices, f"{place}|")
                whole = {**whole, **choice} if isinstance(choice, Mapping) else whole
            elif whole.get("allOf"):
                for part in whole.pop("allOf"):
                    if isinstance(part, Mapping):
                        members = {**whole.get("properties", {}), **part.get("properties", {})}
                        required = [*whole.get("required", ()), *part.get("required", ())]
                        whole |= part
                        whole |= {"properties": members} if members else {}
                        whole |= {"required": required} if required else {}
            else:
                break
        return whole

    def _kind(self, schema: Mapping[str, Any], place: str) -> str:
        kind = schema.get("type")
        if isinstance(kind, list) and kind:
            return str(self._pick(kind, f"{place}?"))
        if isinstance(kind, str):
            return kind
        return "object" if "properties" in schema else "array" if "items" in schema else "string"

    def _object(self, schema: Mapping[str, Any], place: str, level: int) -> dict[str, Any]:
        required = schema.get("required", ())
        members = schema.get("properties", {})
        made = {
            name: self.value(one, f"{place}.{name}", level + 1)
            for name, one in members.items()
            if name in required or (level < MAX_LEVELS and self._draw(f"{place}.{name}!".encode()) < 0.8)
        }
        return made | {name: self._string({}, f"{place}.{name}") for name in required if name not in members}

    def _array(self, schema: Mapping[str, Any], place: str, level: int) -> list[Any]:
        fewest = int(schema.get("minItems", 0))
        most = int(schema.get("maxItems", fewest + 3))
        if level > MAX_LEVELS:
            most = fewest
        count = fewest + int(self._draw(f"{place}#".encode()) * (most - fewest + 1))
        firsts = schema.get("prefixItems", ())
        items = schema.get("items", {})
        made = [
            self.value(firsts[index] if index < len(firsts) else items, f"{place}[{index}]", level + 1)
            for index in range(max(count, len(firsts)))
        ]
        if schema.get("uniqueItems"):
            made = list({json.dumps(one, sort_keys=True): one for one in made}.values())
        return made

    def _number(self, schema: Mapping[str, Any], place: str, *, whole: bool) -> float:
        low = schema.get("minimum", schema.get("exclusiveMinimum"))
        high = schema.get("maximum", schema.get("exclusiveMaximum"))
        low = (0 if high is None else high - 100) if low is None else low
        high = low + 100 if high is None else high
        step = schema.get("multipleOf") or (1 if whole else 0.01)
        first = math.ceil(low / step) + (schema.get("exclusiveMinimum") == low)
        last = math.floor(high / step) - (schema.get("exclusiveMaximum") == high)
        value = (first + int(self._draw(place.encode()) * max(1, last - first + 1))) * step
        return int(value) if whole else round(value, 6)

    def _string(self, schema: Mapping[str, Any], place: str) -> str:
        known = _FORMATS.get(str(schema.get("format")))
        if known is not None:
            return known
        count = 2 + int(self._draw(f"{place}~".encode()) * 5)
        text = " ".join(self._pick(self._words, f"{place}{index}") for index in range(count))
        while len(text) < schema.get("minLength", 0):
            text += f" {text}"
        return text[: schema.get("maxLength", len(text))]

    def _pick(self, choices: Sequence[Any], place: str) -> Any:
        return choices[int(self._draw(place.encode()) * len(choices))]
