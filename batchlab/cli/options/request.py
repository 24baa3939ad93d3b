"""Options of `[request]`: what is asked of each row, and what an answer has to be."""

from __future__ import annotations

import click

from batchlab.cli.options.option import Decorator, option
from batchlab.job import SCHEMA_MODES, TASK_PATHS

# what is asked: the model, its messages, the task
MESSAGES = dict(
    [
        option(
            "request.model",
            "-m",
            "--model",
            envvar="BATCHLAB_MODEL",
            show_envvar=True,
            metavar="MODEL",
            help="Model name, sent as written.",
        ),
        option(
            "request.prompt",
            "-p",
            "--prompt",
            metavar="TEXT",
            help="User message; {column} is replaced by the row's value.",
        ),
        option(
            "request.prompt_file",
            "--prompt-file",
            metavar="FILE.j2",
            type=click.Path(),
            help="Jinja2 template of the user message, instead of --prompt.",
        ),
        option(
            "request.system",
            "-s",
            "--system",
            metavar="TEXT",
            help="System message; {column} works here too.",
        ),
        option(
            "request.history",
            "--history-column",
            metavar="COLUMN",
            help="Column with earlier turns, a list of messages, put before the user message.",
        ),
        option(
            "request.image",
            "--image-column",
            multiple=True,
            metavar="COLUMN",
            help="Column with images for the user message: URLs, paths, bytes, or lists of them; repeatable.",
        ),
        option(
            "request.audio",
            "--audio-column",
            multiple=True,
            metavar="COLUMN",
            help="Column with WAV or MP3 sounds for the user message: data URLs, paths, bytes, or lists of them; repeatable.",
        ),
        option(
            "input.allow_files_under",
            "--allow-files-under",
            metavar="DIR",
            help="Read the files that rows name, if they are in DIR; relative paths are relative to it. [default: none is read]",
        ),
        option(
            "request.image_detail",
            "--image-detail",
            metavar="LEVEL",
            help="Detail of the images, such as low or high. [default: not sent]",
        ),
        option(
            "request.image_max_side",
            "--image-max-side",
            type=int,
            metavar="PIXELS",
            help="Scale larger images down; needs pip install 'batchlab[images]'. [default: sent as they are]",
        ),
        option(
            "request.max_image_bytes",
            "--max-image-bytes",
            type=int,
            metavar="BYTES",
            help="Largest image, before base64; a larger one fails its row. [default: 20971520]",
        ),
        option(
            "request.max_audio_bytes",
            "--max-audio-bytes",
            type=int,
            metavar="BYTES",
            help="Largest sound, before base64; a larger one fails its row. [default: 20971520]",
        ),
        option(
            "request.task",
            "--task",
            type=click.Choice(list(TASK_PATHS)),
            help="What is asked: a chat, a text completion, or a vector for each row. [default: chat; a batch file's lines say theirs]",
        ),
        option(
            "request.batch_rows",
            "--batch-rows",
            type=int,
            metavar="N",
            help="Most rows in one request for embeddings. [default: 64]",
        ),
        option(
            "request.batch_tokens",
            "--batch-tokens",
            type=int,
            metavar="N",
            help="Most tokens, as estimated, in one request for embeddings. [default: 100000]",
        ),
    ]
)

# how the answer comes, and the schema it must fit
ANSWERS = dict(
    [
        option(
            "request.stream",
            "--stream/--no-stream",
            default=None,
            help="Ask for SSE replies; gives ttft_ms. [default: plain]",
        ),
        option(
            "request.schema",
            "--schema",
            metavar="FILE",
            help="JSON Schema that answers must fit: a file, or module:Model of a Pydantic model. Fills the column parsed.",
        ),
        option(
            "request.schema_mode",
            "--schema-mode",
            type=click.Choice(SCHEMA_MODES),
            help="How the schema is asked for: as response_format, or in the system message. [default: by service]",
        ),
        option(
            "request.schema_strict",
            "--schema-strict/--no-schema-strict",
            default=None,
            help="Whether response_format says strict. [default: where the schema allows it]",
        ),
        option(
            "request.schema_retries",
            "--schema-retries",
            type=int,
            metavar="N",
            help="Correction turns for an answer that does not fit: the model is shown what is wrong. [default: 2]",
        ),
        option(
            "output.expand",
            "--expand/--no-expand",
            default=None,
            help="Also a typed column for each top-level property of the schema. [default: --no-expand]",
        ),
        option(
            "output.expand_prefix",
            "--expand-prefix",
            metavar="TEXT",
            help="Put before the names of those columns.",
        ),
    ]
)

# flags that go into the request body as they are
PARAMETERS: dict[str, Decorator] = {
    "max_tokens": click.option("--max-tokens", type=int, metavar="N", help="Most completion tokens a row."),
    "temperature": click.option("--temperature", type=float, metavar="T", help="Sampling temperature."),
    "top_p": click.option("--top-p", type=float, metavar="P", help="Nucleus sampling."),
}
