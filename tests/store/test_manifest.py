"""run.json: its bytes, its checks, and what is said of one that cannot be read."""

from __future__ import annotations

import dataclasses
import json

import pytest

from batchlab.errors import CorruptRun, UsageError
from batchlab.inputs.plan import plan_input
from batchlab.inputs.sources.opening import open_source
from batchlab.job.file import job_from
from batchlab.store.manifest import FORMAT, Manifest, Ownership, read_manifest, write_manifest

WHERE = "runs/x/run.json"


@pytest.fixture
def planned(tmp_path):
    """A manifest as a run's first invocation writes it."""
    rows = tmp_path / "rows.csv"
    rows.write_text("id,text\n1,one\n2,two\n")
    job = job_from(
        {
            "input": {"path": str(rows), "id": "id"},
            "endpoint": [
                {"name": "a", "price": {"input": 1, "output": 2, "flex": 0.5}},
                {"name": "b", "price": {"input": 1.0, "output": 2.0, "batch": {"input": 1, "output": 1}}},
            ],
            "request": {"model": "m", "prompt": "{text}", "temperature": 0},
            "limits": {"max_cost": 3, "processes": 2},
            "output": {"run_dir": str(tmp_path / "run"), "fail_on": ["truncated"]},
        }
    )
    made = Manifest.of(job, plan_input(job, open_source(job.input.path)).plan)
    return dataclasses.replace(made, generation=3)


def content(manifest: Manifest, **changed) -> bytes:
    return json.dumps({**json.loads(manifest.to_bytes()), **changed}).encode()


def test_a_manifest_is_the_same_after_its_way_through_the_file(planned, tmp_path):
    write_manifest(tmp_path, planned)
    again = read_manifest(tmp_path)

    assert again == planned
    assert again.to_bytes() == (tmp_path / "run.json").read_bytes()


def test_its_keys_are_in_the_order_in_which_every_version_wrote_them(planned):
    assert list(json.loads(planned.to_bytes())) == [
        "format", "batchlab", "created", "generation", "job", "settings", "plan", "expanded",
        "run_id",
    ]  # fmt: skip
    owned = planned.owned_by(Ownership("o", "h", 1.0), remote="s3://bucket/run")
    assert list(json.loads(owned.to_bytes()))[-3:] == ["owner", "host", "taken"]
    assert Manifest.of_bytes(owned.to_bytes(), WHERE) == owned
    assert (owned.remote, planned.remote) == ("s3://bucket/run", None)


def test_a_manifest_of_format_1_goes_on(planned):
    """Without what later versions added, and with Arrow types for the columns."""
    data = json.loads(planned.to_bytes())
    schema = planned.plan.schema.serialize().to_pybytes()
    data["plan"] = dataclasses.replace(planned.plan, types=schema).to_json()
    for table, names in ((data, ["expanded", "run_id"]), (data["plan"], ["models", "vectors"])):
        for name in names:
            del table[name]
    for name in ("reuse", "fail_on", "remote"):
        del data["job"]["output"][name]

    old = Manifest.of_bytes(json.dumps({**data, "format": 1}).encode(), WHERE)

    assert (old.format, old.generation, old.vectors, old.expanded) == (1, 3, (), None)
    assert old.plan.schema == planned.plan.schema
    assert old.job.request == planned.job.request
    assert json.loads(old.to_bytes())["format"] == 1


def test_what_a_later_version_wrote_is_said_to_be_newer(planned):
    job = planned.job.to_dict()
    job["input"]["of_the_future"] = 7
    for changed, said in [
        ({"format": FORMAT + 1}, rf"^{WHERE}: written by a newer batchlab \(format {FORMAT + 1}\). Upgrade"),
        ({"batchlab": "99.0.0", "job": job}, r"newer batchlab \(99.0.0\): unknown job.input.of_the_future. "),
        ({"batchlab": "99.0.0", "lanes": []}, "newer batchlab .*: unknown lanes. Upgrade to read it.$"),
    ]:
        with pytest.raises(UsageError, match=said):
            Manifest.of_bytes(content(planned, **changed), WHERE)
    # with nothing in it that is not known here, its version is no matter
    assert Manifest.of_bytes(content(planned, batchlab="99.0.0"), WHERE).plan == planned.plan


def altered(planned: Manifest, *path: str | int, to: object) -> bytes:
    data = json.loads(planned.to_bytes())
    table = data
    for name in path[:-1]:
        table = table[name]
    table[path[-1]] = to
    return json.dumps(data).encode()


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("job", "input", "stranger"), 1, "unknown job.input.stranger"),
        (("job", "limits", "concurrency"), "many", "job.limits.concurrency = 'many' is of another type"),
        (("job", "limits", "processes"), [2], r"job.limits.processes = \[2\] is of another type"),
        (("job", "endpoint"), {}, "job.endpoint is no list"),
        (("job", "endpoint", 0, "price"), None, "job.endpoint.price is no table"),
        (("job", "endpoint", 1, "price", "batch", "of"), 1, "unknown job.endpoint.price.batch.of"),
        (("job", "request", "image"), [7], "job.request.image = 7 is of another type"),
        (("job",), None, "job is no table"),
        (("generation",), "3", "generation = '3' is of another type"),
        (("settings",), [], "settings is no table"),
        (("expanded",), 7, "expanded = 7 is of another type"),
        (("plan",), [], "plan is no table"),
        (("plan", "rows"), None, "plan.rows = None is of another type"),
        (("plan", "shards"), [[1]], "ValueError: not enough values"),
        (("plan", "shards"), [["1", {}]], "TypeError: "),
        (("plan", "kinds"), {"text": ["list"]}, "IndexError: "),
    ],
)
def test_a_wrong_value_is_one_line_that_names_it(planned, path, value, said):
    with pytest.raises(CorruptRun, match=f"^{WHERE}: not a run of batchlab.*{said}") as raised:
        Manifest.of_bytes(altered(planned, *path, to=value), WHERE)

    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("missing", ["job", "settings", "generation", "plan"])
def test_a_manifest_that_lacks_what_every_run_has_is_none(planned, missing):
    data = json.loads(planned.to_bytes())
    del data[missing]

    with pytest.raises(CorruptRun, match="not a run of batchlab"):
        Manifest.of_bytes(json.dumps(data).encode(), WHERE)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"other": 1}'])
def test_another_file_of_that_name_is_no_run(tmp_path, text):
    (tmp_path / "run.json").write_text(text)

    with pytest.raises(CorruptRun, match=rf"^{tmp_path}/run\.json: not a run of batchlab"):
        read_manifest(tmp_path)


def test_a_run_that_cannot_be_read_says_why(tmp_path):
    with pytest.raises(UsageError, match="cannot read the run: No such file or directory"):
        read_manifest(tmp_path)
