"""Embeddings in parts and journals: exact, typed, and read by pandas as arrays."""

from __future__ import annotations

import base64
import dataclasses
import struct

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from batchlab.records import ChatRequest, Completion, Failure, Reply, Shard, Timing, Usage
from batchlab.result_columns import RESULT_COLUMNS
from batchlab.store.generations import Generation
from batchlab.store.journals.journal import decode, result_of, result_record
from batchlab.store.locked import LockedRun
from batchlab.store.parts import part_results
from tests.store.manifests import manifest

SHARD = Shard(0, 0, 4)
ODD = [0.1, -0.0, 1e-45, 3.4028235e38, 1 / 3]


def text_of(*values: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()


def answered(row: int, *vectors: str, at: float = 1_000.0) -> Completion:
    reply = Reply(None, usage=Usage(2, 0, 2), vectors=vectors)
    timing = Timing(at + row * 1e-6, at + 0.5, 500.0)
    return Completion(row, str(row), b"h" * 16, "ok", reply, 1, timing)


ROWS = [
    answered(0, text_of(*ODD)),
    answered(1, text_of(1, 2), text_of(3, 4)),
    Failure(2, "2", "bad_request", "no", request_hash=b"h" * 16, attempts=1),
    answered(3, text_of(5)),
]


def run_at(path, vectors=("embedding", "embeddings")) -> LockedRun:
    return LockedRun.create(path, manifest(Shard(0, 0, 4), vectors=vectors))


def table(rows: int = 4, **columns) -> pa.Table:
    return pa.table({"text": [f"t{row}" for row in range(rows)], **columns})


def test_a_vector_is_the_same_bits_in_the_journal_in_a_part_and_in_numpy(tmp_path):
    run = run_at(tmp_path / "run")
    shard = run.open_shard(SHARD)
    for one in ROWS:
        shard.append(one)
    shard.seal(table())
    part = run.layout.part(0)
    run.close()

    read = pa.parquet.read_table(part)
    assert read.column_names == ["text", *RESULT_COLUMNS, "embedding", "embeddings"]
    assert read.schema.field("embedding").type == pa.list_(pa.float32())
    assert read.schema.field("embeddings").type == pa.list_(pa.list_(pa.float32()))
    frame = pd.read_parquet(part)
    assert frame["embedding"][0].dtype == np.float32
    assert frame["embedding"][0].tobytes() == struct.pack("<5f", *ODD)
    assert [one is None for one in frame["embedding"]] == [False, True, True, False]
    assert [list(one) for one in frame["embeddings"][1]] == [[1, 2], [3, 4]]
    assert list(part_results(part, "", ("embedding", "embeddings"))) == ROWS


@pytest.mark.parametrize("one", ROWS)
def test_a_journal_record_says_what_the_result_says(one):
    assert result_of(decode(result_record(one))) == one


def test_an_open_shard_shows_vectors_beside_rows_that_are_pending(tmp_path):
    run = run_at(tmp_path / "run")
    shard = run.open_shard(SHARD)
    shard.append(ROWS[3])
    shard.close()

    [shown] = run.shard_tables(SHARD, table)
    assert shown["embedding"].to_pylist() == [None, None, None, [5.0]]
    assert shown["status"].to_pylist()[:3] == ["pending"] * 3
    run.close()


def test_an_input_column_that_is_called_embedding_is_no_result_of_a_chat(tmp_path):
    run = run_at(tmp_path / "run", vectors=())
    shard = run.open_shard(SHARD)
    chats = [
        Completion(row, str(row), b"h" * 16, "ok", Reply("yes"), 1, Timing(1.0, 2.0, 1.0)) for row in range(4)
    ]
    for one in chats:
        shard.append(one)
    shard.seal(table(embedding=[[1.0], [2.0], None, [3.0]]))

    assert list(part_results(run.layout.part(0), "", run.manifest.vectors)) == chats
    assert pa.parquet.read_table(run.layout.part(0))["embedding"].to_pylist() == [
        [1.0],
        [2.0],
        None,
        [3.0],
    ]
    run.close()


def test_a_crash_counts_requests_in_flight_once_and_each_of_their_rows_as_cut_off(tmp_path):
    """Rows 0 and 1 shared a request whose answer was written half; rows 2 and 3 came back refused."""
    run = run_at(tmp_path / "run")
    shard = run.open_shard(SHARD)
    shard.append_sent_together([0, 1], 1)
    shard.append_sent_together([2, 3], 1)
    shard.append_back_together([2, 3], [Usage(3, 0, 3), Usage(4, 0, 4)], [0.3, 0.4])
    shard.append_sent_together([2, 3], 2)
    shard.append_back_together([2, 3], None, [])
    shard.close()
    totals, in_flight = run.standing([SHARD])
    assert (in_flight, totals.cut_off, totals.attempts) == (1, 2, 6)
    assert (totals.wasted_prompt_tokens, totals.cost_wasted_usd) == (7, pytest.approx(0.7))
    run.close()

    for crashes in (1, 2):
        run = LockedRun.open(run.path)
        shard = run.open_shard(SHARD)
        assert (shard.in_flight, shard.found.cut_off) == (1, 2 * crashes)
        shard.append_sent_together([0, 1], 1)
        if crashes == 1:
            shard.close()
            run.close()
    for one in ROWS:
        shard.append(one)
    shard.seal(table())
    run.close()
    rows = list(part_results(run.layout.part(0), "", run.manifest.vectors))
    assert [(one.attempts, one.cut_off) for one in rows] == [(3, 2), (3, 2), (3, 0), (3, 0)]
    assert [one.wasted_prompt_tokens for one in rows] == [None, None, 3, 4]


def test_equal_rows_of_one_request_are_answers_of_their_own_to_the_next_generation(tmp_path):
    run = run_at(tmp_path / "run", vectors=("embedding",))
    shard = run.open_shard(Shard(0, 0, 3))
    for row in range(3):
        shard.append(answered(row, text_of(row)))
    shard.seal(table(3))

    def request(row: int) -> ChatRequest:
        return ChatRequest(row, str(row), {}, b"h" * 16, 1)

    with Generation(run, dataclasses.replace(run.manifest, generation=2)) as generation:
        generation.add_shard(SHARD, map(request, range(4)), table)
        generation.commit()
        assert generation.kept == 3
    kept = [one for one in run.all_results() if isinstance(one, Completion)]
    assert [one.reply.vectors for one in kept] == [(text_of(row),) for row in range(3)]
    run.close()
