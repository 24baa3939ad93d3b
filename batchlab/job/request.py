"""`[request]`: what is asked of each row, and what an answer has to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from batchlab.job.setting import (
    MEDIA,
    MIB,
    PROMPT,
    SCHEMA,
    Asks,
    Setting,
    at_least,
    not_negative,
    setting,
)
from batchlab.job.values import columns, messages

MAX_BATCH_ROWS = 2_048  # texts a request, as OpenAI and those that copy its API have it
SCHEMA_MODES = ("json_schema", "json_object", "prompt")  # the one that holds the model best first

# what a request may ask of an endpoint → where it goes, after the base URL
TASK_PATHS = {"chat": "chat/completions", "completions": "completions", "embeddings": "embeddings"}

# Parameters of every provider that have flags and keywords of their own; any other goes as it is, too.
PARAMETERS = (
    Setting(
        section="request",
        name="max_tokens",
        type=int,
        flags="--max-tokens",
        unit="N",
        group=PROMPT,
        help="Most completion tokens a row.",
    ),
    Setting(
        section="request",
        name="temperature",
        type=float,
        flags="--temperature",
        unit="T",
        group=PROMPT,
        help="Sampling temperature.",
    ),
    Setting(
        section="request",
        name="top_p",
        type=float,
        flags="--top-p",
        unit="P",
        group=PROMPT,
        help="Nucleus sampling.",
    ),
)


def _most_batch_rows(value: int) -> str | None:
    return None if 1 <= value <= MAX_BATCH_ROWS else f"must be from 1 to {MAX_BATCH_ROWS:,}"


@dataclass(frozen=True, slots=True)
class RequestJob:
    """How a row becomes a request body. `params` are sent as written (max_tokens, temperature, ...).

    Attributes:
        schema: as plain data; None for free text.
        schema_from: how the user named it, for messages.
        schema_mode: the weakest of the services' when None.
    """

    model: str = setting(
        "",
        flags="-m --model",
        unit="MODEL",
        asks=Asks.ALWAYS,
        own_keyword="model",
        envvar="BATCHLAB_MODEL",
        help="Model name, sent as written.",
    )
    task: str = setting(
        "chat",
        flags="--task",
        unit="task",
        choices=tuple(TASK_PATHS),
        asks=Asks.IF_SET,
        shown="chat; a batch file's lines say theirs",
        help="What is asked: a chat, a text completion, or a vector for each row.",
    )
    system: str | None = setting(
        None,
        flags="-s --system",
        unit="TEXT",
        asks=Asks.ALWAYS,
        help="System message; {column} works here too.",
    )
    prompt: str | None = setting(
        None,
        flags="-p --prompt",
        unit="TEXT",
        asks=Asks.ALWAYS,
        help="User message; {column} is replaced by the row's value.",
    )
    prompt_file: str | None = setting(
        None,
        flags="--prompt-file",
        unit="FILE.j2",
        asks=Asks.ALWAYS,
        is_path=True,
        help="Jinja2 template of the user message, instead of {request.prompt}.",
    )
    same_prompt: bool = setting(
        False,
        flags="--same-prompt",
        help="Send it although it uses no column, and all rows ask the same.",
    )
    messages: list[dict[str, str]] = setting(
        list,
        unit="MESSAGES",
        read=messages,
        asks=Asks.IF_SET,
        help="A conversation of templates, role and content each, instead of {request.system} and "
        "{request.prompt}.",
    )
    history: str | None = setting(
        None,
        flags="--history-column",
        unit="COLUMN",
        asks=Asks.IF_SET,
        help="Column with earlier turns, a list of messages, put before the user message.",
    )
    image: list[str] = setting(
        list,
        flags="--image-column",
        group=MEDIA,
        unit="COLUMN",
        read=columns,
        asks=Asks.IF_SET,
        help="Column with images for the user message: URLs, paths, bytes, or lists of them; repeatable.",
    )
    audio: list[str] = setting(
        list,
        flags="--audio-column",
        group=MEDIA,
        unit="COLUMN",
        read=columns,
        asks=Asks.IF_SET,
        help="Column with WAV or MP3 sounds for the user message: data URLs, paths, bytes, or lists of them; "
        "repeatable.",
    )
    image_detail: str | None = setting(
        None,
        flags="--image-detail",
        group=MEDIA,
        unit="LEVEL",
        asks=Asks.IF_SET,
        shown="not sent",
        help="Detail of the images, such as low or high.",
    )
    image_max_side: int | None = setting(
        None,
        flags="--image-max-side",
        group=MEDIA,
        unit="PIXELS",
        check=at_least(1),
        asks=Asks.IF_SET,
        shown="sent as they are",
        help="Scale larger images down; needs pip install 'batchlab[images]'.",
    )
    max_image_bytes: int = setting(
        20 * MIB,
        flags="--max-image-bytes",
        group=MEDIA,
        unit="BYTES",
        check=at_least(1),
        help="Largest image, before base64; a larger one fails its row.",
    )
    max_audio_bytes: int = setting(
        20 * MIB,
        flags="--max-audio-bytes",
        group=MEDIA,
        unit="BYTES",
        check=at_least(1),
        help="Largest sound, before base64; a larger one fails its row.",
    )
    # Qwen2.5-VL takes 1,337 for 1024 x 1024 pixels, OpenAI 765 at high detail
    tokens_per_image: int = setting(
        1_500,
        unit="N",
        check=not_negative,
        help="Prompt tokens that an image or a sound is counted as, until the provider says.",
    )
    messages_column: str = setting(
        "messages",
        unit="COLUMN",
        asks=Asks.ALWAYS,
        help="Column whose messages are sent, where there is no template.",
    )
    prompt_column: str = setting(
        "prompt",
        unit="COLUMN",
        asks=Asks.ALWAYS,
        help="Column whose text is the prompt, where there is no template.",
    )
    stream: bool = setting(
        False,
        flags="--stream/--no-stream",
        shown="plain",
        help="Ask for SSE replies; gives ttft_ms.",
    )
    schema: dict[str, Any] | None = setting(
        None,
        flags="--schema",
        unit="FILE",
        is_path=True,
        group=SCHEMA,
        asks=Asks.WITH_SCHEMA,
        help="JSON Schema that answers must fit: a file, or module:Model of a Pydantic model. Fills the column "
        "parsed.",
    )
    schema_from: str = ""
    schema_mode: str | None = setting(
        None,
        flags="--schema-mode",
        unit="mode",
        group=SCHEMA,
        choices=SCHEMA_MODES,
        asks=Asks.WITH_SCHEMA,
        shown="by service",
        help="How the schema is asked for: as response_format, or in the system message.",
    )
    schema_strict: bool | None = setting(
        None,
        flags="--schema-strict/--no-schema-strict",
        group=SCHEMA,
        asks=Asks.WITH_SCHEMA,
        shown="where the schema allows it",
        help="Whether response_format says strict.",
    )
    schema_retries: int = setting(
        2,
        flags="--schema-retries",
        unit="N",
        group=SCHEMA,
        check=not_negative,
        help="Correction turns for an answer that does not fit: the model is shown what is wrong.",
    )
    # OpenAI takes 2,048 texts and 300,000 tokens a request; 4 bytes a token is low for some scripts
    batch_rows: int = setting(
        64,
        flags="--batch-rows",
        unit="N",
        check=_most_batch_rows,
        help="Most rows in one request for embeddings.",
    )
    batch_tokens: int = setting(
        100_000,
        flags="--batch-tokens",
        unit="N",
        check=at_least(1),
        help="Most tokens, as estimated, in one request for embeddings.",
    )
    check_params: bool = setting(
        True,
        flags="--check-params/--no-check-params",
        shown="on",
        help="Refuse a temperature, top_p, penalty, cap and the like that the service says it does not take.",
    )
    params: dict[str, Any] = setting(
        dict,
        unit="TABLE",
        asks=Asks.ALWAYS,
        help="Parameters for the provider as they are, also those that are called like a setting.",
    )
