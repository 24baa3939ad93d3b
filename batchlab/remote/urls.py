"""Which paths are URLs of an object store, and what is wrong with one. No I/O, nothing is imported for it.

A URL may be written wherever a path may: the input, the run directory, the output file. What
reads and writes there is `storage`.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from batchlab.errors import UsageError

# scheme → the extra that brings its fsspec filesystem
EXTRAS = {
    "s3": "s3",
    "gs": "gcs",
    "gcs": "gcs",
    "az": "azure",
    "abfs": "azure",
    "abfss": "azure",
    "hf": "hf",
}
KNOWN = "s3://, gs://, az://, hf://"

_WITH_ACCOUNT = {"az", "abfs", "abfss"}  # container@account.dfs.core.windows.net

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# `?` may be a glob's; `?name=value` is a query, which is where signed URLs carry their signature
_QUERY = re.compile(r"[?&][\w.-]+=")


def is_url(path: str) -> bool:
    """Whether a path names a place outside this machine's file system."""
    return _URL.match(path) is not None


def scheme_of(url: str) -> str:
    """`s3` of `s3://bucket/key`."""
    return url.partition("://")[0].lower()


def url_problem(url: str) -> str | None:
    """What is wrong with a URL, without repeating a secret in it; None when nothing is."""
    scheme = scheme_of(url)
    if scheme not in EXTRAS:
        return f"{scheme}:// is no storage that batchlab knows; use a local path or {KNOWN}"
    place = urlsplit(url).netloc
    user, at, _ = place.rpartition("@")
    if (at and (":" in user or scheme not in _WITH_ACCOUNT)) or _QUERY.search(url):
        # it would end up in run.json, in logs and in the process list
        return (
            f"{scheme}://…: a URL must not hold a key; put it into the store's usual environment or "
            "configuration"
        )
    if not place:
        return f"{url}: names no bucket"
    return None


def checked_url(url: str) -> str:
    """`url` without a slash at its end. Raises UsageError when something is wrong with it."""
    problem = url_problem(url)
    if problem is not None:
        raise UsageError(f"{problem}.")
    return url.rstrip("/")


def local_dir_of(url: str) -> str:
    """Where the journal of a run directory at `url` is kept: `runs/s3-bucket-path`."""
    return "runs/" + re.sub(r"[^A-Za-z0-9_-]+", "-", url).strip("-")
