"""All batch APIs of the provider, each where its paths are."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from batchlab.endpoints.simulator.batches.desk import Desk
from batchlab.endpoints.simulator.batches.message_batches import MessageBatchRoutes
from batchlab.endpoints.simulator.batches.mistral_jobs import MistralRoutes
from batchlab.endpoints.simulator.batches.openai_shaped import OpenAIRoutes
from batchlab.endpoints.simulator.batches.openrouter_inline import OpenRouterRoutes
from batchlab.endpoints.simulator.batches.steps import (
    Steps,
    anthropic_error,
    mistral_error,
    openai_error,
    openrouter_error,
)
from batchlab.endpoints.simulator.messages import VERSION_HEADER
from batchlab.endpoints.simulator.options import SimulatorOptions


def mount_batches(
    app: web.Application,
    prefix: str,
    desk: Callable[[], Desk],
    options: SimulatorOptions,
    authorized: Callable[[web.Request], bool],
) -> None:
    """Adds every service's routes under a prefix, over one desk.

    `/batches` is OpenRouter's under /api/v1, else that of the dialect in the options; `/batch/jobs` and
    `/messages/batches` are nobody else's, and always there.
    """
    files_error = mistral_error if options.batch.dialect == "mistral" else openai_error
    OpenAIRoutes(Steps(desk, options, authorized, files_error)).mount(app, prefix)
    MistralRoutes(Steps(desk, options, authorized, mistral_error)).mount(app, prefix)
    OpenRouterRoutes(Steps(desk, options, authorized, openrouter_error)).mount(app, prefix)
    MessageBatchRoutes(Steps(desk, options, authorized, anthropic_error, (VERSION_HEADER,))).mount(
        app, prefix
    )
