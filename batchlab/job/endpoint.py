"""`[endpoint]` or `[[endpoint]]`: where requests go, and with which key."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from batchlab.job.presets import Preset, preset_of
from batchlab.job.price import PriceJob
from batchlab.job.setting import Asks, positive, setting

DEFAULT_BASE_URL = "https://modelslab.com/api/v7/llm"
SELF_STARTED = ("simulator", "local")  # endpoints batchlab starts itself, on loopback


@dataclass(frozen=True, slots=True)
class EndpointJob:
    """Where requests go: a base URL, `simulator`, `local` or `local:FILE.gguf`."""

    name: str = setting(
        "", unit="TEXT", shown="the preset's or the host", help="How rows and messages call this endpoint."
    )
    base_url: str = setting(
        DEFAULT_BASE_URL,
        flags="--base-url",
        unit="URL",
        envvar="BATCHLAB_BASE_URL",
        complete="endpoints",
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
        shown="the service's usual one, such as MODELSLAB_API_KEY",
        help="Variable with the API key.",
    )
    api_key_file: str | None = setting(
        None,
        flags="--api-key-file",
        unit="FILE",
        complete="path",
        help="File with the API key; refused when others can read it.",
    )
    api_key_keyring: str | None = setting(
        None,
        flags="--api-key-keyring",
        unit="SERVICE[:USER]",
        help="Entry of the system's keyring with the API key; needs pip install 'batchlab[keyring]'.",
    )
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
        complete="path",
        help="Certificates (PEM) to trust instead of the system's.",
    )
    trust_env: bool = setting(False, help="Go through the proxy that the environment names.")
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
    price: PriceJob = setting(
        PriceJob, unit="TABLE", shown="[price]", help="Prices of this endpoint, as in [price]."
    )

    @property
    def service(self) -> Preset:
        """What is known of the service behind it."""
        return preset_of(self.preset, self.base_url)

    @property
    def host(self) -> str:
        """Host (and port) that answers."""
        return endpoint_host(self.base_url)


def endpoint_host(base_url: str) -> str:
    """`host[:port]` of a base URL; the word itself for an endpoint batchlab starts."""
    word = base_url.split(":", 1)[0]
    return word if word in SELF_STARTED else urlsplit(base_url).netloc.lower()
