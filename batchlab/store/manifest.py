"""run.json: what a run is, as it was when this generation of it began. Read and checked here alone.

Format 2 is written. Format 1 had Arrow types for every kind of input, and at first one endpoint, whose prices
were the job's; runs of both go on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import secrets
import time
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from batchlab.arrow import pa
from batchlab.errors import CorruptRun, UsageError
from batchlab.inputs.sources.source import InputPlan
from batchlab.job import Job
from batchlab.job.presets import PRESETS
from batchlab.result_columns import VECTOR_COLUMNS
from batchlab.store.columns.expanded import expanded_schema, of_text, to_text
from batchlab.store.disk.files import atomic_write, small_file
from batchlab.store.layout import Layout
from batchlab.version import __version__

FORMAT = 2  # a later one is refused
MOST_BYTES = 1_024 * 1_024 * 1_024  # a plan of ten million shards


@dataclass(frozen=True, slots=True)
class Ownership:
    """Which machine works on a run that has a copy at a URL.

    Attributes:
        owner: a random name; another one in the copy's run.json means that the run went on elsewhere.
        taken: Unix seconds when it was given.
    """

    owner: str
    host: str
    taken: float


@dataclass(frozen=True, slots=True)
class Manifest:
    """What run.json says. It holds no key.

    Attributes:
        batchlab: the version that wrote it.
        created: Unix seconds when this generation was planned.
        settings: what changes what is asked; see `Job.request_settings`.
        expanded_text: the columns that are made of parsed answers, as `columns.expanded` writes them.
        ownership: of a run with a copy at a URL.
        run_id: a random name that the run keeps through all generations; "" of an earlier version's.
    """

    job: Job
    settings: Mapping[str, Any]
    plan: InputPlan
    generation: int = 1
    format: int = FORMAT
    batchlab: str = __version__
    created: float = 0.0
    expanded_text: str | None = None
    ownership: Ownership | None = None
    run_id: str = ""

    @classmethod
    def of(cls, job: Job, plan: InputPlan) -> Manifest:
        """That of a new run, which is planned now."""
        expanded = None
        if job.output.expand and job.request.schema is not None:
            expanded = to_text(expanded_schema(job.request.schema, job.output.expand_prefix))
        return cls(
            job=job,
            settings=job.request_settings(),
            plan=plan,
            created=time.time(),
            expanded_text=expanded,
            run_id=secrets.token_hex(8),
        )

    def planned_again(self, job: Job, plan: InputPlan, *, generation: int) -> Manifest:
        """That of the same run, which is planned anew."""
        new = Manifest.of(job, plan)
        return dataclasses.replace(new, generation=generation, ownership=self.ownership, run_id=self.run_id)

    @property
    def prefix(self) -> str:
        """What the result columns' names begin with."""
        return self.job.output.prefix

    @property
    def vectors(self) -> tuple[str, ...]:
        """Which columns for embeddings the results have."""
        return self.plan.vectors

    @property
    def expanded(self) -> pa.Schema | None:
        """The columns that are made of parsed answers; their types are the plan's. None without any."""
        return of_text(self.expanded_text)

    @property
    def remote(self) -> str | None:
        """URL of the run's copy, None when it has none."""
        return self.job.output.remote or None

    @property
    def owner(self) -> str | None:
        """Who works on a run with a copy at a URL."""
        return None if self.ownership is None else self.ownership.owner

    def owned_by(self, ownership: Ownership, *, remote: str | None = None) -> Manifest:
        """The same with another owner, and its copy at `remote` if that is given."""
        job = self.job
        if remote is not None:
            job = dataclasses.replace(job, output=dataclasses.replace(job.output, remote=remote))
        return dataclasses.replace(self, job=job, ownership=ownership)

    def to_bytes(self) -> bytes:
        """The content of run.json."""
        data = {
            "format": self.format,
            "batchlab": self.batchlab,
            "created": self.created,
            "generation": self.generation,
            "job": self.job.to_dict(),
            "settings": self.settings,
            "plan": self.plan.to_json(),
            "expanded": self.expanded_text,
        }
        if self.run_id:
            data["run_id"] = self.run_id
        if self.ownership is not None:
            data |= dataclasses.asdict(self.ownership)
        return json.dumps(data, indent=1).encode()

    @classmethod
    def of_bytes(cls, content: bytes, where: str) -> Manifest:
        """What run.json says whose content that is; `where` it is, for messages.

        Raises:
            UsageError: a later version wrote what this one does not know.
            CorruptRun: it is not the run.json of a run.
        """
        try:
            data = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise CorruptRun(f"{where}: not a run of batchlab: {error}") from error
        if not isinstance(data, dict) or "plan" not in data:
            raise CorruptRun(f"{where}: not a run of batchlab.")
        if isinstance(data.get("format"), int) and data["format"] > FORMAT:
            raise UsageError(
                f"{where}: written by a newer batchlab (format {data['format']}). Upgrade to read it."
            )
        data = _upgraded(data)
        problem = _problem(data, _STORED, "")
        if problem is not None:
            writer = data.get("batchlab")
            if isinstance(writer, str) and _release(writer) > _release(__version__):
                raise UsageError(
                    f"{where}: written by a newer batchlab ({writer}): {problem}. Upgrade to read it."
                )
            raise CorruptRun(f"{where}: not a run of batchlab: {problem}.")
        try:
            read = cls(
                job=Job.from_dict(data["job"]),
                settings=data["settings"],
                plan=InputPlan.from_json(data["plan"]),
                generation=data["generation"],
                format=data.get("format", 1),
                batchlab=data.get("batchlab", ""),
                created=data.get("created", 0.0),
                expanded_text=data.get("expanded"),
                run_id=data.get("run_id", ""),
                ownership=(
                    Ownership(data["owner"], data.get("host", ""), data.get("taken", 0.0))
                    if "owner" in data
                    else None
                ),
            )
        except (LookupError, TypeError, ValueError) as error:  # within what the table below says no more of
            raise CorruptRun(f"{where}: not a run of batchlab ({type(error).__name__}: {error}).") from error
        if (problem := _contradiction(read)) is not None:
            raise CorruptRun(f"{where}: not a run of batchlab: {problem}.")
        return read


def plan_digest(plan: InputPlan) -> str:
    """16 bytes in hex that tell a plan from others; where and when its input was read does not count."""
    told = {name: value for name, value in plan.to_json().items() if name not in ("stat", "scanned_at")}
    return hashlib.blake2b(json.dumps(told, sort_keys=True).encode(), digest_size=16).hexdigest()


def read_manifest(run: Path) -> Manifest:
    """run.json of a run directory.

    Raises:
        UsageError: it cannot be read, or a later version wrote it; CorruptRun: it is none.
    """
    path = Layout(run).manifest
    try:
        content = small_file(path, MOST_BYTES)
    except OSError as error:
        raise UsageError(f"{run}: cannot read the run: {error.strerror}.") from error
    return Manifest.of_bytes(content, str(path))


def write_manifest(run: Path, manifest: Manifest) -> None:
    """Replaces run.json of a run directory. Raises RunStopped (disk)."""
    atomic_write(Layout(run).manifest, manifest.to_bytes())


# What run.json may hold; `...` marks what must be there. A section of the job may lack settings that
# came after it was written.
_PLAN = {
    "rows": (int, ...),
    "shards": (list[Any], ...),
    "columns": (list[str], ...),
    "schema": (str,),
    "kinds": (dict[str, Any],),
    "content_hash": (str, ...),
    "stat": (list[dict[str, Any]], ...),
    "scanned_at": (float, ...),
    "malformed": (list[Any], ...),
    "malformed_count": (int, ...),
    "models": (list[str],),
    "vectors": (list[str],),
}
_STORED = {
    "format": (int,),
    "batchlab": (str,),
    "created": (float,),
    "generation": (int, ...),
    "run_id": (str,),
    "job": (Job, ...),
    "settings": (dict[str, Any], ...),
    "plan": (_PLAN, ...),
    "expanded": (str | None,),
    "owner": (str,),
    "host": (str,),
    "taken": (float,),
}


def _upgraded(data: dict[str, Any]) -> dict[str, Any]:
    """What an earlier version wrote, as it is written now."""
    job = data.get("job")
    if data.get("format", 1) == 1 and isinstance(job, dict) and isinstance(job.get("endpoint"), dict):
        return {**data, "job": {**job, "endpoint": [{**job["endpoint"], "price": {}}]}}
    return data


def _contradiction(read: Manifest) -> str | None:
    """What cannot be, in a few words, although each value is of its type; None when nothing is."""
    plan = read.plan
    try:
        _ = plan.names_out, read.expanded
    except (ValueError, OSError, EOFError) as error:  # what Arrow and base64 raise of what they cannot read
        return f"plan.schema or expanded is none ({(str(error).splitlines() or ['unreadable'])[0]})"
    presets = [one.preset for one in read.job.endpoint]
    checks = {
        "generation is less than 1": read.generation < 1,
        "format is less than 1": read.format < 1,
        "job.endpoint names none": not read.job.endpoint,
        "job.endpoint.preset is no service": not {*presets} <= {None, *PRESETS},
        "plan.shards do not add up to plan.rows": sum(shard.rows for shard in plan.shards) != plan.rows,
        "plan.shards has one without rows": any(shard.rows < 1 for shard in plan.shards),
        "plan.malformed_count is not possible": not 0 <= plan.malformed_count <= plan.rows,
        "plan.vectors names other columns": not set(plan.vectors) <= set(VECTOR_COLUMNS),
    }
    return next((text for text, is_so in checks.items() if is_so), None)


def _problem(value: Any, wanted: Any, where: str) -> str | None:
    """What is wrong with a JSON value that is to be of a type, in a few words; None when nothing is."""
    if isinstance(wanted, Mapping) or dataclasses.is_dataclass(wanted):
        return _table_problem(value, wanted, where)
    kind, inner = typing.get_origin(wanted) or wanted, typing.get_args(wanted)
    if kind in (types.UnionType, typing.Union):
        found = [_problem(value, one, where) for one in inner]
        # of a table that one of them may be, what is wrong inside it says more
        return (
            None if None in found else next((text for text in found if text and "unknown" in text), found[0])
        )
    if kind in (list, tuple):
        if not isinstance(value, list):
            return f"{where} is no list"
        return next((text for one in value if (text := _problem(one, inner[0], where))), None)
    if kind is dict:
        if not isinstance(value, dict):
            return f"{where} is no table"
        values = ((f"{where}.{name}", one) for name, one in value.items())
        return next((text for name, one in values if (text := _problem(one, inner[1], name))), None)
    if kind is Any or isinstance(value, (int, float) if kind is float else kind):
        return None
    return f"{where} = {value!r:.80} is of another type"


def _table_problem(value: Any, wanted: Any, where: str) -> str | None:
    known = wanted if isinstance(wanted, Mapping) else _fields(wanted)
    if not isinstance(value, dict):
        return f"{where} is no table"
    inside = f"{where}." if where else ""
    for name in value:
        if name not in known:
            return f"unknown {inside}{name}"
    for name, (kind, *needed) in known.items():
        if name in value:
            if (text := _problem(value[name], kind, f"{inside}{name}")) is not None:
                return text
        elif needed:
            return f"no {inside}{name}"
    return None


@cache
def _fields(section: type) -> dict[str, tuple[Any]]:
    return {name: (kind,) for name, kind in typing.get_type_hints(section).items()}


def _release(version: str) -> tuple[int, ...]:
    """`(0, 1, 0)` of `0.1.0`."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
