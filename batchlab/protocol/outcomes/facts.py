"""What an answer that gave no completion says for programs, read into one value.

Whatever decides about an attempt reads it here: the HTTP status, the error's code, type, status and
details, the error inside an error, the headers. Its words are kept to be shown, and come last.
"""

from __future__ import annotations

import functools
import html
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from batchlab.protocol.limits import limit_reset_s, message_wait_s, retry_after_s
from batchlab.protocol.outcomes.envelopes import MAX_SHOWN, Envelope, chain_of, data_of, error_in
from batchlab.protocol.outcomes.error_members import (
    MAX_ERRORS,
    cause_of,
    codes_of,
    codes_of_headers,
    exceptions_of,
    is_list_of_fields,
    own_of,
    params_of,
    quotas_of,
    retry_delay_s,
    shown,
    spoken,
    status_named,
)
from batchlab.protocol.sse import body_kind

FaultKind: TypeAlias = Literal[
    "connect",
    "dns",
    "reset",
    "timeout_connect",
    "timeout_idle",
    "timeout_total",
    "tls",
    "tls_expected",
    "payload",
    "too_large",
    "local",
    "invalid_url",
]

MAX_WORDS = 400  # characters of a message that are looked at for words

# HTTP statuses that error types and Google's status words stand for, where a 200 carries them
# (OpenAI, Anthropic and vLLM error types; google.rpc.Code)
STATUS_OF = {
    "invalid_request_error": 400,
    "badrequesterror": 400,
    "invalid_argument": 400,
    "failed_precondition": 400,
    "validation_error": 400,
    "authentication_error": 401,
    "unauthenticated": 401,
    "billing_error": 402,
    "permission_error": 403,
    "permission_denied": 403,
    "permissiondeniederror": 403,
    "not_found_error": 404,
    "notfounderror": 404,
    "not_found": 404,
    "request_too_large": 413,
    "unprocessableentityerror": 422,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "ratelimiterror": 429,
    "resource_exhausted": 429,
    "internalservererror": 500,
    "server_error": 500,
    "api_error": 500,
    "apiconnectionerror": 500,
    "internal": 500,
    "internal_server_error": 500,
    "unavailable": 503,
    "serviceunavailableerror": 503,
    "timeout_error": 504,
    "deadline_exceeded": 504,
    "minimax_2013": 400,
    "overloaded_error": 529,
}
# What may be the user's own text, quoted in any way, up to the text's end when the quote is cut off.
# `…` without a blank names a parameter and stays. An escaped quote does not end one.
_QUOTED = re.compile(
    r"""(?:(?<!\w)|(?<=\b[bBuUrR]))(['"])(?:\\.|(?!\1(?!\w))[^\\])*(?:\1|\\?$)"""
    r"""|(?P<name>`[^`\s]+`)|`[^`]*(?:`|$)"""
    r"""|[“„][^”]*(?:”|$)|«[^»]*(?:»|$)|「[^」]*(?:」|$)|『[^』]*(?:』|$)""",
    re.DOTALL,
)
QUOTE = "…"
_OF_AN_ANSWER = {"choices", "usage", "data", "object"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What of the request may explain its refusal.

    Attributes:
        prompt_tokens: as estimated; 0 when unknown.
        options: names of the parameters that were sent.
        tier: the `service_tier` among them.
    """

    prompt_tokens: int = 0
    options: frozenset[str] = frozenset()
    tier: str | None = None


NOTHING_ASKED = Asked()


@dataclass(frozen=True, slots=True)
class Facts:
    """An answer without a completion.

    Attributes:
        http: its status; 0 when none came.
        status: the one it is judged by: a 200 counts as the status that its error names.
        codes: code, type, status word and reasons of the error and of those inside it, lower case.
        told: those of the codes that only a text tells of, which may be the user's own.
        params: names of the request's parameters that it complains of.
        quotas: ids of the quotas that it says are exceeded (Google).
        wait_s: seconds it asks us to wait; None when it did not say.
        message: its words, to be shown.
        words: the beginning of those that may decide: without what they quote, which may be the user's own
            text. Each error inside another begins a line.
        plain_words: of those, what stands before anything quoted: a text that has quotes itself may seem to
            end at one.
        envelope: how the error stands in the body: under `error`, as the body itself (`flat`), in
            ModelsLab's; `none` in a JSON without one, `text` in a body that is no JSON.
        fault: why no response came.
        own: the provider's `type`, `code`, `message` and `param`, as they came; empty when it has none.
        is_page: the body is HTML.
        is_foreign: it has nothing of an answer of this API, nor of an error.
    """

    http: int = 0
    status: int = 0
    codes: frozenset[str] = frozenset()
    told: frozenset[str] = frozenset()
    params: frozenset[str] = frozenset()
    quotas: frozenset[str] = frozenset()
    wait_s: float | None = None
    message: str = ""
    words: str = ""
    plain_words: str = ""
    envelope: Envelope = "none"
    fault: FaultKind | None = None
    asked: Asked = NOTHING_ASKED
    own: Mapping[str, Any] | None = None
    cause: str = ""
    is_page: bool = False
    is_foreign: bool = False

    def says(self, pattern: str) -> bool:
        """Whether the words match `pattern`, whatever the case."""
        return re.search(pattern, self.words, re.IGNORECASE | re.MULTILINE) is not None

    def says_plainly(self, pattern: str) -> bool:
        """The same of its plain words, for what makes a run wait or stop."""
        return re.search(pattern, self.plain_words, re.IGNORECASE | re.MULTILINE) is not None

    def is_one_of(self, *codes: str) -> bool:
        """Whether one of the error's codes is one of `codes`; `*` at an end matches anything."""
        if not self.codes.isdisjoint(codes):
            return True
        return any(
            own.endswith(code[1:]) if code.startswith("*") else own.startswith(code[:-1])
            for code in _starred(codes)
            for own in self.codes
        )


@functools.cache
def _starred(codes: tuple[str, ...]) -> tuple[str, ...]:
    """Those with a `*`: few, of lists that the table asks for again and again."""
    return tuple(code for code in codes if "*" in code)


def error_facts(
    status: int | None,
    headers: Mapping[str, str],
    body: bytes,
    *,
    fault: FaultKind | None = None,
    asked: Asked = NOTHING_ASKED,
    now: datetime | None = None,
) -> Facts:
    """The facts of an answer, whichever of the known envelopes it comes in. Never raises.

    Args:
        status: HTTP status; None when there was no response.
        headers: the response's, by lower-case name.
        body: at most its first 64 KiB.
    """
    http = status or 0
    data, text = data_of(body)
    wait_s = retry_after_s(headers, now=now)
    reset_s = limit_reset_s(headers, now=now) if http == 429 else None
    if text is not None:
        page = body[:MAX_SHOWN].lower()
        # the half of an answer is no message: its words are the model's
        own = "" if body_kind(body) == "json" else unquoted(text)
        plain = own.partition(QUOTE)[0]
        return Facts(
            http=http,
            status=http,
            wait_s=_first_known(wait_s, message_wait_s(own), reset_s),
            message=text,
            words=own[:MAX_WORDS],
            plain_words=plain[:MAX_WORDS],
            envelope="text",
            fault=fault,
            asked=asked,
            is_page=b"<html" in page or b"<!doctype" in page,
            is_foreign=bool(text) and body_kind(body) == "other",
        )
    envelope, error = error_in(data)
    found = list(itertools.islice(chain_of(error), MAX_ERRORS))
    chain = [one for one, _ in found]
    said = [words for words in dict.fromkeys(unquoted(spoken(one)) for one in chain) if words]
    if wait_s is None:
        wait_s = next((wait for one in chain if (wait := retry_delay_s(one)) is not None), None)
    meant = [code for one, in_text in found if not in_text for code in codes_of(one)]
    told = [
        code for one, in_text in found for code in (*(codes_of(one) if in_text else ()), *exceptions_of(one))
    ]
    meant += codes_of_headers(headers)
    codes = [*meant, *told]
    named = status_named(chain) or next((STATUS_OF[code] for code in codes if code in STATUS_OF), None)
    if named is None and envelope == "modelslab" and chain and is_list_of_fields(chain[0]):
        named = 400
    return Facts(
        http=http,
        status=(named or http) if http == 200 else http,
        codes=frozenset(codes),
        told=frozenset(told).difference(meant),
        params=frozenset(name for one in chain for name in params_of(one)),
        quotas=frozenset(quota for one in chain for quota in quotas_of(one)),
        wait_s=_first_known(wait_s, message_wait_s("\n".join(said)), reset_s),
        message=shown(chain),
        words="\n".join(said)[:MAX_WORDS],
        plain_words="\n".join(words.partition(QUOTE)[0] for words in said)[:MAX_WORDS],
        envelope=envelope,
        fault=fault,
        asked=asked,
        own=own_of(chain),
        cause=next((cause for one in reversed(chain) if (cause := cause_of(one))), ""),
        is_foreign=envelope == "none" and not (isinstance(data, dict) and _OF_AN_ANSWER & data.keys()),
    )


def _first_known(*waits: float | None) -> float | None:
    return next((wait for wait in waits if wait is not None), None)


def unquoted(text: str) -> str:
    """A text on one line, with `QUOTE` for all that it quotes, however it is quoted."""
    text = text[:MAX_SHOWN]
    if "&" in text:
        text = html.unescape(text)
    return " ".join(_QUOTED.sub(lambda quote: quote["name"] or QUOTE, text).split())
