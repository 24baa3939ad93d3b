"""Whether a store will take an object, found out before anything is paid."""

from __future__ import annotations

from batchlab.errors import UsageError
from batchlab.remote.storage import (
    DENIED,
    NO_BUCKET,
    NotThereError,
    StorageError,
    filesystem,
    store_errors,
)
from batchlab.remote.urls import checked_url, scheme_of

# S3's codes for credentials that no request can succeed with
_UNKNOWN_IDENTITY = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}


def check_bucket(url: str) -> None:
    """Raises UsageError when the bucket of `url` is not there or cannot be reached.

    A store may refuse to answer that and still take an object, so a refusal says nothing.
    """
    checked_url(url)
    scheme, _, place = url.partition("://")
    bucket = f"{scheme}://{place.split('/')[0]}"
    try:
        with store_errors(url):
            filesystem(scheme_of(url)).info(bucket)
    except NotThereError as error:
        if scheme_of(url) != "hf":  # whose first name is no bucket
            raise UsageError(f"{url}: {NO_BUCKET}.") from error
    except StorageError as error:
        if not (error.strerror or "").startswith(DENIED):
            raise UsageError(f"{url}: {error.strerror}.") from error
        _check_identity(url)


def _check_identity(url: str) -> None:
    """Raises UsageError when the store does not know who asks: then it takes no object either."""
    try:
        with store_errors(url):  # unlike the answer about a bucket, that about an object says why
            filesystem(scheme_of(url)).cat_file(url, start=0, end=1)
    except StorageError as error:
        cause = error.__cause__
        while cause is not None and not hasattr(cause, "response"):
            cause = cause.__cause__
        answer = getattr(cause, "response", None)
        code = answer.get("Error", {}).get("Code") if isinstance(answer, dict) else None
        if code in _UNKNOWN_IDENTITY:
            raise UsageError(f"{url}: {error.strerror}.") from error
