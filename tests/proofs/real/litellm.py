"""LiteLLM's proxy before batchlab's simulator, whose ledger is the judge.

    python -m tests.proofs.real.litellm                 # needs pip for the first time: some hundred packages
    python -m tests.proofs.real.litellm --litellm PATH  # an installed one

300 rows, plain and streamed, killed once and resumed. Some rows carry a marker at which the simulator
refuses, stumbles or breaks off; LiteLLM makes its own errors of that, and each row must still end as
what it was. LiteLLM repeats nothing here (`num_retries: 0`), so that requests can be counted one to one.
`--answers` prints what LiteLLM makes of each kind of fault, byte by byte, and what is made of that.
"""

from __future__ import annotations

import json
import random
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from batchlab.protocol.outcomes.classify import classify
from tests.conftest import CANARY, SimulatorHandle, simulating
from tests.proofs.arguments import a_path, ended, options
from tests.proofs.real.scene import Books, Figures, Trial, broken, free_port, scratch_venv, serving

MASTER_KEY = f"sk-{CANARY}"  # LiteLLM wants it to begin so
# fault of the simulator → (how many attempts of a row it strikes, what the row must end as)
PLAIN = {
    "http_400": (99, "bad_request"),
    "context_length": (99, "context_length"),
    "content_filter": (99, "content_filter"),
    "http_413": (99, "too_large"),
    "too_large": (99, "too_large"),
    "http_404": (99, "not_found"),
    "http_408": (1, "ok"),
    "http_409": (1, "ok"),
    "rate_limit": (1, "ok"),
    "rate_limit_retry_after": (2, "ok"),
    "http_500": (1, "ok"),
    "http_502_html": (1, "ok"),
    "http_503": (2, "ok"),
    "overloaded": (1, "ok"),
    "http_504_html": (1, "ok"),
    "http_529": (1, "ok"),
    "error_object": (1, "ok"),
    "status_error": (1, "ok"),
    "no_choices": (1, "ok"),
    "empty_choices": (1, "ok"),
    "html": (1, "ok"),
    "empty_body": (1, "ok"),
    "reset": (1, "ok"),
    "bad_gzip": (1, "ok"),
}
STREAMED = {
    name: PLAIN[name]
    for name in (
        "http_400 context_length content_filter too_large http_404 http_408 rate_limit http_500 http_502_html "
        "http_503 overloaded http_529 reset"
    ).split()
} | {"cut_stream": (1, "ok"), "error_event": (1, "ok"), "single_newlines": (1, "empty")}
# LiteLLM streams an empty answer, with `stop` and `[DONE]` and without usage, where it understood none of
# what the host sent: events parted by single line ends, or no stream at all
MADE_UP = ("html", "empty_body", "null", "error_object", "status_error", "no_choices")
ROWS_A_FAULT = 4
EMPTY_CHOICES_TOKENS = 8  # as that answer says; the simulator does not bill it
BILLS = "bills.jsonl"

CONFIG = """
model_list:
  - model_name: sim
    litellm_params:
      model: openai/sim
      api_base: {base_url}
      api_key: os.environ/SIMULATOR_KEY
      max_retries: 0
litellm_settings: {{num_retries: 0, telemetry: false, request_timeout: 60}}
router_settings: {{num_retries: 0, disable_cooldowns: true}}
"""
OFFLINE = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_TELEMETRY": "False",
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "ERROR",
    "DO_NOT_TRACK": "1",
    "NO_PROXY": "127.0.0.1",
}


def _faults(kinds: dict[str, tuple[int, str]]) -> list[dict[str, object]]:
    return [{"kind": kind, "rows": [f"[{kind}]"], "times": times} for kind, (times, _) in kinds.items()]


@contextmanager
def proxied(
    litellm: Path, home: Path, kinds: dict[str, tuple[int, str]]
) -> Iterator[tuple[SimulatorHandle, str]]:
    """The simulator with these faults, and LiteLLM's base URL."""
    options = {"latency_median_s": 0.1, "tokens_median": 12, "faults": _faults(kinds)}
    with simulating(**options, ledger_path=str(home / BILLS)) as simulator:
        (home / "config.yaml").write_text(CONFIG.format(base_url=simulator.base_url))
        port = free_port()
        words = [litellm, "--config", home / "config.yaml", "--host", "127.0.0.1", "--port", str(port)]
        with serving(
            [*words, "--telemetry", "False"],
            log=home / "litellm.log",
            ready=f"http://127.0.0.1:{port}/health/liveliness",
            SIMULATOR_KEY=CANARY,
            LITELLM_MASTER_KEY=MASTER_KEY,
            **OFFLINE,
        ):
            yield simulator, f"http://127.0.0.1:{port}/v1"


class Ledger:
    """The simulator's, as it stands behind the proxy."""

    def __init__(self, simulator: SimulatorHandle, bills: Path) -> None:
        self._bills = bills
        self._read = simulator.ledger

    def idle(self) -> None:
        """Waits until nothing is worked on; the proxy may still hand on what was abandoned."""
        quiet = 0
        while quiet < 10:
            quiet = 0 if self._read()["in_flight"] else quiet + 1
            time.sleep(0.05)

    def books(self) -> Books:
        found, lines = self._read(), self._bills.read_text().splitlines()
        unseen = found["unseen_prompt_tokens"] + found["unseen_completion_tokens"]
        return Books(
            found["requests"],
            found["billed"],
            Counter(json.loads(line)["content"] for line in lines),
            found["prompt_tokens"],
            found["completion_tokens"],
            unseen,
        )


def trial(litellm: Path, rows: int, rng: random.Random, *, stream: bool) -> Figures:
    """Four rows for each fault, in a shuffled order among those without; the first are without."""
    kinds = STREAMED if stream else PLAIN
    marked = [kind for kind in kinds for _ in range(ROWS_A_FAULT)]
    kept = max(rows // 10, 20)
    marks = [""] * (rows - kept - len(marked)) + marked
    rng.shuffle(marks)
    marks = [""] * kept + marks
    texts = [
        f"remark {row} on parcel {rng.randrange(10**6)}" + (f" [{mark}]" if mark else "")
        for row, mark in enumerate(marks)
    ]
    expected = {row: kinds[mark][1] for row, mark in enumerate(marks) if mark}
    with (
        tempfile.TemporaryDirectory(prefix="batchlab-litellm-") as folder,
        proxied(litellm, Path(folder), kinds) as (simulator, base_url),
    ):
        ledger = Ledger(simulator, Path(folder) / BILLS)
        return Trial(
            f"LiteLLM, {'streamed' if stream else 'plain'}",
            base_url,
            texts,
            idle=ledger.idle,
            books=ledger.books,
            rng=rng,
            expected=lambda: expected,
            billed_faults=True,
            unbilled_tokens=0 if stream else ROWS_A_FAULT * EMPTY_CHOICES_TOKENS,
            words=("-c", "16", "--timeout", "60s", *(("--stream",) if stream else ())),
            key=MASTER_KEY,
        ).figures()


def answers(litellm: Path) -> None:
    """Prints what LiteLLM answers at each fault, and what batchlab makes of it."""
    kinds = {
        **PLAIN,
        **STREAMED,
        **dict.fromkeys(
            (
                *MADE_UP,
                "http_401",
                "http_402",
                "http_403_html",
                "insufficient_quota",
                "null_content",
                "no_usage",
                "queue_full",
                "lone_surrogate",
                "rate_limit_ms",
            ),
            (99, ""),
        ),
    }
    kinds = {kind: (99, ended_as) for kind, (_, ended_as) in kinds.items()}
    with (
        tempfile.TemporaryDirectory(prefix="batchlab-litellm-") as folder,
        proxied(litellm, Path(folder), kinds) as (_, base_url),
    ):
        asked = [(kind, "sim", MASTER_KEY) for kind in kinds]
        asked += [
            ("no such model", "nope", MASTER_KEY),
            ("a wrong key", "sim", "sk-wrong"),
            ("no key", "sim", ""),
        ]
        for kind, model, key in asked:
            for stream in (False, True):
                status, headers, body = _asked(base_url, kind, model, key, stream=stream)
                made = "" if status == 200 else f" → {_made_of(status, headers, body)}"
                waits = {name: value for name, value in headers.items() if "retry-after" in name}
                print(
                    f"== {kind}, {'streamed' if stream else 'plain'}: {status} {waits or ''}{made}\n{body.decode(errors='replace').strip()[-700:]}\n"
                )


def _asked(
    base_url: str, kind: str, model: str, key: str, *, stream: bool
) -> tuple[int, dict[str, str], bytes]:
    where = urlsplit(base_url)
    connection = HTTPConnection(where.hostname or "", where.port, timeout=90)
    body = {"model": model, "max_tokens": 6, "messages": [{"role": "user", "content": f"[{kind}]"}]}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    connection.request("POST", f"{where.path}/chat/completions", json.dumps(body), headers)
    reply = connection.getresponse()
    found = reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()
    connection.close()
    return found


def _made_of(status: int, headers: dict[str, str], body: bytes) -> str:
    outcome = classify(status, headers, body)
    wait = "" if outcome.wait_s is None else f", wait {outcome.wait_s:g} s"
    return f"{outcome.kind} {outcome.error_class}{wait} {outcome.after}".strip()


def main() -> None:
    """Prints the tables; exits with 1 when a promise was broken."""
    given = options(
        __doc__,
        rows=300,
        seed=1,
        litellm=a_path("the command of an installed one, instead of a scratch one"),
        answers=False,
    )
    litellm = given.litellm or scratch_venv("litellm", "litellm[proxy]").parent / "litellm"
    if given.answers:
        answers(litellm)
        return
    rng = random.Random(given.seed)
    figures = []
    for stream in (False, True):
        figures.append(trial(litellm, given.rows, rng, stream=stream))
        print(figures[-1].table(), flush=True)
    version = "import importlib.metadata as m; print('litellm', m.version('litellm'))"
    subprocess.run([litellm.resolve().parent / "python", "-c", version], check=False)
    ended(broken(figures))


if __name__ == "__main__":
    main()
