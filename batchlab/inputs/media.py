"""Images and sounds of a row, as content parts of its message.

A URL is passed on and never fetched here. What is sent as data is told apart by a hash of its
bytes, so that a request's hash needs neither base64 nor the same version of an image library.
Sources: OpenAI API reference (chat completion request, `image_url` and `input_audio` parts).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from batchlab.costs.tokens import BYTES_PER_TOKEN
from batchlab.inputs.downscale import Downscaler
from batchlab.inputs.row_files import RowFiles, shown
from batchlab.inputs.templates import RowFault, RowProblem
from batchlab.job import Job

HEAD_BYTES = 64  # more than any of the formats needs to be told
_AUDIO_FORMATS = {"audio/wav": "wav", "audio/mpeg": "mp3"}

Part: TypeAlias = dict[str, Any]


def media_type(head: bytes) -> str | None:
    """The media type that a file's first bytes tell: PNG, JPEG, GIF, WebP, WAV or MP3; None for all else.

    What follows is not looked at: whether an image is whole is for who decodes it to say.
    """
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if head.startswith(b"RIFF"):
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(head[8:12])
    # an ID3 tag, or the sync word of an MPEG frame of layer III
    if head.startswith(b"ID3") or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2):
        return "audio/mpeg"
    return None


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a column holds: `image` or `audio`."""

    name: str
    article: str
    most_bytes: int
    known: str

    def fault(self, problem: str) -> RowFault:
        return RowFault(f"{problem}; {self.name} is {self.known}")


class MediaColumns:
    """The columns of a job that hold images and sounds.

    A value is an http(s) or data URL, the path of a file that may be read, bytes, Hugging Face's
    `{bytes, path}`, or a list of those.

    Args:
        look_only: read no more of a file than tells whether it will do. Requests are then good
            for a look at them, not for sending.

    Attributes:
        count: parts made so far.
        held_bytes: of the images and sounds that came as bytes.

    Raises:
        UsageError: the directory of files is none, or Pillow is missing.
    """

    def __init__(self, job: Job, *, look_only: bool = False) -> None:
        request = job.request
        image = _Kind("an image", "image", request.max_image_bytes, "a PNG, JPEG, GIF or WebP")
        audio = _Kind("audio", "audio", request.max_audio_bytes, "WAV or MP3")
        self._columns = [(name, image, self._image) for name in request.image]
        self._columns += [(name, audio, self._audio) for name in request.audio]
        self._detail = {"detail": request.image_detail} if request.image_detail is not None else {}
        self._downscaler = Downscaler(request.image_max_side) if request.image_max_side is not None else None
        self._null_ok = job.input.null_as is not None
        self._bytes_each = request.tokens_per_image * BYTES_PER_TOKEN
        self._look_only = look_only
        self._files = RowFiles(job.input.allow_files_under)
        self.count = 0
        self.held_bytes = 0

    @property
    def names(self) -> list[str]:
        """The columns' names."""
        return [name for name, _, _ in self._columns]

    @property
    def fingerprint(self) -> str | None:
        """Tells the files that were read from changed ones; None when none was."""
        return self._files.fingerprint

    def added(
        self, messages: Sequence[Part], values: Mapping[str, Any]
    ) -> tuple[list[Part], list[Part], int]:
        """The messages with the row's images and sounds in the last one of the user.

        Returns them as they are sent; as they are hashed, with a hash in place of data; and the
        bytes that the new parts count for.

        Raises:
            RowProblem: the row has none, or none that can be used.
        """
        sent: list[Part] = []
        hashed: list[Part] = []
        for name, kind, made in self._columns:
            try:
                for item in self._items(values.get(name)):
                    part, identity = made(kind, item)
                    sent.append(part)
                    hashed.append(identity)
            except RowProblem as problem:
                raise type(problem)(f"column {name!r}: {problem}") from None
        self.count += len(sent)
        if not sent:
            return list(messages), list(messages), 0
        return _extended(messages, sent), _extended(messages, hashed), self._bytes_each * len(sent)

    def _items(self, value: Any) -> Iterator[Any]:
        if value is None or value == "":
            if self._null_ok:
                return
            raise RowFault("is null; an empty list, or null_as, allows a row to have none")
        if isinstance(value, str) and value.startswith("["):  # a list in a CSV cell
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                raise RowFault("is no JSON list") from None
        for item in value if isinstance(value, list) else [value]:
            yield _plain(item)

    def _image(self, kind: _Kind, item: str | bytes) -> tuple[Part, Part]:
        if isinstance(item, str) and _is_url(item):
            if item.startswith("data:") and not item.startswith("data:image/"):
                raise RowFault(f"{shown(item)}: is no image")
            if item.startswith("data:") and len(item) * 3 // 4 > kind.most_bytes:
                raise RowFault(
                    f"a data URL of {len(item):,} characters; the most is {kind.most_bytes:,} bytes"
                )
            part = {"type": "image_url", "image_url": {"url": item, **self._detail}}
            return part, part
        check = self._downscaler.check if self._downscaler is not None else None
        data, found, identity = self._read(kind, item, check)
        hashed: Part = {"blake2b": identity, **self._detail}
        if self._downscaler is not None:
            hashed["max_side"] = self._downscaler.max_side
            if data is not None:
                data, found = self._named(item, self._downscaler.smaller, data, found)
        encoded = base64.b64encode(data or b"").decode()
        url = f"data:{found};base64,{encoded}"
        return (
            {"type": "image_url", "image_url": {"url": url, **self._detail}},
            {"type": "image_url", "image_url": hashed},
        )

    def _audio(self, kind: _Kind, item: str | bytes) -> tuple[Part, Part]:
        if isinstance(item, str) and item.startswith("data:"):
            head, _, text = item.partition(";base64,")
            if len(text) * 3 // 4 > kind.most_bytes:
                raise RowFault(
                    f"a data URL of {len(item):,} characters; the most is {kind.most_bytes:,} bytes"
                )
            try:
                told = media_type(base64.b64decode(text[:HEAD_BYTES]))
            except (binascii.Error, ValueError):
                told = None
            if told not in _AUDIO_FORMATS:
                raise kind.fault(f"{shown(head)}: not audio that can be sent")
            part = _audio_part(told, {"data": text})
            return part, part
        if isinstance(item, str) and _is_url(item):
            raise RowFault(f"{shown(item)}: audio is sent as data, and no URL is fetched")
        data, found, identity = self._read(kind, item, None)
        encoded = base64.b64encode(data or b"").decode()
        return _audio_part(found, {"data": encoded}), _audio_part(found, {"blake2b": identity})

    def _read(
        self, kind: _Kind, item: str | bytes, check: Callable[[Any], None] | None
    ) -> tuple[bytes | None, str, str]:
        """The bytes (None when they are only looked at), the media type, and what tells them apart."""
        if isinstance(item, bytes):
            self.held_bytes += len(item)
            if len(item) > kind.most_bytes:
                raise RowFault(f"{len(item):,} bytes; the most is {kind.most_bytes:,}")
            found = self._type_of(kind, "the bytes", item[:HEAD_BYTES])
            if check is not None and self._look_only:
                check(io.BytesIO(item))
            digest = hashlib.blake2b(item, digest_size=16).hexdigest()
            return None if self._look_only else item, found, digest
        with self._files.opened(item, most_bytes=kind.most_bytes) as (file, stat):
            if self._look_only:
                found = self._type_of(kind, shown(item), file.read(HEAD_BYTES))
                if check is not None:
                    file.seek(0)
                    self._named(item, check, file)
                return None, found, f"{item}\0{stat.st_size}\0{stat.st_mtime_ns}"
            data = _whole(file, kind.most_bytes + 1)
        if len(data) > kind.most_bytes:
            raise RowFault(f"{shown(item)}: grew past {kind.most_bytes:,} bytes")
        found = self._type_of(kind, shown(item), data[:HEAD_BYTES])
        return data, found, hashlib.blake2b(data, digest_size=16).hexdigest()

    def _type_of(self, kind: _Kind, what: str, head: bytes) -> str:
        found = media_type(head)
        if found is None or not found.startswith(f"{kind.article}/"):
            text = " that can be sent" if found is not None else ""
            raise kind.fault(f"{what}: not {kind.name}{text}")
        return found

    def _named(self, item: str | bytes, work: Callable[..., Any], *args: Any) -> Any:
        """What `work` gives; its fault names the file."""
        try:
            return work(*args)
        except RowFault as fault:
            raise RowFault(f"{shown(item) if isinstance(item, str) else 'the image'}: {fault}") from None


def _plain(item: Any) -> str | bytes:
    """A text or bytes; those of Hugging Face's `{bytes, path}`."""
    if isinstance(item, dict):
        item = item.get("bytes") if item.get("bytes") is not None else item.get("path")
    if isinstance(item, bytes | str) and item:
        return item
    raise RowFault("is neither a URL, a path, bytes, nor a list of those")


def _is_url(text: str) -> bool:
    """Whether it is a URL that is passed on. Raises RowFault for one of another kind."""
    scheme = text[:20].partition(":")[0].lower()
    if scheme in {"http", "https", "data"}:
        return True
    if "://" in text[:20] and scheme != "file":
        raise RowFault(f"{shown(text)}: only http(s) and data URLs are passed on")
    return False


def _audio_part(found: str, content: Part) -> Part:
    return {"type": "input_audio", "input_audio": {**content, "format": _AUDIO_FORMATS[found]}}


def _whole(file: Any, most_bytes: int) -> bytes:
    pieces = bytearray()
    while len(pieces) < most_bytes and (piece := file.read(most_bytes - len(pieces))):
        pieces += piece
    return bytes(pieces)


def _extended(messages: Sequence[Part], parts: Sequence[Part]) -> list[Part]:
    """The messages with `parts` after what the user says last."""
    index = next((n for n in reversed(range(len(messages))) if messages[n].get("role") == "user"), None)
    if index is None:
        raise RowFault("no message of the user that could hold it")
    content = messages[index].get("content")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}] if content else []
    extended = list(messages)
    extended[index] = {**messages[index], "content": [*(content or []), *parts]}
    return extended
