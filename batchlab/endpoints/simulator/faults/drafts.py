"""A good answer on its way out, and what a fault makes of it: small changes that are put together.

A kind of fault is a function of a draft to a draft. Nothing here knows any service; the tables beside
this module do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from batchlab.endpoints.simulator.tariff import Bill
from batchlab.endpoints.simulator.wire import End, Wire

JSON_TYPE, SSE_TYPE = "application/json", "text/event-stream"
SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a fault may know of the request."""

    model: str
    prompt: str
    prompt_tokens: int
    path: str
    wants_usage: bool


@dataclass(frozen=True, slots=True)
class Draft:
    """One answer before it is bytes.

    Attributes:
        body: the plain answer: a JSON value, or bytes that go out as they are.
        events: the streamed one: JSON values become `data:` events, bytes go out as they are.
        streams: which of the two is sent.
        bill: what is charged; None when nothing is.
        content_type: None for none at all.
        done: whether `[DONE]` ends the stream.
        gap: what ends an event.
        before, after: bytes in front of and behind the whole answer.
        spoil: a last change of each piece's bytes.
        drip: bytes a piece when an answer is cut up small; 0 leaves the pieces as they are.
        length, last_chunk, end, late, silent: see `Wire`; a `late` answer follows, the same or these bytes.
        delay_s: before anything is sent.
    """

    asked: Asked
    body: Any
    events: tuple[Any, ...]
    streams: bool
    bill: Bill | None
    status: int = 200
    headers: tuple[tuple[str, bytes], ...] = ()
    content_type: str | None = JSON_TYPE
    done: bool = True
    gap: bytes = b"\n\n"
    before: bytes = b""
    after: bytes = b""
    spoil: Callable[[bytes], bytes] | None = None
    drip: int = 0
    length: int | None = None
    last_chunk: bool = True
    end: End = End.KEEP
    late: bytes | bool = False
    silent: bool = False
    delay_s: float = 0.0

    def wire(self) -> Wire:
        """The answer as bytes."""
        pieces = self._events() if self.streams else [_bytes(self.body)]
        pieces = [piece for piece in (self.before, *pieces, self.after) if piece]
        if self.spoil is not None:
            pieces = list(map(self.spoil, pieces))
        if self.drip:
            whole = b"".join(pieces)
            pieces = [whole[at : at + self.drip] for at in range(0, len(whole), self.drip)]
        kind = () if self.content_type is None else (("Content-Type", self.content_type.encode()),)
        made = Wire(
            status=self.status,
            headers=(*kind, *self.headers),
            pieces=tuple(pieces),
            chunked=self.streams,
            length=self.length,
            last_chunk=self.last_chunk,
            end=self.end,
            silent=self.silent,
        )
        late = self.late if isinstance(self.late, bytes) else made.written(chunks=made.chunked)
        return replace(made, late=late) if self.late else made

    def _events(self) -> list[bytes]:
        events = [
            event if isinstance(event, bytes) else b"data: " + _bytes(event) + self.gap
            for event in self.events
        ]
        return [*events, b"data: [DONE]" + self.gap] if self.done else events


Change: TypeAlias = Callable[[Draft], Draft]
Object: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class FaultKind:
    """One thing that can go wrong.

    Attributes:
        says: what happens, and who says so, in a line.
        change: what it makes of the good answer.
        needs: a field without which a request is not hit.
        text: how the text of an answer is spoilt before it is an answer, a key of `replies.SPOILT`.
    """

    says: str
    change: Change = field(default=lambda draft: draft)
    needs: str = ""
    text: str = ""


def _bytes(value: Any) -> bytes:
    """JSON as a server writes it: UTF-8, but half a surrogate pair stays an escape."""
    if isinstance(value, bytes):
        return value
    text = json.dumps(value, ensure_ascii=False)
    return SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode()


def together(*changes: Change) -> Change:
    """One change after another."""

    def change(draft: Draft) -> Draft:
        for one in changes:
            draft = one(draft)
        return draft

    return change


def sent(**how: Any) -> Change:
    """Fields of the draft as given."""
    return lambda draft: replace(draft, **how)


def raw(value: str | bytes) -> bytes:
    """A header's value as bytes; text is Latin-1, as it was in HTTP/1.1 of old (RFC 9110, section 5.5)."""
    return value if isinstance(value, bytes) else value.encode("latin-1")


def header(name: str, value: str | bytes) -> Change:
    """One header, in the place of one of that name."""

    def change(draft: Draft) -> Draft:
        others = tuple(one for one in draft.headers if one[0].lower() != name.lower())
        return replace(draft, headers=(*others, (name, raw(value))))

    return change


def answer(
    status: int,
    body: Any,
    *,
    headers: Mapping[str, str | bytes] | None = None,
    content_type: str | None = JSON_TYPE,
    usage: tuple[int, int] | None = None,
    billed: bool = False,
) -> Change:
    """Quite another answer, streamed or not.

    `usage` is what it states and is charged for; `billed` without it: the prompt is charged for, unseen.
    `body` may be a function of what was asked.
    """
    sent_headers = tuple((name, raw(value)) for name, value in (headers or {}).items())

    def change(draft: Draft) -> Draft:
        bill = Bill(*usage) if usage is not None else None
        if bill is None and billed:
            bill = Bill(draft.asked.prompt_tokens, 0, seen=False)
        return replace(
            draft,
            status=status,
            body=body(draft.asked) if callable(body) else body,
            streams=False,
            bill=bill,
            headers=sent_headers,
            content_type=content_type,
        )

    return change


def error(
    status: int,
    message: str,
    type_: str | None,
    code: Any,
    /,
    *,
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> Change:
    """OpenAI's error object."""
    said = {"message": message, "type": type_, "param": None, "code": code, **more}
    return answer(status, {"error": said}, headers=headers)


def when_streamed(streamed: Change, plain: Change) -> Change:
    """One change for a streamed answer, another for a plain one."""
    return lambda draft: (streamed if draft.streams else plain)(draft)


def unseen(draft: Draft) -> Draft:
    """It is charged for, and the client never learns what was used."""
    return draft if draft.bill is None else replace(draft, bill=replace(draft.bill, seen=False))


def each_choice(change: Callable[[Object], Object]) -> Change:
    """Changes every choice of the plain answer, and the event that ends it in the streamed one."""

    def in_value(value: Any, *, ending: bool) -> Any:
        if not isinstance(value, dict) or not value.get("choices"):
            return value
        choices = [
            change(dict(one)) if not ending or one.get("finish_reason") is not None else one
            for one in value["choices"]
        ]
        return {**value, "choices": choices}

    def both(draft: Draft) -> Draft:
        return replace(
            draft,
            body=in_value(draft.body, ending=False),
            events=tuple(in_value(event, ending=True) for event in draft.events),
        )

    return both


def each_value(change: Callable[[Object], Object]) -> Change:
    """Changes every JSON object that is sent: the plain answer, and each streamed event."""

    def both(draft: Draft) -> Draft:
        return replace(
            draft,
            body=change(draft.body) if isinstance(draft.body, dict) else draft.body,
            events=tuple(change(event) if isinstance(event, dict) else event for event in draft.events),
        )

    return both


def broken_off(*then: Any, done: bool) -> Change:
    """Half a stream, then `then`: values become events, bytes go out as they are. Its usage never comes."""

    def change(draft: Draft) -> Draft:
        kept = draft.events[: max(1, len(draft.events) // 2)]
        return unseen(replace(draft, events=(*kept, *then), done=done))

    return change


def finished_with(word: str | None) -> Change:
    """Another word for why the answer ends."""
    return each_choice(lambda choice: {**choice, "finish_reason": word})


def last_choice(events: Sequence[Any]) -> int:
    """The place of the last event that holds a choice."""
    return max(
        (at for at, one in enumerate(events) if isinstance(one, dict) and one.get("choices")), default=-1
    )
