"""The job: one frozen description of a run. `job_file` reads it from a file, flags and defaults."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from batchlab.presets import Preset, preset_of

DEFAULT_BASE_URL = "https://modelslab.com/api/v7/llm"
ROWS = "rows"  # what a message calls input that has no path
MEMORY = "memory:"  # an input path's beginning: rows of a program, in a file of the run directory
SCHEMA_MODES = ("json_schema", "json_object", "prompt")  # the one that holds the model best first
SELF_STARTED = ("simulator", "local")  # endpoints batchlab starts itself, on loopback

SHARD_ROWS = 10_000  # ~8 MB parts at 800 B a row
MIB = 1024 * 1024

# what a request may ask of an endpoint → where it goes, after the base URL
TASK_PATHS = {"chat": "chat/completions", "completions": "completions", "embeddings": "embeddings"}

FAIL_ON = ("truncated", "filtered", "empty")  # what may make an exit code 1; counts of `totals.Totals`

# formats of an output file or directory, and the endings that name one
ENGINES = ("local", "processes", "ray")
FORMATS = ("parquet", "csv", "jsonl", "openai-batch", "hf")
ENDINGS = {".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl"}

MAX_NAME_CHARS = 80  # of a run's directory: Windows takes 260 for a whole path
# names that open a device on Windows, whatever their case
_DEVICES = {"CON", "PRN", "AUX", "NUL"} | {f"{port}{n}" for port in ("COM", "LPT") for n in range(10)}


@dataclass(frozen=True, slots=True)
class InputJob:
    """What is read. `path` is a file, a directory or glob of Parquet files, a URL of those, `-`, or
    `memory:FILE`.

    Attributes:
        quotes: whether a CSV cell may be quoted; False when quotes are text like any other.
        id: column whose text becomes custom_id; the row's position when None.
        null_as: text that stands for a null in a template; a null is a plan error when None.
        row_params: column with a JSON object merged over the job's request parameters.
        model: column that names the row's model; the job's where it is null.
        endpoint: column that names the endpoint a row must go to; any of them where it is null.
        allow_files_under: the one directory whose files rows may name; none may be read when None.
        limit: only the first N rows.
        strict: a malformed line refuses the run instead of failing its row.
    """

    path: str = ""
    id: str | None = None
    delimiter: str | None = None
    quotes: bool = True
    null_as: str | None = None
    row_params: str | None = None
    model: str | None = None
    endpoint: str | None = None
    allow_files_under: str | None = None
    limit: int | None = None
    strict: bool = False

    @property
    def json_lines(self) -> bool:
        """Whether rows are JSON objects as written, and not cells or Arrow values."""
        name = self.path.lower().removesuffix(".gz").removesuffix(".zst")
        return self.path == "-" or name.endswith((".jsonl", ".ndjson"))

    @property
    def shown_as(self) -> str:
        """What a message calls it."""
        return ROWS if self.path.startswith(MEMORY) else self.path


@dataclass(frozen=True, slots=True)
class PriceJob:
    """USD per 1 M tokens; None where the user gave none. `models` holds those of single models."""

    input: float | None = None
    output: float | None = None
    cached: float | None = None
    models: dict[str, PriceJob] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EndpointJob:
    """Where requests go: a base URL, `simulator`, `local` or `local:FILE.gguf`.

    Attributes:
        name: how rows and messages call it; the preset's name or the host when not given.
        preset: a name of `presets.PRESETS`, when the host does not tell.
        model: this endpoint's name for the job's model.
        api_key_keyring: `SERVICE` or `SERVICE:USER` of the system's keyring.
        insecure: TLS certificates are not verified; the summary says so.
        weight: its share of the requests among the endpoints that have one; None takes all it can.
        concurrency, rpm, tpm: its own limits; those of [limits] where None.
        price: of this endpoint; [price] where it states none.
    """

    name: str = ""
    base_url: str = DEFAULT_BASE_URL
    preset: str | None = None
    api_key_env: str | None = None
    api_key_file: str | None = None
    api_key_keyring: str | None = None
    allow_http: bool = False
    insecure: bool = False
    ca_bundle: str | None = None
    trust_env: bool = False
    model: str | None = None
    weight: float | None = None
    concurrency: int | None = None
    rpm: float | None = None
    tpm: float | None = None
    price: PriceJob = field(default_factory=PriceJob)

    @property
    def service(self) -> Preset:
        """What is known of the service behind it."""
        return preset_of(self.preset, self.base_url)

    @property
    def host(self) -> str:
        """Host (and port) that answers."""
        return endpoint_host(self.base_url)


@dataclass(frozen=True, slots=True)
class RequestJob:
    """How a row becomes a request body. `params` are sent as written (max_tokens, temperature, ...).

    Attributes:
        schema: the JSON Schema that answers have to fit, as plain data; None for free text.
        schema_from: how the user named it, for messages.
        schema_mode: `json_schema`, `json_object` or `prompt`; the weakest of the services' when None.
        schema_strict: whether a provider is told to enforce it; None where the schema allows that.
        schema_retries: correction turns that a row with an invalid answer gets.
        messages: a conversation of templates, `role` and `content` each, instead of system and prompt.
        history: column with earlier turns, put before what the user says last.
        image, audio: columns whose images and sounds go into the last message of the user.
        image_detail: the `detail` of each image, as the provider knows it.
        image_max_side: larger images are scaled down to this many pixels.
        max_image_bytes, max_audio_bytes: largest file or value that is sent, before base64.
        tokens_per_image: prompt tokens that an image or a sound is counted as, until the provider says.
        task: one of TASK_PATHS; the lines of a batch file say theirs themselves.
        batch_rows, batch_tokens: most rows, and most tokens as estimated, in one request for embeddings.
    """

    model: str = ""
    task: str = "chat"
    system: str | None = None
    prompt: str | None = None
    prompt_file: str | None = None
    messages: list[dict[str, str]] = field(default_factory=list)
    history: str | None = None
    image: list[str] = field(default_factory=list)
    audio: list[str] = field(default_factory=list)
    image_detail: str | None = None
    image_max_side: int | None = None
    max_image_bytes: int = 20 * MIB
    max_audio_bytes: int = 20 * MIB
    tokens_per_image: int = 1_500  # Qwen2.5-VL takes 1,337 for 1024 x 1024 pixels, OpenAI 765 at high detail
    messages_column: str = "messages"
    prompt_column: str = "prompt"
    stream: bool = False
    schema: dict[str, Any] | None = None
    schema_from: str = ""
    schema_mode: str | None = None
    schema_strict: bool | None = None
    schema_retries: int = 2
    # OpenAI takes 2,048 texts and 300,000 tokens a request; 4 bytes a token is low for some scripts
    batch_rows: int = 64
    batch_tokens: int = 100_000
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LimitsJob:
    """How hard the endpoint is used, and when to stop. Durations in seconds.

    Attributes:
        retry_truncated: ask a truncated row once more with this many times the max_tokens.
        retry_empty: ask a row with an empty answer up to this many times more.
        max_pause_s: longest Retry-After that is waited out.
        row_deadline_s: longest that all attempts of one row may take together, without the waits
            for a slot or a pause.
        hedge: ask the last, slow rows a second time.
        engine: one of ENGINES; None for `processes` if a number of them is given, else `local`.
        ray_address: HEAD:PORT of a Ray cluster.
        journal_flush_s: workers of a run at a URL put what is new in their journals there this often.
        processes: how many share the work on this machine, or on each node of a cluster; `auto` for as
            many as there are CPUs here. None is 1, and `auto` with the engine `processes`.
    """

    concurrency: int = 64
    engine: str | None = None
    ray_address: str | None = None
    journal_flush_s: float = 5.0
    processes: int | str | None = None
    rpm: float | None = None
    tpm: float | None = None
    max_cost: float | None = None
    max_tokens_total: float | None = None
    deadline_s: float | None = None
    max_attempts: int = 6
    retry_truncated: float | None = None
    retry_empty: int = 0
    connect_timeout_s: float = 10.0
    idle_timeout_s: float = 120.0
    timeout_s: float = 600.0
    drain_timeout_s: float = 120.0
    max_outage_s: float = 21_600.0
    max_pause_s: float = 21_600.0
    row_deadline_s: float | None = None
    hedge: bool = False
    max_response_bytes: int = 16 * MIB

    @property
    def workers(self) -> int | str:
        """Processes that share the work, of this machine or of each node; `auto` for one a CPU here."""
        if self.engine == "local":
            return 1
        return self.processes or ("auto" if self.engine == "processes" else 1)


@dataclass(frozen=True, slots=True)
class OutputJob:
    """Where results go. `prefix` is put before each result column's name.

    Attributes:
        run_dir: a directory of this machine. A URL given for it becomes `remote`, and `run_dir` the
            directory where the journal of that run is kept.
        remote: URL where the run's sealed parts are copied to.
        file: a path or a URL.
        to: one of FORMATS; what the name of `file` and the input say when None.
        errors: file for the lines of failed rows, beside an `openai-batch` file.
        expand: a typed column for each top-level property of the schema.
        expand_prefix: put before the names of those columns.
        reuse: directories or URLs of runs whose answers identical requests take over.
        dedupe: identical requests at temperature 0 are sent once.
        shard_rows: rows a part; None for `SHARD_ROWS`, or fewer when several processes need more shards.
        metrics_file: Prometheus text file, for a textfile collector.
        log_file: events as JSON lines are appended to it.
        otel: send OpenTelemetry spans, as the OTEL_* variables say.
        fail_on: some of FAIL_ON; a finished run that has any of these answers ends with exit code 1.
    """

    run_dir: str = ""
    remote: str | None = None
    file: str | None = None
    to: str | None = None
    errors: str | None = None
    prefix: str = ""
    expand: bool = False
    expand_prefix: str = ""
    shard_rows: int | None = None
    reuse: tuple[str, ...] = ()
    dedupe: bool = False
    metrics_file: str | None = None
    log_file: str | None = None
    otel: bool = False
    fail_on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """One run, whole and checked. Build it with `job_file.load_job` or `job_from`."""

    input: InputJob = field(default_factory=InputJob)
    endpoint: tuple[EndpointJob, ...] = (EndpointJob(),)
    request: RequestJob = field(default_factory=RequestJob)
    limits: LimitsJob = field(default_factory=LimitsJob)
    price: PriceJob = field(default_factory=PriceJob)
    output: OutputJob = field(default_factory=OutputJob)
    simulator: dict[str, Any] = field(default_factory=dict)

    @property
    def reads_files(self) -> bool:
        """Whether rows name files, which may change while the input does not."""
        return self.input.allow_files_under is not None and bool(self.request.image or self.request.audio)

    @property
    def host(self) -> str:
        """Host (and port) of the first endpoint; part of every request's identity.

        The others take over for it; which one answered is in the `endpoint` column.
        """
        return self.endpoint[0].host

    @property
    def schema_mode(self) -> str:
        """How answers that fit the schema are asked for: one way for all endpoints, because answers to
        different requests never mix."""
        if self.request.schema_mode is not None:
            return self.request.schema_mode
        return max((endpoint.service.schema_mode for endpoint in self.endpoint), key=SCHEMA_MODES.index)

    def request_settings(self) -> dict[str, Any]:
        """Everything that changes what is asked; two runs mix results only if this is equal.

        Concurrency, limits, retries and prices are not in it: they may change freely.
        """
        request = dataclasses.asdict(self.request)
        request.pop("stream")  # how the answer travels, not what is asked
        for name in ("batch_rows", "batch_tokens", "schema_from", "schema_retries"):
            request.pop(name)
        if self.request.schema is None:
            for name in ("schema", "schema_mode", "schema_strict"):
                request.pop(name)
        else:
            request["schema_mode"] = self.schema_mode
        for name in ("max_image_bytes", "max_audio_bytes", "tokens_per_image"):
            request.pop(name)
        for name in ("messages", "history", "image", "audio", "image_detail", "image_max_side"):
            if not request[name]:  # an earlier batchlab's settings do not have it
                request.pop(name)
        if request["task"] == "chat":
            request.pop("task")  # runs of before there were others go on
        if self.request.prompt_file:
            content = Path(self.request.prompt_file).read_bytes()
            request["prompt_file"] = hashlib.blake2b(content, digest_size=16).hexdigest()
        return {
            **{f"request.{key}": value for key, value in request.items()},
            "endpoint.host": self.host,
            "input.row_params": self.input.row_params,
            "input.model": self.input.model,
            "input.endpoint": self.input.endpoint,
            "input.null_as": self.input.null_as,
        }

    def to_dict(self) -> dict[str, Any]:
        """The job as plain data for `run.json`. It holds names of key variables, never a key."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Job:
        """The job that `to_dict` described."""
        return cls(**{f.name: _section(f.name, data.get(f.name, {})) for f in fields(cls)})


SECTIONS: dict[str, Any] = {
    "input": InputJob,
    "endpoint": EndpointJob,
    "request": RequestJob,
    "limits": LimitsJob,
    "price": PriceJob,
    "output": OutputJob,
}


def _section(name: str, data: Any) -> Any:
    """A section as `Job.to_dict` wrote it."""
    if name == "endpoint":
        return tuple(EndpointJob(**{**one, "price": _section("price", one["price"])}) for one in data)
    if name == "price":
        models = {model: _section("price", price) for model, price in data.get("models", {}).items()}
        return PriceJob(**{**data, "models": models})
    if name == "output":
        lists = {name: tuple(data.get(name, ())) for name in ("reuse", "fail_on")}
        return OutputJob(**{**data, **lists})
    return dict(data) if name == "simulator" else SECTIONS[name](**data)


def output_format(file: str, to: str | None, *, batch: bool) -> str | None:
    """The format of an output file, one of FORMATS; None when nothing tells.

    Args:
        to: what the user said.
        batch: the input is a batch file: then `.jsonl` is what the Batch API and vLLM write.
    """
    if to is not None:
        return to
    if file.endswith("/"):
        return "hf"
    ending = ENDINGS.get(Path(file).suffix.lower())
    return "openai-batch" if batch and ending == "jsonl" else ending


def endpoint_host(base_url: str) -> str:
    """`host[:port]` of a base URL; the word itself for an endpoint batchlab starts."""
    word = base_url.split(":", 1)[0]
    return word if word in SELF_STARTED else urlsplit(base_url).netloc.lower()


def default_run_dir(job: Job) -> str:
    """`runs/NAME` after the input, so that a command with another -o finds the run again."""
    name = "stdin" if job.input.path == "-" else job.input.path.rstrip(f"/*{os.sep}")
    return str(Path("runs") / directory_name(Path(name).name.split(".")[0]))


def directory_name(text: str) -> str:
    """`text` as the name of a directory on every system: no sign, word or length that one refuses."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", text) or "run"
    if name.upper() in _DEVICES:
        name += "-run"
    if len(name) > MAX_NAME_CHARS:
        name = f"{name[:MAX_NAME_CHARS]}-{hashlib.blake2b(name.encode(), digest_size=4).hexdigest()}"
    return name
