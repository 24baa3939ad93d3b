"""The API key: where it may come from, and which host may see it."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from batchlab.errors import UsageError
from batchlab.job import SELF_STARTED, EndpointJob
from batchlab.job.endpoint import is_private, is_this_machine
from batchlab.job.headers import FROM_ENV, is_authorization, split
from batchlab.job.presets import PRESETS, key_owner

SHORTEST_SECRET = 8


class Secret:
    """A key that does not show itself. `reveal()` is called where the header is made, nowhere else."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The key itself."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(****)"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class Header:
    """A header of the user's own, with its value.

    Attributes:
        is_secret: the value came from a variable, and is shown nowhere.
        scheme: word that stands before the value, such as `Bearer`.
    """

    name: str
    value: Secret
    is_secret: bool
    scheme: str = ""

    @property
    def text(self) -> str:
        """What is sent."""
        return f"{self.scheme} {self.value.reveal()}".strip()

    @property
    def hidden(self) -> tuple[str, ...]:
        """What of it may be shown nowhere; a value too short to be a secret would be all over the answers."""
        value = self.value.reveal()
        return (value,) if self.is_secret and len(value) >= SHORTEST_SECRET else ()


def find_headers(endpoint: EndpointJob, environ: Mapping[str, str] = os.environ) -> tuple[Header, ...]:
    """The endpoint's own headers, with the values of the variables that they name.

    Raises:
        UsageError: a variable is not set, holds what no header can, belongs to another host, or its value
            would travel unencrypted.
    """
    hostname = urlsplit(endpoint.base_url).hostname or ""
    found = []
    for line in endpoint.headers:
        name, written = split(line)
        named = FROM_ENV.fullmatch(written)
        if named is None:
            found.append(Header(name, Secret(written), is_secret=False))
            continue
        scheme, variable = named.groups()
        _refuse_of_others(variable, hostname)
        value = (environ.get(variable) or _key_in_env_files(endpoint.env_from, variable)[0] or "").strip()
        if not value:
            raise UsageError(f"{{endpoint.headers}} {name}: the variable {variable} is not set.")
        if not value.isascii() or not value.isprintable():
            raise UsageError(f"{{endpoint.headers}} {name}: {variable} holds what no header can carry.")
        _refuse_in_the_open(endpoint)
        found.append(Header(name, Secret(value), is_secret=True, scheme=scheme or ""))
    return tuple(found)


def find_key(endpoint: EndpointJob, environ: Mapping[str, str] = os.environ) -> Secret | None:
    """The key for an endpoint; None for one of the user's own that needs none.

    Raises:
        UsageError: no key, a malformed one, a key file others can read, a key that belongs
            to another host, or a key that would travel unencrypted.
    """
    if endpoint.host in SELF_STARTED:
        return None
    url = urlsplit(endpoint.base_url)
    hostname = url.hostname or ""
    source = key_source(endpoint)
    if endpoint.api_key_file:
        value: str | None = _key_in_file(Path(endpoint.api_key_file))
    elif endpoint.api_key_keyring:
        value = _key_in_keyring(endpoint.api_key_keyring)
    else:
        if not source:
            if is_private(hostname) or any(map(is_authorization, endpoint.headers)):
                return None
            raise UsageError(
                f"no API key named for {hostname}. "
                "Pass {endpoint.api_key_env=NAME} (or {endpoint.api_key_file=FILE})."
            )
        _refuse_of_others(source, hostname)
        value, shared = environ.get(source), ""
        if not value:
            value, shared = _key_in_env_files(endpoint.env_from, source)
        if not value and endpoint.service.free and not endpoint.api_key_env:
            return None
        if not value and not endpoint.api_key_env and any(map(is_authorization, endpoint.headers)):
            return None
        if not value and shared:
            raise UsageError(f"{shared}: holds {source}, and others can read it. Run: chmod 600 {shared}")
        if not value:
            raise UsageError(
                f"the API key is missing: set {source}, or pass {{endpoint.api_key_file=FILE}}."
                + _other_key(endpoint, environ)
            )
    key = _checked(value or "", source)
    _refuse_in_the_open(endpoint)
    return key


def key_source(endpoint: EndpointJob) -> str:
    """Where an endpoint's key is looked for: a file, `keyring NAME` or a variable; "" for none."""
    if endpoint.api_key_file:
        return endpoint.api_key_file
    if endpoint.api_key_keyring:
        return f"keyring {endpoint.api_key_keyring}"
    return endpoint.api_key_env or endpoint.service.key_env


def is_of_others(variable: str, hostname: str) -> bool:
    """Whether the key in a well-known variable is not for that host."""
    owner = key_owner(variable)
    return bool(owner and not is_this_machine(hostname) and not owner.owns(hostname))


def _refuse_of_others(variable: str, hostname: str) -> None:
    """Raises UsageError when the key in a well-known variable is not for that host."""
    owner = key_owner(variable)
    if owner and is_of_others(variable, hostname):
        raise UsageError(
            f"{variable} belongs to {owner.host} and is not sent to {hostname}. "
            "Put that host's key in another variable and pass {endpoint.api_key_env=NAME}."
        )


def _refuse_in_the_open(endpoint: EndpointJob) -> None:
    """Raises UsageError when a secret would travel unencrypted to another machine."""
    url = urlsplit(endpoint.base_url)
    hostname = url.hostname or ""
    if url.scheme == "http" and not is_this_machine(hostname) and not endpoint.allow_http:
        raise UsageError(
            f"the key would travel unencrypted to http://{hostname}. Use https, or {{endpoint.allow_http}}."
        )


def _other_key(endpoint: EndpointJob, environ: Mapping[str, str]) -> str:
    """What to say when another service's key is there: its preset may have been meant."""
    if endpoint.preset is not None or endpoint.api_key_env is not None:
        return ""
    there = [preset for preset in PRESETS.values() if preset.key_env and environ.get(preset.key_env)]
    if not there:
        return ""
    ways = " or ".join(f"{{endpoint.preset={preset.name}}}" for preset in there[:3])
    names = ", ".join(preset.key_env for preset in there[:3])
    address = environ.get("OPENAI_BASE_URL")
    by_address = (
        " (OPENAI_BASE_URL is set too: pass {endpoint.base_url} with it and "
        "{endpoint.api_key_env=OPENAI_API_KEY})"
        if address and any(preset.name == "openai" for preset in there)
        else ""
    )
    return f" There is a key in {names}: for that service pass {ways}{by_address}."


def _key_in_env_files(paths: Sequence[str], name: str) -> tuple[str | None, str]:
    """A variable's value in the first `.env` that has it; else None, and one that others can read, if any."""
    shared = ""
    for path in map(Path, paths):
        from dotenv import dotenv_values  # 5 ms, for who has such a file

        try:
            mode = path.stat().st_mode
            value = dotenv_values(path, interpolate=False).get(name)
        except (OSError, UnicodeDecodeError):
            continue  # it may be anybody's, and about anything
        if value and not _is_shared(mode):
            return value, ""
        shared = shared or (str(path) if value else "")
    return None, shared


def _is_shared(mode: int) -> bool:
    """Whether others can read a file. Windows states no such bits: its access lists are not read here."""
    return sys.platform != "win32" and bool(mode & (stat.S_IRGRP | stat.S_IROTH))


def _key_in_file(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UsageError(f"{path}: cannot read the API key: {reason}.") from None
    if _is_shared(mode):
        raise UsageError(f"{path}: others can read the API key. Run: chmod 600 {path}")
    return text


def _key_in_keyring(entry: str) -> str:
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError:
        raise UsageError("{endpoint.api_key_keyring} needs: pip install 'batchlab[keyring]'") from None
    service, _, user = entry.partition(":")
    try:
        value = keyring.get_password(service, user or service)
    except KeyringError as error:
        raise UsageError(f"the keyring cannot be read: {type(error).__name__}.") from None
    if not value:
        raise UsageError(
            f"the keyring has no entry {entry}. Store it with: keyring set {service} {user or service}"
        )
    return str(value)


def _checked(value: str, source: str) -> Secret:
    key = value.strip()
    if not key:
        raise UsageError(f"{source}: the API key is empty.")
    if not key.isascii() or any(not character.isprintable() or character == " " for character in key):
        raise UsageError(f"{source}: the API key has spaces or control characters inside.")
    return Secret(key)
