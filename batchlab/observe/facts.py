"""What is known of a run when it starts, for those who watch it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

from batchlab.job import EndpointJob, Job
from batchlab.run_state import RunState

_HIDDEN = "****"
_SECRET_NAME = re.compile(r"key|token|secret|password|authorization", re.IGNORECASE)
_USERINFO = re.compile(r"//[^/@\s]+@|[^\s/@:]+:[^\s/@]+@")  # in a URL, and in a host named after one
_QUERY = re.compile(r"(://[^\s?]+)\?\S+")  # of a URL: signatures are in it
_NAMES_OF_KEYS = {"api_key_env", "api_key_file", "api_key_keyring"}  # where a key is, not the key


@dataclass(frozen=True, slots=True)
class EndpointAddress:
    """Where an endpoint really is. `service` is the preset's name, "" for an unknown one."""

    name: str
    service: str
    host: str
    port: int | None

    @classmethod
    def of(cls, endpoint: EndpointJob, base_url: str) -> Self:
        """Of an endpoint that is at `base_url` now."""
        url = urlsplit(base_url)
        return cls(endpoint.name, endpoint.service.name, url.hostname or "", url.port)


@dataclass(frozen=True, slots=True)
class RunFacts:
    """One run at its start.

    Attributes:
        run: the run directory's absolute path: two runs of one machine are never mistaken.
        before: how far it is, by what earlier invocations left.
        secrets: what no line may ever show.
    """

    run: str
    job: Job
    before: RunState
    addresses: tuple[EndpointAddress, ...] = ()
    secrets: tuple[str, ...] = ()

    @property
    def model(self) -> str:
        """The job's model."""
        return self.job.request.model


def shown_job(job: Job) -> dict[str, Any]:
    """A job as a log may show it: without prompts, and without anything named or shaped like a key."""
    sections = dataclasses.asdict(job)
    for name in ("system", "prompt"):
        text = sections["request"].pop(name)
        if text is not None:
            sections["request"][f"{name}_chars"] = len(text)
    shown = masked("", sections)
    assert isinstance(shown, dict)
    return shown


def without_credentials(text: str) -> str:
    """`text` without what URLs in it carry beside an address: `user:password@`, and their queries."""
    bare = _USERINFO.sub(lambda found: f"{'//' * found.group().startswith('//')}{_HIDDEN}@", text)
    return _QUERY.sub(rf"\1?{_HIDDEN}", bare)


def masked(name: str, value: Any) -> Any:
    """A setting's value as it may be shown: nothing that is named, or shaped, like a key; what is not set is
    left out of tables."""
    if isinstance(value, Mapping):
        return {key: masked(str(key), one) for key, one in value.items() if one not in (None, {}, "")}
    if isinstance(value, list | tuple):
        return [masked(name, one) for one in value]
    if isinstance(value, str):
        if _SECRET_NAME.search(name) and name not in _NAMES_OF_KEYS:
            return _HIDDEN
        return without_credentials(value)
    return value
