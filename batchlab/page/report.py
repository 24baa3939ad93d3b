"""The report of a run: its page as one file, with the rows that have a problem and a sample of the others."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from batchlab.counts import counted
from batchlab.errors import BatchlabError, UsageError
from batchlab.looking import own_files
from batchlab.looking.browse.pages import Browser
from batchlab.looking.browse.query import RowQuery
from batchlab.looking.labels.review import Review
from batchlab.looking.listing import listed
from batchlab.looking.opening import open_run
from batchlab.looking.overview.charts import Charter
from batchlab.looking.overview.of_run import overview_of
from batchlab.page.address import id_of
from batchlab.page.answers import json_bytes
from batchlab.page.bundle import page_of
from batchlab.remote.storage import StorageError, put_bytes
from batchlab.remote.urls import checked_url, is_url
from batchlab.store.disk.files import FILE_MODE
from batchlab.store.layout import REPORT
from batchlab.store.view import RunView
from batchlab.version import __version__

PROBLEM_ROWS, LABELLED_ROWS, SAMPLE_ROWS = 150, 200, 350
LARGEST_ROW, CUT_CHARS = 64 * 1_024, 4_000  # bytes of a row as JSON; a larger one has its texts cut
LARGEST_ROWS = 12 * 1_024 * 1_024  # bytes of all: a browser opens it at once, and so does a mail
MOST_PROBLEMS = 20  # each in a line
LONGEST_S = 60.0  # of reading rows, which at a URL takes a request each
_WRONG = ("failed", "invalid", "filtered", "truncated")


def write_report(path: str, output: str | None, by: Sequence[str] = (), *, overwrite: bool = False) -> str:
    """Writes the page of the run at `path` and returns its file name.

    Args:
        by: columns to show the cost by, beside those that have few values.
        overwrite: replace a file that the run did not write.

    Raises:
        UsageError: there is no run, no such column, or the page cannot be written.
    """
    run = open_run(path)
    if output is not None:
        own_files.refuse_others(run.path, (output,), overwrite=overwrite)
    is_beside = output is not None
    if output is None:
        output = f"{run.place}/{REPORT}"
    content = one_file(run, by).encode("utf-8", "replace")  # a lone surrogate in an answer is no UTF-8
    if is_url(output):
        try:
            put_bytes(checked_url(output), content)
        except StorageError as error:
            raise UsageError(f"{output}: cannot write the report: {error.strerror}.") from error
        return output
    target = Path(output)
    try:
        with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE), "wb") as file:
            file.write(content)
    except OSError as error:
        raise UsageError(f"{target}: cannot write the report: {error.strerror}.") from error
    if is_beside:
        own_files.note(run.path, (output,))
    return str(target)


def one_file(run: RunView, by: Sequence[str] = ()) -> str:
    """The page of a run, with its data within it. Raises UsageError when there is no such column."""
    run_id = id_of(run.place)
    review = Review(run)
    browser = Browser(run, labels=lambda: review.of_rows(browser.index))
    try:
        rows, left_out, problems = _rows(browser, review)  # after it, all rows are known
        labels = _said(browser, review)
        charts = Charter(by).charts(browser.index).json()
    finally:
        browser.close()
    overview = overview_of(run).json()
    overview["problems"] = [*overview["problems"], *problems]
    return page_of(
        {
            "version": __version__,
            "runs": [{**listed(run.url or run.path).json(), "id": run_id, "name": run_id}],
            "run": {**overview, "id": run_id},
            "charts": charts,
            "labels": labels,
            "rows": rows,
            "left_out": left_out,
            "left_out_text": _left_out_text(len(rows), left_out),
        }
    )


def _said(browser: Browser, review: Review) -> dict[str, Any] | None:
    """What the labels come to; None where they cannot be read, which the rows say."""
    try:
        return review.standing(browser.index, None).json()
    except UsageError:
        return None


def _rows(browser: Browser, review: Review) -> tuple[list[dict[str, Any]], int, list[str]]:
    """Rows for the page in input order, how many are left out, and what could not be read."""
    done = RowQuery.of({"status": ",".join((*_WRONG, "ok"))})
    everyone = browser.matching(done)
    wrong = browser.matching(RowQuery.of({"status": ",".join(_WRONG)}))
    wrong = [*wrong, *browser.matching(RowQuery.of({"status": "ok", "error": "empty"}))][:PROBLEM_ROWS]
    chosen = set(wrong)
    labelled = sorted(review.of_rows(browser.index))[:LABELLED_ROWS]
    shown = {*chosen, *(set(labelled) & set(everyone))}
    others = [row for row in everyone if row not in shown]
    drawn = random.Random(len(everyone)).sample(others, min(SAMPLE_ROWS, len(others)))
    made: dict[int, dict[str, Any]] = {}
    problems: list[str] = []
    size, until = 0, time.monotonic() + LONGEST_S
    for row in [*sorted(shown), *sorted(drawn)]:
        if size > LARGEST_ROWS or time.monotonic() > until:
            break
        try:
            detail = browser.row(row).json()
        except BatchlabError as error:
            problems.append(str(error))
            continue
        text = json_bytes(detail)
        if len(text) > LARGEST_ROW:
            detail = _cut(detail)
            text = json_bytes(detail)
        size += len(text)
        made[row] = {**detail, "problem": row in chosen}
    problems = list(dict.fromkeys([*browser.problems, *problems]))[:MOST_PROBLEMS]
    return [made[row] for row in sorted(made)], len(everyone) - len(made), problems


def _cut(value: Any) -> Any:
    """A value with its texts cut; those that say what something is are short anyway."""
    match value:
        case str():
            return value if len(value) <= CUT_CHARS else f"{value[: CUT_CHARS - 1]}…"
        case dict():
            return {name: _cut(one) for name, one in value.items()}
        case list() | tuple():
            return [_cut(one) for one in value]
    return value


def _left_out_text(shown: int, left_out: int) -> str:
    if not left_out:
        return ""
    return (
        f"{counted(shown, 'row')} of {shown + left_out:,}: those with a problem or a label, and a sample of "
        "the others; batchlab view has every row"
    )
