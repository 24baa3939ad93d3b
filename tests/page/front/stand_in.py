"""A stand-in for the page's server: the shapes that the page expects, with runs of every kind.

python -m tests.page.front.stand_in --port 8777
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.page.front.texts import ANSWERS, ASKED, HOSTILE, HOSTILE_TREE, MARKDOWN, TREE, deep
from tests.proofs.arguments import options

FRONT = Path(__file__).resolve().parents[3] / "batchlab" / "page" / "front"
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
BEGAN = time.time() - 7 * 3600
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
FACETS = {
    "status": "status",
    "error": "error_class",
    "finish": "finish_reason",
    "lane": "lane",
    "label": "label",
}


@dataclass
class Run:
    """One run that was never run; `rows` of them are made up as they are asked for."""

    id: str
    stage: str = "finished"
    rows: int = 1_203
    done: int | None = None
    hostile: bool = False
    reads: int | None = None  # texts that an answer has read of those that nobody had asked for; None: all
    read: set[int] = field(default_factory=set)
    cannot_act: str = ""
    model: str = "Qwen/Qwen2.5-VL-72B-Instruct-together"
    problems: list[str] = field(default_factory=list)
    labels: dict[int, str] = field(default_factory=dict)
    notes: dict[int, str] = field(default_factory=dict)
    undo: list[tuple[int, str | None, str | None]] = field(default_factory=list)
    names: list[str] = field(default_factory=lambda: ["pass", "fail", "unsure"])
    choices: dict[int, str] = field(default_factory=dict)
    _made: list[dict[str, Any]] | None = None

    @property
    def final(self) -> int:
        return self.rows if self.done is None else self.done

    def row(self, number: int) -> dict[str, Any]:
        """What a list shows of a row."""
        seed = (number * 2654435761 + 12345) % 1000
        status = "ok" if number < self.final else "pending"
        error = None
        if status == "ok" and seed < 31:
            status, error = "failed", ["timeout", "bad_request", "server_error"][seed % 3]
        elif status == "ok" and seed < 55:
            status = "truncated"
        elif status == "ok" and seed < 61:
            status = "filtered"
        elif status == "ok" and seed < 70:
            status = "invalid"
        answered = status in {"ok", "truncated", "invalid"}
        text = (
            (HOSTILE[number % len(HOSTILE)] if self.hostile else ANSWERS[seed % len(ANSWERS)])
            if answered
            else None
        )
        asked = HOSTILE[(number + 3) % len(HOSTILE)] if self.hostile else ASKED[seed % len(ASKED)]
        latency = round(420 * math.exp(((seed * 37) % 1000) / 330), 1)
        return {
            "row_id": number, "custom_id": HOSTILE[number % len(HOSTILE)][:400] if self.hostile else f"R-{number:06d}", "status": status,
            "error_class": error, "error_message": f"The server gave no answer for 60 s (attempt {1 + seed % 3})" if error else None,
            "finish_reason": {"ok": "stop", "invalid": "stop", "truncated": "length", "filtered": "content_filter"}.get(status),
            "lane": ["live", "batch"][seed % 4 == 0] if status != "pending" else None,
            "latency_ms": latency if status != "pending" else None,
            "prompt_tokens": 60 + seed if answered else None, "completion_tokens": (14 + seed % 90) if answered else None,
            "cost_usd": round(0.0000002 * (60 + seed) + 0.0000006 * (14 + seed % 90), 9) if answered else None,
            "attempts": 3 if error else 1, "label": self.labels.get(number), "note": number in self.notes,
            "asked": asked[:240], "answer": text[:240] if text else None, "hits": None,
        }  # fmt: skip

    def full(self, number: int) -> dict[str, Any]:
        """A row, whole."""
        row = self.row(number)
        seed = (number * 2654435761 + 12345) % 1000
        asked = HOSTILE[(number + 3) % len(HOSTILE)] if self.hostile else ASKED[seed % len(ASKED)]
        answer: dict[str, Any] | None = None
        if row["answer"]:
            text = HOSTILE[number % len(HOSTILE)] if self.hostile else ANSWERS[seed % len(ANSWERS)]
            answer = {"text": text, "tree": None, "json": None}
            if number % 5 == 0 and not self.hostile:
                answer = {"text": MARKDOWN, "tree": TREE, "json": None}
            elif number % 5 == 1 and not self.hostile:
                value = {
                    "sentiment": "mixed",
                    "score": 0.62,
                    "wants_refund": False,
                    "aspects": [{"name": "cable", "verdict": "frayed"}, {"name": "charger", "verdict": None}],
                }
                answer = {"text": json.dumps(value), "tree": None, "json": value}
            elif self.hostile and number % 3 == 0:
                answer["tree"] = [*HOSTILE_TREE, deep()]
        parts = [{"type": "text", "text": asked}]
        if number % 7 == 0:
            parts += [
                {"type": "image", "data": PIXEL},
                {"type": "image", "url": "https://evil.example/track.png"},
            ]
        return row | {
            "attempts_list": [{"at": BEGAN + number, "what": "timeout", "ms": 60_000, "message": "no answer for 60 s"}] * (row["attempts"] - 1) + [{"at": BEGAN + number + 70, "what": row["status"], "ms": row["latency_ms"], "cost_usd": row["cost_usd"]}],
            "asked": [{"role": "user", "text": asked, "parts": parts}], "as_sent": True,
            "shared": {"messages": [{"role": "system", "text": "You are a careful editor. " * 12}], "params": {"model": self.model, "max_tokens": 256, "temperature": 0.2}},
            "answer": answer,
            "reasoning": {"text": "First I read the review twice. Then I weighed the cable against the charger.", "tree": None} if number % 4 == 0 else None,
            "tool_calls": [{"id": "call_1", "name": "lookup_order", "arguments": '{"order": 1177, "fields": ["date", "total"]}'}] if number % 11 == 0 else None,
            "inputs": {"review_id": row["custom_id"], "text": asked[27:], "stars": 1 + seed % 5, "lang": ["en", "de", "ja", "ar"][seed % 4]},
            "model": self.model, "started_at": BEGAN + number, "finished_at": BEGAN + number + 1.5, "ttft_ms": 120.0, "queue_ms": 4.2, "total_tokens": None,
            "cached_tokens": 40, "note": self.notes.get(number), "error_code": 504 if row["error_class"] else None,
            "curl": f"curl https://modelslab.com/api/v7/llm/chat/completions \\\n  -H \"Authorization: Bearer $MODELSLAB_API_KEY\" \\\n  -d '{json.dumps({'model': self.model})}'",
            "python": "import os, openai\n\nclient = openai.OpenAI(api_key=os.environ['MODELSLAB_API_KEY'])\n",
        }  # fmt: skip

    def every(self) -> list[dict[str, Any]]:
        if self._made is None or len(self._made) != self.rows or self.done is not None:
            self._made = [self.row(number) for number in range(self.rows)]
        for number, label in self.labels.items():
            self._made[number]["label"] = label
        return self._made

    def counts(self) -> dict[str, int]:
        counts = {
            "ok": 0,
            "truncated": 0,
            "filtered": 0,
            "invalid": 0,
            "failed": 0,
            "pending": self.rows - self.final,
            "empty": 0,
        }
        if self.rows > 20_000:
            return counts | {
                "ok": int(self.final * 0.93),
                "failed": int(self.final * 0.031),
                "truncated": int(self.final * 0.024),
                "filtered": int(self.final * 0.006),
                "invalid": int(self.final * 0.009),
            }
        for row in self.every()[: self.final]:
            counts[row["status"]] += 1
        return counts


class Server:
    """The stand-in; `updates_s` is how often a running run tells how it stands."""

    def __init__(self, runs: list[Run], *, updates_s: float = 1.0) -> None:
        self.runs = {run.id: run for run in runs}
        self.updates_s = updates_s
        self.acts: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.searches: dict[str, int] = {}
        self.ended = False
        self.refused: set[str] = set()  # paths that answer 500
        self.slow: dict[str, list[float]] = {}  # seconds that the next questions of a path take
        self.followed: list[str] = []  # paths of streams
        self.goes_on = False  # whether comparisons are never done
        self.more = ""  # at the end of each command
        self.app = web.Application()
        self.app.router.add_get("/api/{path:[a-z]+}/events", self.events)
        self.app.router.add_get("/api/{path:[a-z]+}", self.get)
        self.app.router.add_post("/api/{path:[a-z]+}", self.post)
        self.app.router.add_get("/{name:.*}", self.file)
        self.app.on_response_prepare.append(self._policy)

    async def _policy(self, _request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Content-Security-Policy"] = CSP
        response.headers["X-Content-Type-Options"] = "nosniff"

    async def file(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"] or "index.html"
        path = FRONT / name
        if "/" in name or not path.is_file():
            raise web.HTTPNotFound
        return web.FileResponse(path, headers={"Cache-Control": "no-store"})

    async def late(self, path: str) -> None:
        if self.slow.get(path):
            await asyncio.sleep(self.slow[path].pop(0))

    async def get(self, request: web.Request) -> web.Response:
        path = request.match_info["path"]
        self.asked.append(f"{path}?{request.query_string}")
        await self.late(path)
        if path in self.refused:
            return web.json_response({"error": "The store does not answer: connection refused."}, status=503)
        answer = getattr(self, f"get_{path}", None)
        if answer is None:
            return web.json_response({"error": f"no {path} here"}, status=404)
        run = self.runs.get(request.query.get("run", ""))
        if path not in {"runs", "compare"} and (run is None or run.stage == "damaged"):
            name = request.query.get("run", "")
            return web.json_response(
                {
                    "error": f"{name}: run.json cannot be read: it ends in the middle of a line."
                    if run
                    else f"{name}: there is no such run here."
                },
                status=404,
            )
        return web.json_response(answer(run, request.query))

    async def events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        await response.prepare(request)
        self.followed.append(request.match_info["path"])
        last = ""
        if request.match_info["path"] == "act":
            await response.write(
                b'data: {"id": "1", "running": false, "exit_code": 0, "log": "37 rows asked again\\n37 answered\\n"}\n\n'
            )
            await asyncio.sleep(60)
        try:
            while not self.ended:
                run = self.runs.get(request.query.get("run", ""))
                if run is not None and run.stage == "running":
                    run.done = min(run.rows, run.final + max(1, int(14 * self.updates_s)))
                for other in self.runs.values() if run is None else ():
                    if other.stage == "running":
                        other.done = min(other.rows, other.final + 14)
                told = self.told(run, request.query)
                text = json.dumps(told)
                if text != last:
                    await response.write(f"data: {text}\n\n".encode())
                last = text
                await asyncio.sleep(self.updates_s)
        except (ConnectionError, asyncio.CancelledError):
            pass
        return response

    def told(self, run: Run | None, query: Any) -> dict[str, Any]:
        if run is None and query.get("run"):
            return {"error": f"{query['run']}: there is no such run here any more."}
        if run is not None and run.stage == "damaged":
            return {"error": "run.json cannot be read: it ends in the middle of a line."}
        return self.get_run(run, query) if run is not None else self.get_runs(None, query)

    def get_runs(self, _run: Run | None, _query: Any) -> dict[str, Any]:
        runs = [
            {"id": run.id, "run": run.id, "name": run.id, "state": run.stage, "batches_out": 2 if run.stage == "waiting" else 0, "at": BEGAN + 6 * 3600 + index * 7,
             "done": None if run.stage == "damaged" else run.final, "rows": None if run.stage == "damaged" else run.rows, "failed": int(run.final * 0.03), "cost_usd": None if run.stage == "damaged" else run.final * 0.00007,
             "problem": "run.json cannot be read: it ends in the middle of a line" if run.stage == "damaged" else None, "go_on": None, "model": run.model}
            for index, run in enumerate(self.runs.values())
        ]  # fmt: skip
        return {
            "folder": "runs",
            "runs": runs,
            "notes": ["no runs, and left out: notebooks"] if runs else [],
            "version": "0.9",
        }

    def get_run(self, run: Run, _query: Any) -> dict[str, Any]:
        counts = run.counts()
        spent = run.final * 0.00007
        running = run.stage == "running"
        return {
            "place": f"/data/runs/{run.id[:20]}", "name": HOSTILE[1] if run.hostile else run.id, "stage": run.stage,
            "stopped": "the deadline of 8 h had come" if run.stage == "stopped" else None,
            "headline": f"{run.final:,} of {run.rows:,} rows have an answer" if run.rows else "the input has no rows",
            "go_on": {"command": f"batchlab run {run.id}.toml", "folder": "/data"} if run.stage in {"stopped", "crashed"} else None, "rows": run.rows, "counts": counts,
            "what": {"model": run.model, "endpoints": ["https://modelslab.com/api/v7/llm"], "lane": "cheapest", "task": "chat", "params": {"max_tokens": 256, "temperature": 0.2, "response_format": {"type": "json_schema"}},
                     "system": HOSTILE[0] if run.hostile else "You are a careful editor. Answer in one sentence, in the language of the review.", "template": HOSTILE[5] if run.hostile else "Summarize in one sentence: {text}", "schema": {"type": "object", "properties": {"sentiment": {"enum": ["good", "bad", "mixed"]}}, "required": ["sentiment"]},
                     "input": "sample_data/reviews.jsonl", "job_toml": '[input]\npath = "sample_data/reviews.jsonl"\n\n[request]\nmodel = "Qwen"  # a comment\nmax_tokens = 256\n', "started": BEGAN, "ended": None if running else BEGAN + 5.4 * 3600, "made_by": "batchlab 0.9"},
            "now": {"window": 48, "in_flight": 41, "why": "the service allows 3,000 requests a minute", "paused": False, "rows_per_s": 14.2, "tokens_per_min": 91_400, "eta_s": (run.rows - run.final) / 14.2, "speed text parts": []} if running else None,
            "batches": [{"key": "a", "endpoint": "openai", "id": "batch_68f1c2", "rows": 4_000, "word": "in_progress", "done": 1_250, "since": BEGAN + 3600, "next_look": time.time() + 240}] if run.stage in {"waiting", "running"} else [],
            "ended_batches": [{"endpoint": "openai", "id": "batch_68f0aa", "lines": 4_000, "at": BEGAN + 600, "lasted_s": 5_040, "came": "4,000 results"}],
            "cost": {"so_far": spent, "kept": spent * 0.97, "wasted": spent * 0.03, "saved": spent * 0.4, "forecast": {"usd": run.rows * 0.00007, "low": run.rows * 0.000064, "high": run.rows * 0.000079}, "currency": "USD", "unknown_rows": 0, "max_cost": 20.0, "by_lane": [{"value": "live", "rows": run.final * 3 // 4, "usd": spent * 0.82}, {"value": "batch", "rows": run.final // 4, "usd": spent * 0.18}]},
            "tokens": {"prompt": run.final * 560, "completion": run.final * 58, "cached": run.final * 40, "reasoning": 0},
            "notes": ["12 rows have no usage: their cost is not known"] if run.rows == 1_203 else [], "losses": [], "problems": run.problems, "cannot_act": run.cannot_act,
            "sessions": [{"began": BEGAN, "ended": BEGAN + 3 * 3600, "by": "live"}, {"began": BEGAN + 4 * 3600, "ended": BEGAN + 5.4 * 3600, "by": "live"}],
            "columns": {"input": [{"name": "review_id", "kind": "text", "few": None}, {"name": "text", "kind": "text", "few": None}, {"name": "stars", "kind": "number", "few": [1, 2, 3, 4, 5]}, {"name": "lang", "kind": "text", "few": ["en", "de", "ja", "ar"]}],
                        "result": [{"name": name, "kind": "number", "few": None} for name in ("latency_ms", "prompt_tokens", "completion_tokens", "cost_usd")]},
        }  # fmt: skip

    def get_charts(self, run: Run, _query: Any) -> dict[str, Any]:
        if not run.final:
            return {
                "over_time": {
                    "at": [],
                    "done": [],
                    "failed": [],
                    "window": [],
                    "in_flight": [],
                    "limited": [],
                    "errors": [],
                    "paused": [],
                    "bucket_s": 60,
                },
                "distributions": [],
                "by": [],
                "errors": [],
                "odd": [],
                "upto": 0,
            }
        luck = random.Random(4)
        at = [BEGAN + 120 * index for index in range(162)]
        gap = range(90, 120)
        pause = range(40, 46)
        done = [
            None
            if index in gap
            else 0
            if index in pause
            else int(1500 + 400 * math.sin(index / 9) + luck.random() * 240)
            for index in range(162)
        ]
        flight = [
            None if index in gap else 0 if index in pause else int(min(64, 4 + index) - luck.random() * 6)
            for index in range(162)
        ]

        def spread(name: str, title: str, unit: str, low: float, high: float) -> dict[str, Any]:
            edges = [low * (high / low) ** (index / 24) for index in range(25)]
            counts = [int(run.final * 0.12 * math.exp(-((index - 8) ** 2) / 22)) for index in range(24)]
            return {
                "name": name,
                "title": title,
                "unit": unit,
                "edges": edges,
                "counts": counts,
                "p50": edges[8],
                "p90": edges[13],
                "p99": edges[18],
                "max": edges[-1],
                "n": run.final,
            }

        return {
            "over_time": {"at": at, "done": done, "failed": [None if one is None else one // 60 for one in done], "window": [None if index in gap else min(64, 4 + index) for index in range(162)], "in_flight": flight,
                          "limited": [14 if index in range(36, 41) else 0 for index in range(162)], "errors": [3 if index % 17 == 0 else 0 for index in range(162)], "paused": [index in pause for index in range(162)], "bucket_s": 120},
            "distributions": [spread("latency_ms", "Latency", "ms", 300, 40_000), spread("completion_tokens", "Completion tokens", "tokens", 4, 400), spread("prompt_tokens", "Prompt tokens", "tokens", 30, 3_000), spread("cost_usd", "Cost a row", "USD", 0.00001, 0.002)],
            "by": [{"column": "lang", "values": [{"value": value, "rows": run.final // 4, "kept_usd": 0.01 * (5 - index), "wasted_usd": 0.0005 * index, "prompt_tokens": 120_000, "completion_tokens": 18_000} for index, value in enumerate([HOSTILE[1] if run.hostile else "en", "de", "ja", "ar"])]}],
            "errors": [{"class": "timeout", "rows": 14, "examples": [{"row_id": number, "custom_id": HOSTILE[number % 12][:90] if run.hostile else f"R-{number:06d}", "message": HOSTILE[1] if run.hostile else "The server gave no answer for 60 s (attempt 3)"} for number in (14, 77, 401)]}, {"class": "bad_request", "rows": 12, "examples": [{"row_id": 9, "custom_id": "R-000009", "message": "This model's maximum context length is 32768 tokens"}]}],
            "odd": [{"what": "truncated", "word": "length", "rows": 29}, {"what": "filtered", "word": "content_filter", "rows": 7}, {"what": "invalid", "word": "", "rows": 11}, {"what": "unknown finish", "word": "eos_token", "rows": 2}],
            "upto": run.final,
        }  # fmt: skip

    def found(self, run: Run, query: Any) -> list[int] | range:
        """Numbers of the rows that a filter lets through, in its order."""
        chosen = [name for name in (*FACETS, "q", "rows", "where") if query.get(name)]
        if not chosen and not query.get("sort") and not query.get("odd"):
            return range(run.rows)
        if run.rows > 100_000:
            status = query.get("status", "")
            rows: list[int] | range = (
                range(3, run.rows, 32)
                if status == "failed"
                else range(0, run.rows, 40)
                if chosen
                else range(run.rows)
            )
            return rows
        rows = run.every()
        for name, column in FACETS.items():
            if query.get(name):
                rows = [row for row in rows if str(row[column]) in query[name].split(",")]
        if query.get("rows"):
            numbers = {
                number
                for one in query["rows"].split(",")
                for number in range(int(one.split("-")[0]), int(one.split("-")[-1]) + 1)
            }
            rows = [row for row in rows if row["row_id"] in numbers]
        for condition in query.getall("where", []):
            if condition.startswith("stars="):
                rows = [
                    row for row in rows if run.full(row["row_id"])["inputs"]["stars"] == int(condition[6:])
                ]
        if query.get("q"):
            rows = [
                row for row in rows if query["q"].lower() in f"{row['asked']} {row['answer'] or ''}".lower()
            ]
        if query.get("sort", "row") != "row":
            key = query["sort"].lstrip("-").replace("total_tokens", "prompt_tokens")
            rows = sorted(
                rows, key=lambda row: (row[key] is None, row[key] or 0), reverse=query["sort"].startswith("-")
            )
        if query.get("odd"):
            rows = sorted(rows, key=lambda row: row["status"] == "ok")
        return [row["row_id"] for row in rows]

    def get_rows(self, run: Run, query: Any) -> dict[str, Any]:
        found = self.found(run, query)
        offset, limit = int(query.get("offset", 0)), int(query.get("limit", 50))
        searched, done = run.rows, True
        if query.get("q"):
            step = self.searches[query["q"]] = self.searches.get(query["q"], 0) + 1
            done = step >= 4
            searched = run.rows if done else run.rows * step // 4
            if not done:
                found = [row for row in found if row < searched]
        return {
            "total": run.rows,
            "matched": len(found),
            "searched": searched,
            "done": done,
            "offset": offset,
            "rows": self.lines(run, found[offset : offset + limit]),
            "took_ms": 3,
            "problems": run.problems,
        }

    def lines(self, run: Run, numbers: list[int]) -> list[dict[str, Any]]:
        """Some rows as a list shows them; where texts take a while, each answer has some more of them."""
        lines = [run.row(number) for number in numbers]
        if run.reads is None:
            return lines
        for line in lines:
            line["read"] = line["row_id"] in run.read
            if not line["read"]:
                line["asked"] = line["answer"] = None
        run.read.update([line["row_id"] for line in lines if not line["read"]][: run.reads])
        return lines

    def get_place(self, run: Run, query: Any) -> dict[str, Any]:
        found = self.found(run, query)
        number = int(query["row"])
        if number not in found:
            return {"position": None, "matched": len(found), "previous": None, "next": None}
        at = found.index(number)
        return {
            "position": at + 1,
            "matched": len(found),
            "previous": found[at - 1] if at else None,
            "next": found[at + 1] if at + 1 < len(found) else None,
        }

    def get_row(self, run: Run, query: Any) -> dict[str, Any]:
        return run.full(int(query["row"]))

    def get_facets(self, run: Run, _query: Any) -> dict[str, Any]:
        if run.rows > 100_000:
            return {
                "status": [{"value": name, "rows": many} for name, many in run.counts().items() if many],
                "error_class": [{"value": "timeout", "rows": run.rows // 32}],
            }
        facets: dict[str, dict[Any, int]] = {column: {} for column in FACETS.values()}
        for row in run.every():
            for column, counts in facets.items():
                counts[row[column]] = counts.get(row[column], 0) + 1
        return {
            column: [{"value": value, "rows": many} for value, many in counts.items()]
            for column, counts in facets.items()
        }

    def get_labels(self, run: Run, query: Any) -> dict[str, Any]:
        counts: dict[str, int] = {}
        for label in run.labels.values():
            counts[label] = counts.get(label, 0) + 1
        passed, n = counts.get("pass", 0), counts.get("pass", 0) + counts.get("fail", 0)
        share = wilson(passed, n) if n else None
        by = (
            [
                {"value": value, **wilson(passed // (index + 1), max(1, n // (index + 1)))}
                for index, value in enumerate(["en", "de", "ja", "ar"])
            ]
            if query.get("by") and n
            else []
        )
        return {"names": run.names, "counts": counts, "share": share, "by": by, "label": "pass", "earlier": 0}

    def get_sample(self, run: Run, query: Any) -> dict[str, Any]:
        found = list(self.found(run, query))
        luck = random.Random(int(query.get("seed", 0)))
        return {
            "rows": luck.sample(found, min(len(found), int(query.get("n", 200)))),
            "n": int(query.get("n", 200)),
            "seed": int(query.get("seed", 0)),
        }

    def get_compare(self, _run: Run | None, query: Any) -> dict[str, Any]:
        a, b = self.runs[query["a"]], self.runs[query["b"]]
        pairs = []
        for number in range(min(a.rows, b.rows, 400)):
            left, right = a.row(number), b.row(number)
            same = number % 4 == 0
            text = left["answer"] or ""
            other = (
                text if same else text.replace("but", "yet").replace("charger", "plug") + " It was worth it."
            )
            if query.get("different") and same:
                continue
            half = {
                key: left[key]
                for key in (
                    "status",
                    "error_class",
                    "error_message",
                    "latency_ms",
                    "prompt_tokens",
                    "completion_tokens",
                    "cost_usd",
                )
            }
            pairs.append({"row": number, "row_b": number, "custom_id": left["custom_id"], "asked": left["asked"], "same": same, "choice": a.choices.get(number), "a": half | {"text": text, "cut": False},
                          "b": half | {"text": other if right["answer"] else "", "cut": False, "latency_ms": 900.0}})  # fmt: skip
        offset, limit = int(query.get("offset", 0)), int(query.get("limit", 25))
        side = {
            run.id: {
                "id": run.id,
                "model": run.model,
                "rows": run.rows,
                "ok": run.counts()["ok"],
                "cost_usd": run.final * 0.00007,
                "prompt_tokens": run.final * 560,
                "completion_tokens": run.final * 58,
                "p50_ms": 800.0 + len(run.id) * 10,
                "p90_ms": 3_100.0,
            }
            for run in (a, b)
        }
        return {
            "a": side[a.id],
            "b": side[b.id],
            "joined_by": "custom_id",
            "searched": 40 if self.goes_on else 400,
            "done": not self.goes_on,
            "total": 400,
            "matched": len(pairs),
            "different": 300,
            "only_a": 0,
            "only_b": 3,
            **preferred(a),
            "offset": offset,
            "pairs": pairs[offset : offset + limit],
            "problems": [],
        }

    def get_acts(self, run: Run, query: Any) -> dict[str, Any]:
        only = f" --only {query['error']}" if query.get("error") else ""
        acts = [
            {
                "name": "retry",
                "title": "Retry failed rows",
                "command": f"batchlab retry runs/{run.id}{only}{self.more}",
                "asks": "37 failed rows are asked again; about $0.003.",
            }
        ]
        acts.append(
            {
                "name": "raise",
                "title": "Raise the cap",
                "command": f"batchlab run {run.id}.toml --max-cost {query.get('max_cost', '30')}",
                "asks": "The run goes on until this much is spent.",
                "field": {"name": "max_cost", "title": "New cap, USD", "value": 30},
            }
        )
        if run.stage == "running":
            acts.append(
                {
                    "name": "stop",
                    "title": "Stop in order",
                    "command": f"batchlab stop runs/{run.id}",
                    "asks": "What is in flight is waited for and saved.",
                }
            )
        return {
            "acts": acts if run.rows and not run.cannot_act else [],
            "cannot_act": run.cannot_act,
            "started": [{"id": "1", "command": "batchlab retry runs/night", "running": False, "exit_code": 0}]
            if self.acts
            else [],
        }

    async def post(self, request: web.Request) -> web.Response:
        path = request.match_info["path"]
        body = await request.json()
        await self.late(path)
        if request.headers.get("X-Batchlab-Token") != "secret":
            return web.json_response(
                {"error": "This page may look, not change: open the address that batchlab view printed."},
                status=403,
            )
        if path == "act":
            self.acts.append(body)
            return web.json_response({"started": "1", "command": body["command"]})
        run = self.runs[body.get("run") or body["a"]]
        if path == "labels":
            run.names = body["names"]
            return web.json_response(self.get_labels(run, {}))
        if path == "prefer":
            run.choices[body["row"]] = body["choice"]
            return web.json_response({"choice": body["choice"], **preferred(run)})
        if "undo" in body:
            row, label, note = run.undo[int(body["undo"])]
        else:
            row = body["row"]
            label, note = body.get("label", run.labels.get(row)), body.get("note", run.notes.get(row))
            run.undo.append((row, run.labels.get(row), run.notes.get(row)))
        for values, value in ((run.labels, label), (run.notes, note)):
            values.pop(row, None)
            if value:
                values[row] = value
        run._made = None
        return web.json_response({"row": row, "label": label, "note": note, "undo": str(len(run.undo) - 1)})


def preferred(run: Run) -> dict[str, Any]:
    chosen = list(run.choices.values())
    n = chosen.count("a") + chosen.count("b")
    return {
        "choices": {name: chosen.count(name) for name in ("a", "b", "same")},
        "share": wilson(chosen.count("b"), n) if n else None,
    }


def wilson(k: int, n: int) -> dict[str, Any]:
    z = 1.959964
    p = k / n
    mid = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return {"k": k, "n": n, "p": p, "low": mid - half, "high": mid + half}


def some_runs() -> list[Run]:
    """A run of every kind."""
    return [
        Run("night"),
        Run("night, another prompt", model="gpt-5-mini"),
        Run("goes on", "running", 40_000, 12_400),
        Run("stopped early", "stopped", 5_000, 3_100),
        Run("waits for batches", "waiting", 8_000, 4_000),
        Run("a million rows", rows=1_000_000),
        Run("nothing in it", rows=0),
        Run(
            "a part is gone",
            "crashed",
            2_000,
            1_500,
            problems=[
                "completions/part-000001.parquet is damaged: page checksum; its 500 rows cannot be read, the others can"
            ],
        ),
        Run("damaged", "damaged"),
        Run("<b>ho</b>stile/ %2F&?#" + "x" * 120, hostile=True, rows=240),
    ]


def main() -> None:
    """Serves them until it is ended."""
    given = options(__doc__, port=8777)
    web.run_app(Server(some_runs()).app, host="127.0.0.1", port=given.port, print=None)


if __name__ == "__main__":
    main()
