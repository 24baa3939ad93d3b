"""A run's requests as OpenTelemetry spans, by the GenAI semantic conventions.

One span for the run and one for each row, from its first request to its result. A row is a trace of
its own, linked to the run's: so the SDK's sampler decides for each row, and no trace has a million
spans. No prompt and no answer is in any. Where they go, how often and with which headers is the SDK's
business (`OTEL_*` variables). Importing this module needs the packages of `batchlab[otel]`.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, StatusCode, TraceFlags, Tracer

from batchlab.errors import UsageError
from batchlab.observe.facts import EndpointAddress, RunFacts
from batchlab.protocol.redact import printable, redact
from batchlab.records import ChatRequest, Completion, Result
from batchlab.run_end import RunSummary, StopReason
from batchlab.version import __version__

FLUSH_S = 5.0  # longest the end of a run waits for the collector

# well-known values of gen_ai.provider.name; others are free text
_PROVIDERS = {"mistral": "mistral_ai", "azure": "azure.ai.openai"}


@dataclass(slots=True)
class _Begun:
    request: ChatRequest
    sent_ns: int = 0


class RunSpans:
    """The spans of one run. Called from the event loop alone, except `close`.

    Raises:
        UsageError: the environment asks for a protocol we do not speak.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._provider, self._borrowed = _provider()
        self._tracer: Tracer = self._provider.get_tracer("batchlab", __version__)
        self._complaints = _Complaints(say)
        self._complaints.listen()
        self._run: Span | None = None
        self._rows: dict[int, _Begun] = {}
        self._links: list[Link] = []
        self._root = Context()  # holds no span: a row is not the run's child
        self._addresses: dict[str, dict[str, Any]] = {}
        self._only_address: dict[str, Any] = {}

    def started(self, facts: RunFacts) -> None:
        """The run's span begins."""
        self._run = self._tracer.start_span(
            "batchlab.run",
            attributes={
                "batchlab.run": facts.run,
                "batchlab.rows": facts.before.rows,
                "gen_ai.request.model": facts.model,
            },
        )
        self._links = [Link(self._run.get_span_context())]
        self._know(facts.addresses)

    def joined(self, run: tuple[int, int, int], addresses: Sequence[EndpointAddress]) -> None:
        """Rows of a worker are linked to the span of the run it works for; see `link`."""
        trace_id, span_id, flags = run
        context = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
        self._links = [Link(context)]
        self._know(addresses)

    def link(self) -> tuple[int, int, int]:
        """The run's trace, span and flags."""
        assert self._run is not None, "asked before the run has begun"
        context = self._run.get_span_context()
        return context.trace_id, context.span_id, int(context.trace_flags)

    def _know(self, addresses: Sequence[EndpointAddress]) -> None:
        self._addresses = {address.name: _attributes_of(address) for address in addresses}
        if len(self._addresses) == 1:
            (self._only_address,) = self._addresses.values()

    def begun(self, request: ChatRequest) -> None:
        """The row will be sent."""
        self._rows[request.row_id] = _Begun(request)

    def sent(self, row_id: int) -> None:
        """A request for the row leaves now."""
        row = self._rows.get(row_id)
        if row is not None and not row.sent_ns:
            row.sent_ns = time.time_ns()

    def result(self, result: Result) -> None:
        """The row's span, whole."""
        row = self._rows.pop(result.row_id, None)
        if row is None or not row.sent_ns:
            return  # it was never sent
        attributes = self._attributes(row.request, result)
        span = self._tracer.start_span(
            f"chat {row.request.model}",
            context=self._root,
            kind=SpanKind.CLIENT,
            attributes=attributes,
            links=self._links,
            start_time=row.sent_ns,
        )
        if not isinstance(result, Completion):
            span.set_status(StatusCode.ERROR)
        span.end()

    def _attributes(self, request: ChatRequest, result: Result) -> dict[str, Any]:
        body = request.body
        address = self._addresses.get(result.endpoint or "", self._only_address)
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": request.model,
            **address,
            "batchlab.row_id": result.row_id,
            "batchlab.attempts": result.attempts,
        }
        for name, value in (
            ("max_tokens", request.max_tokens),
            ("temperature", body.get("temperature")),
            ("top_p", body.get("top_p")),
        ):
            if isinstance(value, int | float):
                attributes[f"gen_ai.request.{name}"] = value
        if isinstance(tier := body.get("service_tier"), str):
            attributes["openai.request.service_tier"] = tier
        if isinstance(result, Completion):
            reply, usage = result.reply, result.reply.usage
            attributes["batchlab.status"] = result.status
            if reply.finish_reason is not None:
                attributes["gen_ai.response.finish_reasons"] = (reply.finish_reason,)
            known: tuple[tuple[str, Any], ...] = (
                ("gen_ai.response.model", reply.model),
                ("gen_ai.response.id", reply.response_id),
                ("gen_ai.usage.input_tokens", usage.prompt_tokens),
                ("gen_ai.usage.output_tokens", usage.completion_tokens),
                ("gen_ai.usage.cache_read.input_tokens", usage.cached_tokens),
                ("gen_ai.usage.cache_creation.input_tokens", usage.cache_write_tokens),
                ("gen_ai.usage.reasoning.output_tokens", usage.reasoning_tokens),
                ("openai.response.service_tier", reply.service_tier),
                ("batchlab.cost_usd", result.cost_usd),
                ("batchlab.cost_wasted_usd", result.cost_wasted_usd),
                ("batchlab.latency_ms", result.timing.latency_ms),
                ("batchlab.queue_ms", result.timing.queue_ms),
                ("batchlab.ttft_ms", result.timing.ttft_ms),
            )
        else:
            attributes["batchlab.status"] = "failed"
            # the message may echo the prompt: only its class goes out
            known = (
                ("error.type", result.error_class),
                ("http.response.status_code", result.error_code),
                ("batchlab.cost_wasted_usd", result.cost_wasted_usd),
            )
        attributes.update((name, value) for name, value in known if value is not None)
        return attributes

    def ended(self, summary: RunSummary) -> None:
        """The run's span ends."""
        if self._run is None:
            return
        totals = summary.totals
        self._run.set_attributes(
            {
                "batchlab.answered": totals.answered,
                "batchlab.failed": totals.failed,
                "batchlab.pending": summary.input_rows - totals.rows,
                "batchlab.sent": summary.sent,
                "batchlab.exit_code": summary.exit_code,
                "batchlab.empty": totals.empty,
                "batchlab.unknown_finish": totals.unknown_finish.rows,
            }
        )
        if totals.spent_usd is not None:  # an attribute has no null: what is not known is left out
            self._run.set_attribute("batchlab.cost_usd", totals.spent_usd)
        self._end(summary.stopped)

    def crashed(self, error: BaseException) -> None:
        """The run's span ends with an error."""
        self._end(type(error).__name__)

    def _end(self, error_type: str | None) -> None:
        if self._run is None:
            return
        if error_type is not None and error_type != StopReason.PILOT:
            self._run.set_attribute("error.type", str(error_type))
            self._run.set_status(StatusCode.ERROR)
        self._run.end()
        self._run = None

    def close(self) -> None:
        """Sends what is left, within `FLUSH_S`: a collector that is away must not hold up the end."""
        end = self._provider.force_flush if self._borrowed else self._provider.shutdown
        thread = threading.Thread(target=end, name="batchlab-otel-flush", daemon=True)
        thread.start()
        thread.join(FLUSH_S)
        if thread.is_alive():
            self._say(f"OpenTelemetry: the collector did not take all spans within {FLUSH_S:g} s")
        self._complaints.stop()


def _attributes_of(address: EndpointAddress) -> dict[str, Any]:
    provider = _PROVIDERS.get(address.service, address.service) or address.host
    attributes: dict[str, Any] = {"gen_ai.provider.name": provider, "server.address": address.host}
    if address.port is not None:
        attributes["server.port"] = address.port
    return attributes


def _provider() -> tuple[TracerProvider, bool]:
    """The tracer provider, and whether the program that calls us owns it."""
    own = trace.get_tracer_provider()
    if isinstance(own, TracerProvider):
        return own, True
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        protocol = os.environ.get(name)
        if protocol and protocol != "http/protobuf":
            raise UsageError(
                f"{name}={protocol}: batchlab sends spans by http/protobuf. Name such an endpoint "
                "(port 4318 by custom), and set the variable to http/protobuf."
            )
        if protocol:
            break  # the one for traces wins
    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: "batchlab", SERVICE_VERSION: __version__}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider, False


class _Complaints(logging.Handler):
    """What the SDK logs, said once: its own way would write over the progress line."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._tell = say
        self._said = False
        self._logger = logging.getLogger("opentelemetry")

    def listen(self) -> None:
        """Takes over the SDK's log."""
        self._logger.addHandler(self)
        self._logger.propagate = False

    def stop(self) -> None:
        """Gives it back."""
        self._logger.removeHandler(self)
        self._logger.propagate = True

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        if not self._said:
            self._said = True
            text = printable(redact(record.getMessage()), 300)
            self._tell(f"OpenTelemetry: {text}. Spans may be missing; the run goes on")
