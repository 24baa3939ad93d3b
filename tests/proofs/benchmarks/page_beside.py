"""Another viewer of this machine, beside the page: `inspect view` on a log of as many samples.

Its log is made by inspect_ai itself from one sample as long as a row of `large_run`, which is then repeated; the
parts of a log that grow with its samples (each sample, and the summaries) are as its own recorder writes them.
"""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError
from urllib.request import urlopen

from tests.proofs.benchmarks.figures import Figure, peak_mb
from tests.proofs.benchmarks.page_browser import first_paint, tab

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROWS = (10_000, 100_000)
MOST_S = 180.0
MADE = """
import json, sys, zipfile
from pathlib import Path
from inspect_ai import Task, eval
from inspect_ai._util import zipfile as _
from inspect_ai.dataset import Sample
from inspect_ai.model import ChatMessageAssistant, ModelOutput
from inspect_ai.scorer import includes
from inspect_ai.solver import solver

into, rows, text = Path(sys.argv[1]), int(sys.argv[2]), "lorem kali neba vewi zu. " * 94

@solver
def said():
    async def solve(state, generate):
        state.messages.append(ChatMessageAssistant(content=text))
        state.output = ModelOutput.from_content("sim", text)
        return state
    return solve

one = Task(dataset=[Sample(id=0, input="Letter 0. " + text, target="x")], solver=said(), scorer=includes())
eval(one, model="mockllm/model", log_dir=str(into / "one"), display="none", log_format="eval")
made = next((into / "one").glob("*.eval"))
with zipfile.ZipFile(made) as file:
    read = {name: file.read(name).decode() for name in file.namelist()}
sample = json.loads(read["samples/0_epoch_1.json"])
sample["events"] = []  # a plain request has none worth showing
summary = json.loads(read["summaries.json"])[0]
body, short = json.dumps({**sample, "id": -7}), json.dumps({**summary, "id": -7})
header = json.loads(read["header.json"])
header["eval"]["dataset"].update(samples=rows, sample_ids=list(range(rows)))
header["results"].update(total_samples=rows, completed_samples=rows)
def of(pattern, row):
    return pattern.replace('"id": -7', f'"id": {row}').replace("Letter 0.", f"Letter {row}.")
(into / "logs").mkdir()
with zipfile.ZipFile(into / "logs" / made.name, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
    file.writestr("_journal/start.json", json.dumps({"version": 2, "eval": header["eval"], "plan": header["plan"]}))
    for row in range(rows):
        file.writestr(f"samples/{row}_epoch_1.json", of(body, row))
    file.writestr("summaries.json", "[" + ",".join(of(short, row) for row in range(rows)) + "]")
    file.writestr("header.json", json.dumps(header))
print(made.name)
"""


def figures(browser: Browser, python: Path, rows: Sequence[int] | None) -> Iterator[Figure]:
    """What it shows, and when, for each number of samples."""
    for count in rows or ROWS:
        with tempfile.TemporaryDirectory(prefix="batchlab-page-beside-") as folder:
            began = time.monotonic()
            made = subprocess.run(
                [python, "-c", MADE, folder, str(count)], cwd=folder, capture_output=True, text=True
            )
            name = f"inspect view, {count:,} samples"
            if made.returncode:
                yield Figure(f"{name}: its log", "(beside it)", "could not be made", None, made.stderr[-200:])
                continue
            log = Path(folder) / "logs" / made.stdout.split()[-1]
            took = time.monotonic() - began
            yield Figure(
                f"{name}: its log",
                "(beside it)",
                f"{log.stat().st_size / 1e6:,.0f} MB",
                None,
                f"in {took:.0f} s",
            )
            yield from _looked_at(browser, python, log, name)


def _looked_at(browser: Browser, python: Path, log: Path, name: str) -> Iterator[Figure]:
    from playwright.sync_api import Error

    with _served(python, log.parent) as (address, pid), tab(browser) as page:
        line = page.context.new_cdp_session(page)
        line.send("Performance.enable")
        said, paint, seen = "", None, None
        began = time.monotonic()
        try:
            page.goto(f"{address}#/logs/{log.name}")
            paint = first_paint(page)
            while not page.evaluate("document.body.innerText.includes('Letter ')"):
                assert time.monotonic() - began < MOST_S, page.evaluate(
                    "document.body.innerText.slice(0, 120)"
                )
                page.wait_for_timeout(50)
            seen = time.monotonic() - began
        except (Error, AssertionError) as error:
            said = " ".join(str(error).split())[:120]
        took = "never" if paint is None else f"{paint:,.0f} ms"
        yield Figure(f"{name}: first paint", "(beside it)", took, None, f"load {os.getloadavg()[0]:.1f}")
        rows = f"not within {MOST_S:.0f} s: {said}" if seen is None else f"{seen:.1f} s"
        yield Figure(f"{name}: first samples seen", "(beside it)", rows, None)
        heap = "–"
        try:
            metrics = {one["name"]: one["value"] for one in line.send("Performance.getMetrics")["metrics"]}
            heap = f"{metrics['JSHeapUsedSize'] / 1e6:,.0f} MB"
        except Error as error:  # the window is gone
            heap = str(error).splitlines()[0][:120]
        yield Figure(f"{name}: heap of the page", "(beside it)", heap, None)
        yield Figure(f"{name}: its server's peak memory", "(beside it)", f"{peak_mb(pid):,.0f} MB", None)
        if shots := os.environ.get("PAGE_SHOTS"):
            page.screenshot(path=str(Path(shots) / f"{name.replace(' ', '-')}.png"))


@contextmanager
def _served(python: Path, logs: Path) -> Iterator[tuple[str, int]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [python.parent / "inspect", "view", "start", "--log-dir", logs, "--port", str(port)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            address, until = f"http://127.0.0.1:{port}/", time.monotonic() + 60
            while True:
                try:
                    with urlopen(address, timeout=5):
                        break
                except (URLError, OSError):
                    assert time.monotonic() < until, "inspect view does not start"
                    assert server.poll() is None, "inspect view has ended"
                    time.sleep(0.1)
            yield address, server.pid
        finally:
            server.terminate()
