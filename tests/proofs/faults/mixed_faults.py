"""A run under a plan of many faults at once, and the books compared with the provider's own.

    python -m tests.proofs.faults.mixed_faults --rows 2000

Every row must end in one state, `verify` must pass, and what our columns say was used (kept and
wasted) must equal the simulator's ledger to the token, less what it billed for answers whose
usage never arrived.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from batchlab.store.view import RunView
from tests.canary import files_with_key
from tests.conftest import CANARY, command, environment, simulating
from tests.proofs.arguments import ended, options

RETRIED = """
http_408 http_409 http_500 http_502_html http_503 http_504_html http_520_html http_524_html html empty_body
null error_object status_error no_choices empty_choices deep_json nan reset reset_body bad_gzip
""".split()
WAITED = "rate_limit rate_limit_retry_after rate_limit_date rate_limit_ms rate_limit_zero queue_full overloaded http_529".split()
FAILED = "http_400 context_length content_filter http_413 too_large huge_body gzip_bomb http_204".split()
KEPT = "null_content no_usage lone_surrogate".split()
STREAMED = "cut_stream error_event single_newlines".split()

WAIT_RATE = 0.002  # each is honoured by a pause of a second or more for everybody


def run(rows: int, *, stream: bool, seed: int = 5) -> dict:
    """Runs `rows` rows under all faults and returns the two books side by side."""
    kinds = [*RETRIED, *FAILED, *KEPT, *(STREAMED if stream else [])]
    faults = [{"kind": kind, "rate": 0.01} for kind in kinds]
    faults += [{"kind": kind, "rate": WAIT_RATE} for kind in WAITED]
    options = {
        "latency_median_s": 0.01,
        "tokens_median": 20.0,
        "seed": seed,
        "faults": faults,
    }
    with tempfile.TemporaryDirectory(prefix="batchlab-faults-") as folder:
        home = Path(folder)
        (home / "rows.jsonl").write_text(
            "".join(json.dumps({"text": f"remark {n}"}) + "\n" for n in range(rows))
        )
        with simulating(**options) as server:
            words = ["run", "-i", "rows.jsonl", "-m", "sim", "-p", "{text}", "--base-url", server.base_url]
            words += ["--api-key-env", "SIMULATOR_KEY", "--progress", "none", "--max-tokens", "30"]
            words += ["--stream"] if stream else []
            done = subprocess.run(
                command(*words), cwd=home, env=environment(), capture_output=True, text=True
            )
            ledger = server.ledger()
        verify = subprocess.run(
            command("verify", "runs/rows"), cwd=home, env=environment(), capture_output=True, text=True
        )
        leaks = files_with_key(home)
        leaks += ["output"] if CANARY in done.stdout + done.stderr + verify.stdout + verify.stderr else []
        store = RunView.open(home / "runs" / "rows")
        totals = store.totals()
        return {
            "exit": done.returncode,
            "said": done.stderr,
            "verified": verify.returncode == 0,
            "leaks": leaks,
            "rows": totals.rows,
            "failed": dict(Counter(store.error_counts())),
            "kinds": len(ledger["by_fault"]),
            "requests": ledger["requests"],
            "ours": (
                totals.prompt_tokens + totals.wasted_prompt_tokens,
                totals.completion_tokens + totals.wasted_completion_tokens,
            ),
            "theirs": (
                ledger["prompt_tokens"] - ledger["unseen_prompt_tokens"],
                ledger["completion_tokens"] - ledger["unseen_completion_tokens"],
            ),
            "unseen": (ledger["unseen_prompt_tokens"], ledger["unseen_completion_tokens"]),
        }


def problems(found: dict, rows: int) -> list[str]:
    """What is wrong with a run; empty when all is right."""
    wrong = [f"the key is in {where}" for where in found["leaks"]]
    if not found["verified"]:
        wrong.append("verify fails")
    if found["rows"] != rows:
        wrong.append(f"{found['rows']} rows have a state, of {rows}")
    if found["ours"] != found["theirs"]:
        wrong.append(f"our books say {found['ours']}, the ledger {found['theirs']}")
    return wrong


def main() -> None:
    """Prints both books; exits with 1 when they differ."""
    given = options(__doc__, rows=2_000, seed=5)
    wrong = []
    for stream in (False, True):
        found = run(given.rows, stream=stream, seed=given.seed)
        said = found.pop("said")
        how = "streamed" if stream else "plain"
        print(how, json.dumps(found), flush=True)
        wrong += [f"{how}: {what}" for what in problems(found, given.rows)]
        if found["exit"] not in {0, 1}:
            print(said)
    ended(wrong)


if __name__ == "__main__":
    main()
