"""All batch APIs of the provider, each where its paths are."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from batchlab.endpoints.simulator.batches.desk import Desk
from batchlab.endpoints.simulator.batches.openai import OpenAIRoutes
from batchlab.endpoints.simulator.batches.steps import Steps
from batchlab.endpoints.simulator.options import SimulatorOptions


class BatchRoutes:
    """Every service's routes, over one desk."""

    def __init__(
        self,
        desk: Callable[[], Desk],
        options: SimulatorOptions,
        authorized: Callable[[web.Request], bool],
    ) -> None:
        self._openai = OpenAIRoutes(Steps(desk, options, authorized))

    def mount(self, app: web.Application, prefix: str) -> None:
        """Adds them under a prefix."""
        self._openai.mount(app, prefix)
