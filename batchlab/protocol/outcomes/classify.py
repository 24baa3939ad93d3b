"""What an answer means: one pure function over one table.

Evidence is weighed in this order: transport fault → what the error says for programs (quotas and delays,
codes, types, parameters) → the HTTP status → its words, of services that have no code for it
(`wordings`). Success is decided by the body before this module is asked: a status of 200 that
reaches `classify` is an error. `x-should-retry` decides last, and only between RETRY and FAIL.

No word of a 400, 413 or 422 makes it WAIT, PAUSE or STOP: it may be the user's own. Two whole sentences of
a service's own are let through: Anthropic's about the credit balance, and ModelsLab's about its queue and
key, in ModelsLab's envelope.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from batchlab.protocol.outcomes.facts import NOTHING_ASKED, Asked, Facts, FaultKind, error_facts
from batchlab.protocol.outcomes.table import FAIL, RETRY, TABLE, Line
from batchlab.protocol.redact import MAX_MESSAGE_CHARS, printable, redact
from batchlab.protocol.values import json_text
from batchlab.records import Outcome

_OF_A_ROW = frozenset({400, 413, 422})  # statuses whose message may be the user's own text


MAX_BEGINNING = 200  # bytes that are shown of a body that is something else


@dataclass(frozen=True, slots=True)
class TransportFault:
    """No response came, or none that could be read; from `dispatch.http.transport`."""

    kind: FaultKind
    message: str


def classify(
    status: int | None,
    headers: Mapping[str, str],
    body: bytes,
    fault: TransportFault | None = None,
    *,
    asked: Asked = NOTHING_ASKED,
    problem: str = "",
    now: datetime | None = None,
) -> Outcome:
    """What is to be done about an attempt that gave no completion. Never raises, never OK.

    Args:
        status: HTTP status; None when `fault` says why there is no response.
        headers: the response's, with case-insensitive look-up for anything but lower case.
        body: at most its first 64 KiB.
        asked: what of the request may explain its refusal.
        problem: what is wrong with a 200, for one that says nothing itself.
    """
    return judged(status, headers, body, fault, asked=asked, problem=problem, now=now)[1]


def judged(
    status: int | None,
    headers: Mapping[str, str],
    body: bytes,
    fault: TransportFault | None = None,
    *,
    asked: Asked = NOTHING_ASKED,
    problem: str = "",
    now: datetime | None = None,
) -> tuple[Line, Outcome]:
    """The line of the table that decides, and the outcome; see `classify`."""
    lower = {name.lower(): value for name, value in headers.items()}
    kind = fault.kind if fault is not None else None
    facts = error_facts(status, lower, body, fault=kind, asked=asked, now=now)
    line = next(line for line in TABLE if line.holds(facts))
    if facts.told and facts.status in _OF_A_ROW and line.kind not in {FAIL, RETRY}:
        sure = replace(facts, codes=facts.codes - facts.told)
        line = next(line for line in TABLE if line.holds(sure))
    own = json_text(facts.own)
    outcome = Outcome(
        kind=line.kind,
        error_class=line.error_class,
        code=status,
        message=_with_remedy(printable(redact(_message(facts, fault, lower, problem, body))), line.remedy),
        wait_s=line.wait_s if facts.wait_s is None else facts.wait_s,
        after=line.after,
        cause=printable(redact(facts.cause)),
        error_raw=redact(own)[:MAX_MESSAGE_CHARS]
        if own is not None and len(own) <= MAX_MESSAGE_CHARS
        else None,
    )
    should_retry = lower.get("x-should-retry", "").lower()
    if should_retry == "true" and outcome.kind is FAIL:
        outcome = replace(outcome, kind=RETRY, after="")
    elif should_retry == "false" and outcome.kind is RETRY:
        outcome = replace(outcome, kind=FAIL)
    return line, outcome


def explained() -> list[tuple[str, str, str, str]]:
    """The table for a person: (evidence, class, error_class, where it was read) in the order of decision."""
    return [
        ("200 with non-empty choices (a stream: with [DONE] or a finish_reason)", "OK", "", "OpenAI"),
        ("200 with a vector for every text (embeddings)", "OK", "", "OpenAI"),
        (
            "200, but the vectors have not the dimensions asked for (no success yet: STOP)",
            "FAIL",
            "dimensions",
            "OpenAI",
        ),
        *((line.evidence, line.kind.value, line.error_class, line.read_at) for line in TABLE),
    ]


def _with_remedy(message: str, remedy: str) -> str:
    return f"{message[: MAX_MESSAGE_CHARS - 200].rstrip('.')}. {remedy}." if remedy else message


def _message(
    facts: Facts, fault: TransportFault | None, headers: Mapping[str, str], problem: str, body: bytes
) -> str:
    if fault is not None:
        return fault.message or fault.kind.replace("_", " ")
    if 300 <= facts.status < 400:
        return f"the base URL redirects to {headers.get('location', 'an unnamed place')}; set it as base_url"
    if facts.message:
        return facts.message
    if facts.status == 200:
        said = problem.removeprefix("the answer has status 200 but ")
        what = f"the answer has status 200 but is no completion{f' ({said})' if said else ''}"
        return f"{what}: {body[:MAX_BEGINNING].decode('utf-8', 'replace')}" if facts.is_foreign else what
    return f"HTTP {facts.status} without a message"
