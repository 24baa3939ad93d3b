"""batchlab in a real Jupyter kernel: the notebook in jobs/, the bar, the kernel's interrupt."""

from __future__ import annotations

import json
import os
import textwrap
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CANARY, ROOT

with warnings.catch_warnings():  # of other packages, when they are imported
    warnings.simplefilter("ignore")
    from jupyter_client.manager import KernelManager

NOTEBOOK = ROOT / "jobs" / "notebook.ipynb"
WAIT_S = 60


class Cell:
    """What a cell gave: text by stream, the displays as they were at the end, how often each was
    replaced, and the error."""

    def __init__(self) -> None:
        self.streams: dict[str, str] = {}
        self.displays: dict[str, dict[str, str]] = {}
        self.updates = 0
        self.result = ""
        self.error: tuple[str, str, str] | None = None


class Kernel:
    """A kernel that runs cells, one after another, and can be interrupted in the middle of one."""

    def __init__(self, home: Path) -> None:
        self._manager = KernelManager(kernel_name="python3")
        env = {**os.environ, "SIMULATOR_KEY": CANARY, "PYTHONPATH": str(ROOT), "JUPYTER_PLATFORM_DIRS": "1"}
        self._manager.start_kernel(cwd=str(home), env=env, stderr=-3)
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=WAIT_S)

    def run(self, code: str, *, interrupt_when: Callable[[Cell], bool] = lambda _: False) -> Cell:
        cell, asked = Cell(), self._client.execute(textwrap.dedent(code))
        while True:
            message: dict[str, Any] = self._client.get_iopub_msg(timeout=WAIT_S)
            content = message["content"]
            if message["parent_header"].get("msg_id") != asked:
                continue
            match message["msg_type"]:
                case "stream":
                    name = content["name"]
                    cell.streams[name] = cell.streams.get(name, "") + content["text"]
                case "display_data" | "update_display_data":
                    cell.updates += message["msg_type"] == "update_display_data"
                    cell.displays[content["transient"]["display_id"]] = content["data"]
                case "execute_result":
                    cell.result = content["data"]["text/plain"]
                case "error":
                    cell.error = content["ename"], content["evalue"], "\n".join(content["traceback"])
                case "status" if content["execution_state"] == "idle":
                    return cell
            if interrupt_when(cell):
                interrupt_when = lambda _: False  # noqa: E731
                self._manager.interrupt_kernel()

    def close(self) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)


@pytest.fixture
def kernel(tmp_path) -> Iterator[Kernel]:
    started = Kernel(tmp_path)
    yield started
    started.close()


def test_the_notebook_in_jobs_runs_and_is_kept_without_outputs(kernel, tmp_path):
    (tmp_path / "sample_data").symlink_to(ROOT / "sample_data")
    notebook = json.loads(NOTEBOOK.read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)

    kernel.run("import os; os.mkdir('jobs'); os.chdir('jobs')")  # Jupyter starts it beside the notebook
    ran = [kernel.run("".join(cell["source"])) for cell in cells]

    assert [cell.error for cell in ran] == [None] * len(cells)
    assert "\r" not in "".join(text for cell in ran for text in cell.streams.values())
    assert not any("stderr" in cell.streams for cell in ran)
    run = ran[1]
    (bar,) = run.displays.values()
    assert run.updates > 0
    assert bar["text/plain"].startswith("100% 24/24")
    assert '<progress value="24" max="24"' in bar["text/html"]
    assert "run directory: ../runs/notebook" in run.streams["stdout"]
    assert ran[3].streams["stdout"].startswith("24 rows, $0.00")
    assert "resuming: 24 of 24 rows have a final result" in ran[4].streams["stdout"]
    assert len([*tmp_path.glob("runs/*")]) == 1


def test_a_kernel_s_interrupt_drains_and_the_same_cell_goes_on(kernel, simulator):
    server = simulator(latency_median_s=0.1)
    kernel.run(f"""
        import batchlab, pandas as pd
        frame = pd.DataFrame({{"text": [f"remark {{number}}" for number in range(60)]}})
        ask = dict(prompt="Say it shorter: {{text}}", model="sim", base_url="{server.base_url}",
                   api_key_env="SIMULATOR_KEY", concurrency=4, run_dir="runs/mine")
    """)
    some_rows = lambda cell: any("failed" not in bar["text/plain"] and not bar["text/plain"].startswith("  0%")  # noqa: E731
                                 for bar in cell.displays.values())  # fmt: skip

    stopped = kernel.run("answers = batchlab.run(frame, **ask)", interrupt_when=some_rows)

    name, said, _ = stopped.error
    assert (name, said) == (
        "KeyboardInterrupt",
        "the rows so far: batchlab.load('runs/mine'); the same call goes on",
    )
    assert "interrupted: sending nothing new; waiting for requests in flight" in stopped.streams["stdout"]
    so_far = kernel.run("int((batchlab.load('runs/mine').status == 'ok').sum())")
    assert int(so_far.result) == server.ledger()["billed"] < 60
    again = kernel.run("answers = batchlab.run(frame, **ask); int((answers.status == 'ok').sum())")
    assert again.error is None
    assert again.result == "60"
    assert server.ledger()["billed"] == 60
    wrong = kernel.run("batchlab.run(frame, **{**ask, 'prompt': '{txt}', 'run_dir': 'runs/new'})")
    assert wrong.error[2].splitlines() == [f"UsageError: {wrong.error[1]}"]
    assert wrong.error[1].startswith("prompt: there is no column 'txt'; did you mean {text}?")
