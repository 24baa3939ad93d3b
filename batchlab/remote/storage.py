"""Files at a URL, through fsspec: `s3://`, `gs://`, `az://`, `hf://`.

fsspec and a store's own library are imported when the first URL is used, never for a local
path. Credentials, endpoints and retries are the library's own. Whatever it raises becomes a
`StorageError`, whose `strerror` is a line for a person.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol, TypeVar, cast

from batchlab.errors import UsageError
from batchlab.protocol.redact import printable, redact
from batchlab.remote.urls import EXTRAS, scheme_of

T = TypeVar("T")

BLOCK_BYTES = 4 << 20  # two of them are held: one that is read, one on its way
PARQUET_BLOCK_BYTES = 1 << 20  # a footer and a small column chunk in one request

DENIED = "access denied"
NO_BUCKET = "no such bucket; create it, or correct its name"

# A reader may stand in the event loop's way while it waits for the next block, so the library
# gives up well before a request that is in flight would time out.
_OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {"config_kwargs": {"connect_timeout": 5, "read_timeout": 20, "retries": {"max_attempts": 2}}}
}
# what stores call the name of one version of an object
_TAGS = ("VersionId", "version_id", "generation", "ETag", "etag", "blob_id", "md5Hash", "content_md5")


_NO_BUCKET = re.compile(
    r"(?i)bucket (does not|doesn't) exist|NoSuchBucket|no such container|ContainerNotFound"
)


class StorageError(OSError):
    """A store refused, or cannot be reached. `strerror` says so in one line."""

    def __init__(self, url: str, problem: str) -> None:
        super().__init__(errno.EIO, problem, url)


class NotThereError(StorageError):
    """There is no such object, or no such bucket."""


class AlreadyThereError(StorageError):
    """An object was to be created, and there is one of that name."""


class _FileSystem(Protocol):
    """What is used of fsspec's AbstractFileSystem."""

    def info(self, path: str) -> dict[str, Any]: ...
    def find(self, path: str) -> list[str]: ...
    def glob(self, path: str) -> list[str]: ...
    def open(self, path: str, mode: str, **options: Any) -> Any: ...
    def put_file(self, local: str, path: str, *, mode: str = "overwrite") -> None: ...
    def get_file(self, path: str, local: str) -> None: ...
    def cat_file(self, path: str, start: int | None = None, end: int | None = None) -> bytes: ...
    def pipe_file(self, path: str, value: bytes, *, mode: str = "overwrite") -> None: ...
    def copy(self, path: str, target: str) -> None: ...
    def rm_file(self, path: str) -> None: ...
    def invalidate_cache(self, path: str | None = None) -> None: ...


@functools.cache
def filesystem(scheme: str) -> _FileSystem:
    """The fsspec filesystem of a scheme. Raises UsageError when its library is not installed."""
    remedy = f"pip install 'batchlab[{EXTRAS[scheme]}]'"
    try:
        import fsspec

        found = fsspec.filesystem(scheme, use_listings_cache=False, **_OPTIONS.get(scheme, {}))
    except ImportError as error:
        raise UsageError(f"{scheme}:// needs a library that is not installed: {remedy}") from error
    except Exception as error:  # google's library looks for credentials as soon as it is made
        if "Protocol not known" in str(error):  # some names come with the library
            raise UsageError(f"{scheme}:// needs a library that is not installed: {remedy}") from error
        raise UsageError(f"{scheme}://: {_problem(error)}.") from error
    return cast("_FileSystem", found)


@contextlib.contextmanager
def store_errors(url: str) -> Iterator[None]:
    """Whatever a store's library raises in the body becomes a StorageError."""
    try:
        yield
    except (StorageError, UsageError):
        raise
    except FileNotFoundError as error:
        raise NotThereError(url, _not_there(error)) from error
    except FileExistsError as error:
        raise AlreadyThereError(url, "there is one already") from error
    except Exception as error:  # each store's library has its own, and fsspec translates some of them
        raise StorageError(url, _problem(error)) from error


def _not_there(error: FileNotFoundError) -> str:
    missing = _NO_BUCKET.search(str(error))
    return NO_BUCKET if missing else "no such object"


def _problem(error: BaseException) -> str:
    """One line about an error of a store's library."""
    name = type(error).__name__
    text = redact(printable(str(error), 200)).rstrip(".") or name
    if isinstance(error, PermissionError):
        return f"{DENIED} ({text}); check the credentials, and what they may do there"
    if "Credential" in name:
        return f"no credentials ({text})"
    if getattr(error, "errno", None) == errno.EBUSY:  # s3fs: what is read is not what was opened
        return "changed while it was read"
    if any(sign in name for sign in ("Connect", "Timeout", "ClientOSError")):
        return f"cannot be reached ({text})"
    if isinstance(error, OSError) and error.strerror:
        return redact(printable(error.strerror, 200)).rstrip(".")
    return text


class RemoteFile:
    """One version of an object, to be read: the version that was there when it was first looked at.

    Has the part of `Path` that readers use, so that they need not know which of both they have.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._fs = filesystem(scheme_of(url))
        self.name = PurePosixPath(url).name
        self.suffix = PurePosixPath(url).suffix
        self._identity: dict[str, Any] | None = None

    def __str__(self) -> str:
        return self._url

    def identity(self) -> dict[str, Any]:
        """path, size and tag: what tells this version from another. Raises StorageError."""
        if self._identity is None:
            self._identity = self._now()
        return self._identity

    @property
    def size(self) -> int:
        """Bytes. Raises StorageError."""
        return int(self.identity()["size"])

    def open(self, mode: str = "rb", buffering: int = -1) -> BinaryIO:
        """The content, to be read from one end to the other, the next block always on its way."""
        del mode, buffering
        return cast("BinaryIO", io.BufferedReader(_Stream(self), 1 << 18))

    def open_random(self) -> BinaryIO:
        """The content, to be read here and there: each read is a request for that range."""
        return cast("BinaryIO", _Ranges(self._url, self.handle(PARQUET_BLOCK_BYTES)))

    def handle(self, block_bytes: int) -> Any:
        """fsspec's file. Raises StorageError when the object is no longer this version."""
        if self.identity() != self._now():
            raise StorageError(self._url, "changed since the plan was made")
        with store_errors(self._url):
            return self._fs.open(self._url, "rb", block_size=block_bytes, cache_type="readahead")

    def _now(self) -> dict[str, Any]:
        with store_errors(self._url):
            self._fs.invalidate_cache()
            info = self._fs.info(self._url)
        if info.get("type") == "directory":
            raise NotThereError(self._url, "a directory, not an object")
        tag = next((str(info[name]) for name in _TAGS if info.get(name)), None)
        if tag is None:
            times = (info.get(name) for name in ("LastModified", "last_modified", "mtime", "created"))
            tag = str(next((time for time in times if time), ""))
        return {"path": self._url, "size": info["size"], "tag": tag}


class _Stream(io.RawIOBase):
    """Blocks of an object in order, each fetched by a thread while the one before it is used."""

    def __init__(self, file: RemoteFile) -> None:
        self._file = file
        self._size = file.size
        self._position = 0
        self._block = memoryview(b"")
        self._blocks: Iterator[bytes] | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if start + offset != self._position:
            self._stop()
            self._position = start + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        if not self._block:
            if self._blocks is None:
                self._blocks = ahead(self._fetched(self._position))
            self._block = memoryview(next(self._blocks, b""))
        count = min(len(buffer), len(self._block))
        buffer[:count] = self._block[:count]
        self._block = self._block[count:]
        self._position += count
        return count

    def close(self) -> None:
        self._stop()
        super().close()

    def _fetched(self, start: int) -> Iterator[bytes]:
        if start >= self._size:
            return
        url = str(self._file)
        with store_errors(url), contextlib.closing(self._file.handle(BLOCK_BYTES)) as handle:
            handle.seek(start)
            while block := handle.read(BLOCK_BYTES):
                yield block

    def _stop(self) -> None:
        blocks, self._blocks, self._block = self._blocks, None, memoryview(b"")
        if blocks is not None:
            cast("Any", blocks).close()


class _Ranges(io.RawIOBase):
    """fsspec's file, whose errors are StorageErrors."""

    def __init__(self, url: str, handle: Any) -> None:
        self._url = url
        self._handle = handle

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return int(self._handle.tell())

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._handle.seek(offset, whence))

    def read(self, size: int | None = -1) -> bytes:
        with store_errors(self._url):
            return bytes(self._handle.read(-1 if size is None else size))

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._handle.close()
        super().close()


def ahead(items: Iterator[T]) -> Iterator[T]:
    """`items`, the next one made by a thread while the current one is used."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="batchlab-read")
    end = object()
    try:
        coming = pool.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, items, end)
            yield cast("T", item)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def matching(pattern: str) -> list[RemoteFile]:
    """The objects that a glob names, in name order. Raises StorageError."""
    with store_errors(pattern):
        paths = filesystem(scheme_of(pattern)).glob(pattern)
    return [RemoteFile(_as_url(pattern, path)) for path in sorted(paths)]


def below(url: str) -> list[RemoteFile]:
    """The objects under a prefix, in name order; none where there is nothing. Raises StorageError."""
    try:
        with store_errors(url):
            fs = filesystem(scheme_of(url))
            fs.invalidate_cache()
            paths = fs.find(url)
    except NotThereError:
        return []
    return [RemoteFile(_as_url(url, path)) for path in sorted(paths)]


def _as_url(like: str, path: str) -> str:
    """fsspec lists paths without the scheme."""
    return path if "://" in path else f"{scheme_of(like)}://{path.lstrip('/')}"


def is_directory(url: str) -> bool:
    """Whether there are objects under `url`. Raises StorageError."""
    try:
        with store_errors(url):
            return bool(filesystem(scheme_of(url)).info(url).get("type") == "directory")
    except NotThereError:
        return False


def get_bytes(url: str) -> bytes:
    """An object's content. Raises StorageError."""
    with store_errors(url):
        return filesystem(scheme_of(url)).cat_file(url)


def get_file(url: str, target: Path) -> None:
    """Writes an object's content to a local file. Raises StorageError."""
    with store_errors(url):
        filesystem(scheme_of(url)).get_file(url, str(target))


def put_bytes(url: str, content: bytes, *, absent: bool = False) -> None:
    """Makes or replaces an object, whole; `absent` as in `put_file`. Raises StorageError."""
    with store_errors(url):
        fs = filesystem(scheme_of(url))
        if absent:
            fs.pipe_file(url, content, mode="create")
        else:
            fs.pipe_file(url, content)


def put_file(local: Path, url: str, *, absent: bool = False) -> None:
    """Makes an object of a file: it appears whole, or not at all.

    Args:
        absent: only where there is none of that name. S3, Google and Azure decide that
            themselves in the same request; elsewhere it is looked up first.

    Raises:
        AlreadyThereError: `absent`, and there is one.
        StorageError: it cannot be written, or came out with another size.
    """
    fs = filesystem(scheme_of(url))
    with store_errors(url):
        fs.put_file(str(local), url, mode="create" if absent else "overwrite")
    written = RemoteFile(url).size
    if written != local.stat().st_size:
        raise StorageError(url, f"has {written} bytes after the upload instead of {local.stat().st_size}")


def move(url: str, target: str) -> None:
    """Copies an object within its store, then removes it. Raises StorageError."""
    fs = filesystem(scheme_of(url))
    with store_errors(url):
        fs.copy(url, target)
        fs.rm_file(url)


def remove(url: str) -> None:
    """Removes an object, if it is there. Raises StorageError."""
    with contextlib.suppress(NotThereError), store_errors(url):
        filesystem(scheme_of(url)).rm_file(url)
