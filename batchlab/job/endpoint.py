"""`[endpoint]` or `[[endpoint]]`: where requests go, and with which key."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from batchlab.job.headers import header_lines
from batchlab.job.lane import LANES
from batchlab.job.presets import Preset, preset_of
from batchlab.job.price import PriceJob
from batchlab.job.setting import Asks, positive, setting

DEFAULT_BASE_URL = "https://modelslab.com/api/v7/llm"
SELF_STARTED = ("simulator", "local")  # endpoints batchlab starts itself, on loopback

# what a provider's page shows at the end of the address: batchlab puts it there itself
KEY_CHARS = 20  # the shortest keys of services have 32; names of variables that long are in capitals
_PRIVATE_NAMES = (".local", ".internal", ".lan", ".home.arpa")  # RFC 6762, ICANN 2024, custom, RFC 8375
_TASK_PATH = re.compile(r"(?:/chat/completions|/completions|/embeddings)/*$")


def base_url(value: Any) -> Any:
    """An address as it is meant: without blanks around it, and without the path of a task at its end.

    Raises ValueError: it cannot be taken apart; without its words, among which may be a password.
    """
    if not isinstance(value, str):
        return value
    try:
        parts = urlsplit(value.strip())
    except ValueError:
        raise ValueError("its host is no name and no address; one of IPv6 stands in brackets") from None
    try:
        _ = parts.port
    except ValueError:
        raise ValueError("its port is no number from 0 to 65535") from None
    address, mark, query = value.strip().partition("?")
    return _TASK_PATH.sub("", address) + mark + query


def url_meant(text: str) -> str:
    """The http(s) URL that was meant by what is none, as far as one can tell."""
    rest = re.sub(r"^https?[:/]+", "", text)
    hostname = urlsplit(f"//{rest}").hostname or ""
    begun = re.match(r"https?", text)
    scheme = begun.group() if begun and rest != text else "http" if is_private(hostname) else "https"
    return f"{scheme}://{rest}"


def variable_name(value: Any) -> str:
    """The name of an environment variable. Raises ValueError for what looks like the key itself, unechoed."""
    if (
        not isinstance(value, str)
        or re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value) is None
        or _is_random(value)
    ):
        raise ValueError("expected the name of a variable that holds the key, such as OPENAI_API_KEY")
    return value


def _is_random(word: str) -> bool:
    """Whether a word is rather a key than a name: long, with digits, and not in capitals."""
    return len(word) >= KEY_CHARS and word != word.upper() and any(letter.isdigit() for letter in word)


def is_this_machine(hostname: str) -> bool:
    """Whether a host is this machine by its name: loopback, or the address that servers print for `any`."""
    if hostname == "localhost" or hostname.endswith(".localhost"):
        return True
    address = _address(hostname)
    return address is not None and (address.is_loopback or address.is_unspecified)


def is_private(hostname: str) -> bool:
    """Whether a host is this machine, or of a network of the user's own: no service of the public's."""
    if is_this_machine(hostname) or ("." not in hostname.strip("[]") and ":" not in hostname):
        return bool(hostname)
    address = _address(hostname)
    if address is None:
        return hostname.endswith(_PRIVATE_NAMES)
    return address.is_private or address.is_link_local


def _address(hostname: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(hostname)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class EndpointJob:
    """Where requests go: a base URL, `simulator`, `local` or `local:FILE.gguf`.

    Attributes:
        env_from: the `.env` files that may hold its key, the nearest first.
    """

    name: str = setting(
        "", unit="TEXT", shown="the preset's or the host", help="How rows and messages call this endpoint."
    )
    base_url: str = setting(
        DEFAULT_BASE_URL,
        flags="--base-url",
        unit="URL",
        envvar="BATCHLAB_BASE_URL",
        complete="endpoints",
        read=base_url,
        is_path=True,  # of local:FILE
        asks=Asks.BY_HOST,
        shown="ModelsLab",
        help="Endpoint, or 'simulator', 'local', 'local:FILE.gguf'.",
    )
    preset: str | None = setting(
        None,
        flags="--preset",
        unit="NAME",
        complete="presets",
        asks=Asks.BY_HOST,
        help="A known service instead of {endpoint.base_url}: openai, groq, ollama, ...; batchlab check --list "
        "shows them.",
    )
    api_key_env: str | None = setting(
        None,
        flags="--api-key-env",
        unit="NAME",
        read=variable_name,
        shown="the service's usual one, such as MODELSLAB_API_KEY",
        help="Variable with the API key.",
    )
    api_key_file: str | None = setting(
        None,
        flags="--api-key-file",
        unit="FILE",
        is_path=True,
        help="File with the API key; refused when others can read it.",
    )
    api_key_keyring: str | None = setting(
        None,
        flags="--api-key-keyring",
        unit="SERVICE[:USER]",
        help="Entry of the system's keyring with the API key; needs pip install 'batchlab[keyring]'.",
    )
    env_file: bool = setting(
        True,
        flags="--env-file/--no-env-file",
        help="Look for the key's variable in .env, too: beside the job file or here; not one that others can read.",
    )
    env_from: tuple[str, ...] = ()
    allow_http: bool = setting(
        False,
        flags="--allow-http",
        help="Send the key over plain http to a host other than this machine.",
    )
    insecure: bool = setting(
        False, flags="--insecure", help="Do not verify TLS certificates; the summary says so."
    )
    ca_bundle: str | None = setting(
        None,
        flags="--ca-bundle",
        unit="FILE",
        is_path=True,
        help="Certificates (PEM) to trust instead of the system's.",
    )
    headers: tuple[str, ...] = setting(
        (),
        flags="--header",
        unit="NAME=VALUE",
        read=header_lines,
        help="A header more with each request, such as 'x-tenant: blue'; a secret by its variable, as env:NAME. "
        "Repeatable.",
    )
    trust_env: bool = setting(
        False, flags="--trust-env", help="Go through the proxy that HTTPS_PROXY or HTTP_PROXY names."
    )
    model: str | None = setting(None, unit="MODEL", help="This endpoint's name for {request.model}.")
    weight: float | None = setting(
        None,
        unit="N",
        check=positive,
        shown="all it can take",
        help="Its share of the requests, among the endpoints that have one.",
    )
    concurrency: int | None = setting(
        None,
        unit="N",
        check=positive,
        shown="as {limits.concurrency}",
        help="Most requests in flight at this endpoint.",
    )
    rpm: float | None = setting(
        None,
        unit="N",
        check=positive,
        shown="as {limits.rpm}",
        help="Most requests a minute at this endpoint.",
    )
    tpm: float | None = setting(
        None,
        unit="N",
        check=positive,
        shown="as {limits.tpm}",
        help="Most tokens a minute at this endpoint.",
    )
    lane: str | None = setting(
        None,
        unit="lane",
        choices=LANES,
        shown="as {limits.lane}",
        help="How rows are answered at this endpoint.",
    )
    batch_api: str | None = setting(
        None,
        flags="--batch-api",
        unit="SERVICE",
        shown="the service's own",
        help="The service whose batch API this endpoint has, such as openai, where the address does not tell.",
    )
    price: PriceJob = setting(
        PriceJob, unit="TABLE", shown="[price]", help="Prices of this endpoint, as in [price]."
    )

    @property
    def service(self) -> Preset:
        """What is known of the service behind it."""
        return preset_of(self.preset, self.base_url)

    @property
    def flex_tier(self) -> str | None:
        """The `service_tier` of its flex lane; None when it has none that is known."""
        return "flex" if self.host == "simulator" else self.service.flex

    @property
    def host(self) -> str:
        """Host (and port) that answers."""
        return endpoint_host(self.base_url)


def endpoint_host(base_url: str) -> str:
    """`host[:port]` of a base URL, "" for what is none; the word itself for an endpoint batchlab starts."""
    word = base_url.split(":", 1)[0]
    if word in SELF_STARTED:
        return word
    try:
        return urlsplit(base_url).netloc.lower()
    except ValueError:
        return ""
