"""The report of a run: what its page shows, gathered from parts and journals."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd
import pyarrow as pa

from batchlab.counts import counted
from batchlab.inputs.plan import InputPlan
from batchlab.inputs.requests import RequestBuilder, RowProblem
from batchlab.inputs.sources.batch_lines import asked_texts
from batchlab.job import Job
from batchlab.looking.money.answer_prices import prices_of
from batchlab.looking.money.books import input_table, run_frame
from batchlab.looking.phrases import cost_text, duration, finish_text
from batchlab.looking.report.cost import WORDS, cost_table, prepared
from batchlab.looking.report.data import ErrorView, ReportData, RowView
from batchlab.looking.rows.tables import row_at
from batchlab.records import Row
from batchlab.result_columns import RESULT_COLUMNS, VECTOR_COLUMNS
from batchlab.store.batches import Batch, Step, read_batches
from batchlab.store.history import history_lines
from batchlab.store.parts import PartFile, open_part
from batchlab.store.view import RunView
from batchlab.totals import Totals

SAMPLE_ROWS, FAILED_ROWS, TOP_ROWS = 120, 30, 10
EXAMPLES = 3  # messages a class of errors
MOST_BATCHES = 200  # the last ones
MOST_GROUPS = 20  # a column with more values is no column to group by
SHOWN_NUMBERS = 6  # of an embedding
TEXT_CHARS = 2_000
_STANDARD = ("status", "model", "endpoint", "lane", "service_tier", "day")
_MORE = ("row_id", "custom_id", "error_message", "latency_ms", "queue_ms", "ttft_ms", "started_at")


def report_data(run: RunView, wanted: Sequence[str] = ()) -> ReportData:
    """Everything the page of a run shows."""
    job, plan = run.manifest.job, run.manifest.plan
    totals = run.totals()
    few = [name for name in _group_columns(run, plan.columns) if name not in wanted]
    columns = [*(name for name in wanted if name not in _STANDARD), *few]
    more = [name for name in (*_MORE, *_STANDARD) if name in RESULT_COLUMNS and name not in WORDS]
    rows = prepared(run_frame(run, columns, more=more))
    names = [name for name in (*_STANDARD, *columns) if rows[name].nunique() > 1 or name in wanted]
    by = [(name, table) for name in names if _tells(table := _by(rows, name, job)) or name in wanted]
    chosen = _chosen(rows)
    views = _views(run, job, rows, chosen)
    return ReportData(
        title=run.path.name,
        facts=_facts(rows, totals, plan, run.place),
        rows=_numbers(rows),
        history=pd.DataFrame(history_lines(run.path)),
        missing=_missing(totals, plan.rows, run),
        batches=[_batch_line(one) for one in read_batches(run.path).by_key.values()][-MOST_BATCHES:],
        by=by,
        errors=_errors(rows),
        slowest=[views[row] for row in chosen["slowest"]],
        dearest=[views[row] for row in chosen["dearest"]],
        sample=[views[row] for row in chosen["sample"]],
    )


def _batch_line(batch: Batch) -> tuple[str, str, int, str, str, str]:
    """One batch, as the page has it."""
    at = batch.ordered_at or batch.meant_at
    match batch.step:
        case Step.MERGED:
            failed = f", {batch.failed:,} failed" if batch.failed else ""
            came = f"{batch.phase}: {batch.answered:,} answered{failed}"
        case Step.DROPPED:
            came = "never came to be"
        case _:
            came = "cancelled, not ended yet" if batch.is_cancelled else "out"
    lasted = duration(batch.ended_at - batch.created_at) if batch.ended_at and batch.created_at else ""
    ordered = time.strftime("%Y-%m-%d %H:%M", time.localtime(at)) if at else ""
    return batch.endpoint, batch.id or "", batch.lines, ordered, lasted, came


def _group_columns(run: RunView, columns: Sequence[str]) -> list[str]:
    """Input columns with a few values, judged by the first part."""
    sealed = run.sealed()
    if not sealed or not columns:
        return []
    found = []
    with open_part(run.part(min(sealed))) as part:
        table = part.read_row_group(0, columns=list(columns)) if part.num_row_groups else pa.table({})
    for name in table.column_names:
        kind = table[name].type
        if pa.types.is_nested(kind) or pa.types.is_floating(kind) or pa.types.is_binary(kind):
            continue
        distinct = len(table[name].unique())
        if 1 < distinct <= MOST_GROUPS and distinct < table.num_rows:
            found.append(name)
    return found


def _numbers(rows: pd.DataFrame) -> pd.DataFrame:
    names = ("latency_ms", "queue_ms", "ttft_ms", "prompt_tokens", "completion_tokens", "cost_usd")
    made = {name: pd.to_numeric(rows[name], errors="coerce").astype("float64") for name in names}
    return pd.DataFrame({"status": rows["status"], "finished_at": _seconds(rows["finished_at"]), **made})


def _seconds(values: pd.Series) -> pd.Series:
    at = pd.to_datetime(values, utc=True, errors="coerce")
    return (at - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)


def _facts(rows: pd.DataFrame, totals: Totals, plan: InputPlan, run: str) -> list[tuple[str, str]]:
    planned = plan.rows
    facts = [("rows", f"{planned:,}"), ("answered", f"{totals.answered:,}")]
    facts += [("failed", f"{totals.failed:,}")] if totals.failed else []
    facts += [("pending", f"{planned - totals.rows:,}")] if planned > totals.rows else []
    facts += [
        (name, f"{count:,}")
        for name in ("truncated", "filtered", "invalid", "empty")
        if (count := getattr(totals, name))
    ]
    facts.append(("cost", cost_text(totals, run)))
    if totals.cut_off:
        facts.append(("answers lost on the way", counted(totals.cut_off, "request")))
    facts.append(("prompt tokens", f"{totals.prompt_tokens:,}"))
    if totals.completion_tokens or not plan.vectors:
        facts.append(("completion tokens", f"{totals.completion_tokens:,}"))
    # rows that shared a request count one each
    facts.append(("requests sent, by row" if plan.vectors else "requests sent", f"{totals.attempts:,}"))
    start, end = _seconds(rows["started_at"]).min(), _seconds(rows["finished_at"]).max()
    if pd.notna(start) and pd.notna(end):
        facts.append(("first request", time.strftime("%Y-%m-%d %H:%M", time.localtime(start))))
        facts.append(("from first to last", duration(end - start)))
    latency = rows["latency_ms"].dropna()
    if len(latency):
        facts.append(("median latency", f"{latency.median() / 1_000:.2f} s"))
    return facts


def _missing(totals: Totals, planned: int, run: RunView) -> list[str]:
    said = []
    if totals.rows < planned:
        left = counted(planned - totals.rows, "row")
        said.append(f"{left} of {planned:,} have no final result yet: the page shows the others.")
    if not totals.answered:
        said.append("No row has an answer.")
    elif totals.rows_without_usage:
        said.append(
            f"{counted(totals.rows_without_usage, 'row')} reported no token usage: "
            "tokens and cost are those of the others."
        )
    unpriced = totals.rows_without_cost - totals.rows_without_usage
    if unpriced > 0:
        said.append(
            f"{counted(unpriced, 'row')} have no known price: cost is that of the others. "
            "Set [price] in the job to know it from the start; batchlab cost tries prices afterwards."
        )
    if totals.waste_without_cost:
        said.append(
            f"{counted(totals.waste_without_cost, 'row')} had attempts that were paid and not kept, at an "
            "unknown cost: it is in no sum."
        )
    if totals.unknown_finish:
        said.append(f"Some answers ended for {finish_text(totals.unknown_finish)}; they are kept as ok.")
    if not run.layout.history.exists():
        said.append("The run left no history of window and rate limits.")
    return said


def _by(rows: pd.DataFrame, name: str, job: Job) -> pd.DataFrame:
    table = cost_table(rows, [name], price_of=prices_of(job)).iloc[:-1].head(MOST_GROUPS)
    wanted = ["rows", "kept_usd", "wasted_usd", "prompt_tokens", "completion_tokens"]
    return table[[name, *wanted]].rename(columns={name: "value"})


def _tells(table: pd.DataFrame) -> bool:
    """Whether at least two values have cost anything; without any cost, at least two have tokens."""
    spent = table["kept_usd"].fillna(0) + table["wasted_usd"].fillna(0)
    used = table["prompt_tokens"].fillna(0) + table["completion_tokens"].fillna(0)
    return int(((spent if spent.any() else used) > 0).sum()) > 1


def _errors(rows: pd.DataFrame) -> list[ErrorView]:
    failed = rows[rows["status"] == "failed"]
    views = []
    for error_class, group in failed.groupby("error_class", dropna=False, sort=False):
        examples = group.drop_duplicates("error_message").head(EXAMPLES)
        said = [(str(one.custom_id), _cut(one.error_message)) for one in examples.itertuples()]
        views.append(ErrorView(str(error_class), len(group), said))
    return sorted(views, key=lambda view: -view.rows)


def _chosen(rows: pd.DataFrame) -> dict[str, list[int]]:
    """row_ids of the rows that the page shows one by one."""
    answered, failed = rows[rows["status"] != "failed"], rows[rows["status"] == "failed"]
    rng = random.Random(len(rows))
    sample = set(_drawn(answered["row_id"], SAMPLE_ROWS, rng))
    sample |= set(_drawn(failed["row_id"], FAILED_ROWS, rng))
    tops = {
        name: [int(row) for row in answered.nlargest(TOP_ROWS, column)["row_id"]]
        for name, column in (("slowest", "latency_ms"), ("dearest", "cost_usd"))
    }
    if not answered["cost_usd"].notna().any():
        tops["dearest"] = []
    return {"sample": sorted(sample), **tops}


def _drawn(values: pd.Series, most: int, rng: random.Random) -> list[int]:
    places = rng.sample(range(len(values)), min(most, len(values)))
    return [int(values.iloc[place]) for place in places]


def _views(
    run: RunView, job: Job, rows: pd.DataFrame, chosen: Mapping[str, Sequence[int]]
) -> dict[int, RowView]:
    wanted = sorted({row for group in chosen.values() for row in group})
    texts = _texts(run, job, wanted)
    known = rows.set_index("row_id")
    return {
        row: _view(row, values, *texts.get(row, ("", "")))
        for row, values in zip(wanted, known.loc[wanted].to_dict("records"), strict=True)
    }


def _view(row_id: int, row: Mapping[Any, Any], prompt: str, completion: str) -> RowView:
    failed = row["status"] == "failed"
    return RowView(
        row_id=row_id,
        custom_id=str(row["custom_id"]),
        status=str(row["status"]),
        prompt=_cut(prompt),
        completion=_cut(completion),
        error=f"{row['error_class']}: {_cut(row['error_message'])}" if failed else "",
        prompt_tokens=_whole(row["prompt_tokens"]),
        completion_tokens=_whole(row["completion_tokens"]),
        cost_usd=None if pd.isna(row["cost_usd"]) else float(row["cost_usd"]),
        latency_s=None if pd.isna(row["latency_ms"]) else float(row["latency_ms"]) / 1_000,
    )


def _whole(value: Any) -> int | None:
    return None if pd.isna(value) else int(value)


def _cut(text: Any) -> str:
    whole = text if isinstance(text, str) else ""
    return whole if len(whole) <= TEXT_CHARS else whole[: TEXT_CHARS - 1] + "…"


def _texts(run: RunView, job: Job, wanted: Sequence[int]) -> dict[int, tuple[str, str]]:
    """Prompt and completion of some rows; only the row groups that hold them are read."""
    plan = run.manifest.plan
    builder = RequestBuilder(job, plan.columns)
    sealed = run.sealed()
    found: dict[int, tuple[str, str]] = {}
    for shard in plan.shards:
        rows = [row for row in wanted if shard.first_row <= row < shard.first_row + shard.rows]
        if not rows:
            continue
        if shard.index in sealed:
            tables = _row_groups(run.part(shard.index), rows, shard.first_row)
        else:
            given = partial(input_table, run, shard, needed=False)
            whole = run.shard_tables(shard, given)
            tables = [(shard.first_row, pa.concat_tables(whole))]
        for first, table in tables:
            for row in rows:
                if first <= row < first + table.num_rows:
                    values = row_at(table, row - first)
                    found[row] = (
                        _prompt(builder, row, values),
                        _answer(values, job.output.prefix, plan.vectors),
                    )
    return found


def _row_groups(path: PartFile, rows: Sequence[int], first: int) -> list[tuple[int, pa.Table]]:
    found = []
    with open_part(path) as part:
        for group in range(part.num_row_groups):
            count = part.metadata.row_group(group).num_rows
            if any(first <= row < first + count for row in rows):
                found.append((first, part.read_row_group(group)))
            first += count
    return found


def _prompt(builder: RequestBuilder, row: int, values: dict[str, Any]) -> str:
    """What a row's request asks about, as it was sent: the last message of a chat, the texts of others."""
    try:
        request = builder.build(Row(row, values))
    except (RowProblem, KeyError):
        return ""
    if request.task != "chat":
        return "\n".join(asked_texts(request.task, request.body))
    messages = request.body["messages"]
    content = messages[-1].get("content") if messages else ""
    return content if isinstance(content, str) else str(content)


def _answer(values: Mapping[str, Any], prefix: str, vectors: Sequence[str]) -> str:
    """A row's completion, or the beginning of its embedding."""
    for name in vectors:
        vector = values[prefix + name]
        if vector is not None:
            several = name != VECTOR_COLUMNS[0]
            head = f"{counted(len(vector), 'embedding')}, the first of " if several else ""
            vector = vector[0] if several else vector
            numbers = ", ".join(f"{number:.4f}" for number in vector[:SHOWN_NUMBERS])
            return f"{head}{counted(len(vector), 'dimension')}: {numbers}, …"
    return values[prefix + "completion"] or ""
