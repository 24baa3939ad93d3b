"""Options of `[endpoint]`: where requests go, and with which key."""

from __future__ import annotations

import click

from batchlab.cli.completion import endpoint_words, preset_names
from batchlab.cli.options.option import option

ENDPOINT = dict(
    [
        option(
            "endpoint.base_url",
            "--base-url",
            envvar="BATCHLAB_BASE_URL",
            show_envvar=True,
            metavar="URL",
            shell_complete=endpoint_words,
            help="Endpoint, or 'simulator', 'local', 'local:FILE.gguf'. [default: ModelsLab]",
        ),
        option(
            "endpoint.preset",
            "--preset",
            metavar="NAME",
            shell_complete=preset_names,
            help="A known service instead of --base-url: openai, groq, ollama, ...; batchlab check --list shows them.",
        ),
        option(
            "endpoint.api_key_env",
            "--api-key-env",
            metavar="NAME",
            help="Variable with the API key. [default: the service's usual one, such as MODELSLAB_API_KEY]",
        ),
        option(
            "endpoint.api_key_file",
            "--api-key-file",
            metavar="FILE",
            type=click.Path(),
            help="File with the API key; refused when others can read it.",
        ),
        option(
            "endpoint.api_key_keyring",
            "--api-key-keyring",
            metavar="SERVICE[:USER]",
            help="Entry of the system's keyring with the API key; needs pip install 'batchlab[keyring]'.",
        ),
        option(
            "endpoint.ca_bundle",
            "--ca-bundle",
            metavar="FILE",
            type=click.Path(),
            help="Certificates (PEM) to trust instead of the system's.",
        ),
        option(
            "endpoint.insecure",
            "--insecure",
            is_flag=True,
            default=None,
            help="Do not verify TLS certificates; the summary says so.",
        ),
        option(
            "endpoint.allow_http",
            "--allow-http",
            is_flag=True,
            default=None,
            help="Send the key over plain http to a host other than this machine.",
        ),
    ]
)
