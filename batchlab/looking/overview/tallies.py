"""The tallies of a run's shards: each part is read once, however often charts are drawn of the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeAlias

from batchlab.arrow import pa, pc
from batchlab.errors import BatchlabError, UsageError
from batchlab.looking.money.books import input_table
from batchlab.looking.overview.columns import few_names
from batchlab.looking.overview.tally import GROUPS, READ, Tally, tally_of, together
from batchlab.protocol.redact import printable
from batchlab.records import Shard
from batchlab.result_columns import RESULT_COLUMNS
from batchlab.store.parts import part_tables
from batchlab.store.view import RunView

BATCH_ROWS = 65_536  # of columns that hold no prompt and no answer
EXAMPLES, MOST_CLASSES = 3, 100
LOOKS = 5  # shards that are read for examples of an error class: its messages may all be the same
MESSAGE_CHARS = 500
_TOLD = ("row_id", "custom_id", "status", "error_class", "error_code", "error_message")
Key: TypeAlias = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Example:
    """A failed row, and what was said of it."""

    row_id: int
    custom_id: str
    code: int | None
    message: str


@dataclass(slots=True)
class Kept:
    """What is kept of a shard.

    Attributes:
        key: of what it was read from: another means that there is more.
        examples: failed rows by error class, each with another message.
    """

    key: Key
    tally: Tally
    examples: dict[str, list[Example]] = field(default_factory=dict)


class Tallies:
    """The tallies of one run, to be asked for again and again while it grows.

    Attributes:
        problems: shards that cannot be read, each in a line; their rows are in no chart.
    """

    def __init__(self, wanted: Sequence[str] = ()) -> None:
        """For a run whose rows are grouped by columns that have few values, and by those that are wanted."""
        self._wanted = tuple(wanted)
        self._kept: dict[int, Kept] = {}
        self._of: Key = ()
        self._columns: tuple[str, ...] = ()
        self._looked: Counter[str] = Counter()
        self.problems: list[str] = []

    def of(self, run: RunView) -> Tally:
        """That of all rows of the run that have a final result now; only what is new is read.

        Raises:
            UsageError: a wanted column is none of the run's.
        """
        self._begin(run)
        found: dict[int, Kept] = {}
        problems: list[str] = []
        opened = run.unsealed()
        parts = run.part_sizes()
        for shard in run.manifest.plan.shards:
            key = _key(run, shard.index, is_open=shard.index in opened, size=parts.get(shard.index, -1))
            if key is None:
                continue
            kept = self._kept.get(shard.index)
            if kept is None or kept.key != key:
                try:
                    kept = self._read(run, shard, key, is_open=shard.index in opened)
                except (BatchlabError, OSError, pa.ArrowException) as error:
                    problems.append(printable(f"{shard.rows:,} rows are in no chart: {error}", 300))
                    continue
            found[shard.index] = kept
        self._kept, self.problems = found, problems
        return together(one.tally for one in found.values())

    def examples(self) -> dict[str, list[Example]]:
        """A few failed rows of each error class; of what `of` has found last."""
        made: dict[str, list[Example]] = {}
        for kept in self._kept.values():
            for name, own in kept.examples.items():
                mine = made.setdefault(name, [])
                said = {one.message for one in mine}
                mine += [one for one in own if one.message not in said][: EXAMPLES - len(mine)]
        return made

    def _begin(self, run: RunView) -> None:
        """Forgets what is of another generation of the run, or was grouped by fewer columns."""
        manifest = run.manifest
        of = (run.place, manifest.run_id, manifest.generation, manifest.created)
        columns = self._columns
        if of != self._of or not columns:
            wanted = [one for one in self._wanted if _is_column(run, one) and one not in GROUPS]
            few = [one for one in few_names(run) if one not in (*wanted, *READ, *GROUPS)]
            columns = (*wanted, *few)
        if (of, columns) != (self._of, self._columns):
            self._of, self._columns, self._kept, self._looked = of, columns, {}, Counter()

    def _read(self, run: RunView, shard: Shard, key: Key, *, is_open: bool) -> Kept:
        manifest, job = run.manifest, run.manifest.job
        plan = manifest.plan
        model = job.request.model or (plan.models[0] if len(plan.models) == 1 else "?")
        prefix = manifest.prefix
        names = [prefix + name for name in READ]
        if is_open:
            whole = run.shard_tables(shard, partial(input_table, run, shard, needed=False))
            tables = [_bare(table, prefix) for table in whole]
        else:
            more = [prefix + name if name in RESULT_COLUMNS else name for name in self._columns]
            read = part_tables(run.part(shard.index), list({*names, *more}), batch_rows=BATCH_ROWS)
            tables = [_bare(table, prefix) for table in read]
        if not tables:
            return Kept(key, Tally())
        table = pa.concat_tables(tables).unify_dictionaries()
        columns = [name for name in self._columns if name in table.column_names]
        kept = Kept(key, tally_of(table, columns, model=model))
        if any(self._looked[name] < LOOKS for name in kept.tally.errors):
            self._looked.update(kept.tally.errors.keys())
            told = [prefix + name for name in _TOLD]
            again = part_tables(run.part(shard.index), told, batch_rows=BATCH_ROWS) if not is_open else ()
            failed = (_bare(one, prefix) for one in again) if not is_open else iter(tables)
            kept.examples = _examples(failed)
        return kept


def _is_column(run: RunView, name: str) -> bool:
    """True of a name by which rows can be grouped. Raises UsageError of any other."""
    plan, expanded = run.manifest.plan, run.manifest.expanded
    have = (*plan.names_out, *(expanded.names if expanded is not None else ()))
    if name in have or name in RESULT_COLUMNS or name in GROUPS:
        return True
    raise UsageError(f"{run.place}: {name}: no such column; there are {', '.join((*GROUPS, *have))}.")


def _key(run: RunView, index: int, *, is_open: bool, size: int | None) -> Key | None:
    """What tells whether a shard has more than before; None when there is nothing of it."""
    if not is_open:
        if size == -1:
            return None
        part = run.part(index)
        try:
            return ("part", size, part.stat().st_mtime_ns if isinstance(part, Path) else 0)
        except OSError:
            return None
    sizes = []
    for path in run.layout.journal_files(index):
        try:
            sizes.append((path.name, path.stat().st_size))
        except OSError:  # it is sealed just now
            continue
    return ("open", size, *sizes)


def _bare(table: pa.Table, prefix: str) -> pa.Table:
    """The table with result columns by their bare names, and no input column that is called like one."""
    names: list[str] = table.column_names
    if not prefix:
        return table
    kept = [name for name in names if name.startswith(prefix) or name not in RESULT_COLUMNS]
    bare = [name.removeprefix(prefix) for name in kept]
    return table.select(kept).rename_columns(
        [one if one in RESULT_COLUMNS else name for one, name in zip(bare, kept, strict=True)]
    )


def _examples(tables: Iterator[pa.Table]) -> dict[str, list[Example]]:
    found: dict[str, list[Example]] = {}
    for table in tables:
        failed = table.filter(pc.equal(table["status"].cast(pa.string()), "failed"))
        have = [name for name in _TOLD if name in failed.column_names]
        for row in failed.select(have).to_pylist():
            name = row.get("error_class") or "?"
            own = found.setdefault(name, []) if len(found) < MOST_CLASSES else found.get(name, [])
            message = (row.get("error_message") or "")[:MESSAGE_CHARS]
            if len(own) < EXAMPLES and all(one.message != message for one in own):
                own.append(Example(row["row_id"], str(row["custom_id"]), row.get("error_code"), message))
    return found
