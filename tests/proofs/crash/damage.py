"""`verify` and the next run against every kind of damage to a run directory: found, or harmless.

python -m tests.proofs.crash.damage
python -m tests.proofs.crash.damage --every 40

A part, a journal or `checksums.log` is lost, emptied, cut, changed, doubled, swapped or taken from another
run; a record of a log is lost, doubled, cut, changed or moved; each value of `run.json` is lost, null, of
another type, negative, huge or unknown. Then `verify` reads the run, and the same command, or `retry`, goes
on with it. A case is a problem when

- anything but one of our own errors is raised, or nothing ends within a minute;
- a row that was answered is asked again, and neither `verify` nor the run has said a word;
- an answer that was there is another one in the end, and `verify` passes.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchlab.errors import BatchlabError
from batchlab.job import Job
from batchlab.job.file import job_from
from batchlab.looking.verify import verify_run
from batchlab.records import Completion
from batchlab.runner.execute import execute
from batchlab.runner.rows.retry_failed import retry_run
from batchlab.runner.run_options import RunOptions
from batchlab.store.view import RunView
from tests.conftest import CANARY, simulating
from tests.proofs.arguments import ended, one_of, options

ROWS, SHARD_ROWS, HALF = 12, 4, 6
RUNS = ("finished", "halfway", "killed")
ROOMS = ("parts", "journals", "checksums", "manifest")
HUNG_S = 60


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of damage to one of the `RUNS`: `killed` is `halfway`, and nothing was noted as it was left."""

    room: str
    name: str
    run: str
    damage: Callable[[Path, Path], None]  # the run, and another one of the same rows
    retry: bool = False  # go on by `retry`, which takes the job from run.json


def _edited(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def _file_cases(room: str, run: str, name: str) -> Iterator[Case]:
    """Damage to one file as a whole."""

    def at(change: Callable[[bytes], bytes]) -> Callable[[Path, Path], None]:
        return lambda root, _: _edited(root / name, change)

    def flipped(tenth: int) -> Callable[[bytes], bytes]:
        def change(data: bytes) -> bytes:
            place = min(len(data) - 1, len(data) * tenth // 10)
            return data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]

        return change

    yield Case(room, f"{name} is gone", run, lambda root, _: (root / name).unlink())
    yield Case(room, f"{name} is empty", run, at(lambda _: b""))
    yield Case(room, f"{name} is cut in the middle", run, at(lambda data: data[: len(data) // 2]))
    yield Case(room, f"{name} lacks its last byte", run, at(lambda data: data[:-1]))
    yield Case(room, f"{name} has bytes after its end", run, at(lambda data: data + b"\0more"))
    yield Case(room, f"{name} is twice itself", run, at(lambda data: data + data))
    yield Case(room, f"{name} is zeros", run, at(lambda data: bytes(len(data))))
    yield Case(
        room, f"{name} is of another run", run, lambda root, other: shutil.copy(other / name, root / name)
    )
    for tenth in range(11):
        yield Case(room, f"{name} has a bit flipped at {tenth}/10", run, at(flipped(tenth)))


def _record_cases(room: str, run: str, name: str, records: int) -> Iterator[Case]:
    """Damage to single records of a log."""

    def at(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Path, Path], None]:
        return lambda root, _: _edited(root / name, lambda data: b"".join(change(data.splitlines(True))))

    for n in range(records):
        yield Case(room, f"{name} lacks record {n}", run, at(lambda all_, n=n: all_[:n] + all_[n + 1 :]))
        yield Case(room, f"{name} has record {n} twice", run, at(lambda all_, n=n: all_[: n + 1] + all_[n:]))
        yield Case(
            room,
            f"{name} has half of record {n}",
            run,
            at(lambda all_, n=n: [*all_[:n], all_[n][: len(all_[n]) // 2], *all_[n + 1 :]]),
        )
        yield Case(
            room,
            f"{name} has another digit in record {n}",
            run,
            at(lambda all_, n=n: [*all_[:n], all_[n][:-4] + b"7" + all_[n][-3:], *all_[n + 1 :]]),
        )
        yield Case(room, f"{name} ends after record {n}", run, at(lambda all_, n=n: all_[: n + 1]))
        yield Case(
            room,
            f"{name} begins with record {n}",
            run,
            at(lambda all_, n=n: [all_[n], *all_[:n], *all_[n + 1 :]]),
        )


def _part(index: int) -> str:
    return f"completions/part-{index:06d}.parquet"


def _swap(root: Path, one: str, other: str) -> None:
    kept = (root / one).read_bytes()
    shutil.copy(root / other, root / one)
    (root / other).write_bytes(kept)


def _part_cases() -> Iterator[Case]:
    for index in range(ROWS // SHARD_ROWS):
        yield from _file_cases("parts", "finished", _part(index))
    yield from _file_cases("parts", "halfway", _part(0))
    for run, first, second in (("finished", 0, 1), ("finished", 1, 7), ("halfway", 0, 1), ("halfway", 0, 2)):
        yield Case(
            "parts",
            f"{_part(first)} is there as {_part(second)} too",
            run,
            lambda root, _, first=first, second=second: shutil.copy(
                root / _part(first), root / _part(second)
            ),
        )
    yield Case("parts", "two parts are swapped", "finished", lambda root, _: _swap(root, _part(0), _part(1)))
    for name in ("part-000000 (1).parquet", "part-0000000.parquet", "part-000000.parquet.bak", "x.parquet"):
        yield Case(
            "parts",
            f"a copy is called {name}",
            "finished",
            lambda root, _, name=name: shutil.copy(root / _part(0), root / "completions" / name),
        )
    yield Case(
        "parts",
        "a part of another run is there for rows that are pending",
        "halfway",
        lambda root, other: shutil.copy(other.parent / "finished" / _part(2), root / _part(2)),
    )
    for run in ("finished", "halfway"):
        yield Case("parts", f"{run}: no parts", run, lambda root, _: shutil.rmtree(root / "completions"))
        yield Case("parts", f"{run}: no journals", run, lambda root, _: shutil.rmtree(root / "journal"))


def _journal_cases(run: str, records: int) -> Iterator[Case]:
    name = "journal/000001.1.log"
    yield from _file_cases("journals", run, name)
    yield from _file_cases("journals", run, "journal/000001.1.due")
    yield from _record_cases("journals", run, name, records)
    for other in ("000001.2.log", "000001.7.log", "000002.1.log", "000000.1.log", "000009.1.log", "1.1.log"):
        yield Case(
            "journals",
            f"a copy of the journal is called {other}",
            run,
            lambda root, _, other=other: shutil.copy(root / name, root / "journal" / other),
        )
        yield Case(
            "journals",
            f"the journal is called {other}",
            run,
            lambda root, _, other=other: (root / name).rename(root / "journal" / other),
        )


def _paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place in a JSON value, tables and the first two of each list included."""
    inside = (
        value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    )
    for name, one in inside:
        yield (*path, name)
        yield from _paths(one, (*path, name))


def _manifest_cases(data: Any) -> Iterator[Case]:
    def at(path: tuple[str | int, ...], change: Callable[[Any, Any], None]) -> Callable[[Path, Path], None]:
        def damage(root: Path, _: Path) -> None:
            told = json.loads((root / "run.json").read_bytes())
            inside = told
            for name in path[:-1]:
                inside = inside[name]
            change(inside, path[-1])
            (root / "run.json").write_text(json.dumps(told))

        return damage

    def put(value: Any) -> Callable[[Any, Any], None]:
        return lambda inside, name: inside.__setitem__(name, value)

    for number, path in enumerate(_paths(data)):
        where = ".".join(map(str, path))
        kinds: dict[str, Callable[[Any, Any], None]] = {
            "gone": lambda inside, name: inside.pop(name),
            "null": put(None),
            "a word": put("odd"),
            "a table": put({"odd": 1}),
            "negative": put(-7),
            "huge": put(10**30),
            "a list": put([7]),
        }
        for kind, change in kinds.items():
            yield Case("manifest", f"{where} is {kind}", "halfway", at(path, change), bool(number % 2))
    for path in ((), ("job",), ("job", "input"), ("job", "endpoint", 0), ("plan",), ("settings",)):
        yield Case("manifest", f"unknown {path}", "halfway", at((*path, "odd"), put(1)), retry=True)


class Bench:
    """Runs that are damaged, and a provider for those that go on."""

    def __init__(self, folder: Path, base_url: str) -> None:
        self._base_url = base_url
        self.kept, self.runs = folder / "kept", folder / "runs"
        os.chdir(folder)
        lines = [json.dumps({"n": n, "text": f"The {n}th remark."}) + "\n" for n in range(ROWS)]
        Path("rows.jsonl").write_text("".join(lines))
        for home, system in (("own", None), ("others", "Be another.")):
            for name in RUNS:
                self._made(name, home, system)
        self.before = {name: self._answers(self.kept / "own" / name) for name in RUNS}
        self.records = len((self.kept / "own/halfway/journal/000001.1.log").read_bytes().splitlines())
        self.notes = {
            name: len((self.kept / "own" / name / "checksums.log").read_bytes().splitlines())
            for name in ("finished", "halfway")
        }

    def _made(self, name: str, home: str, system: str | None) -> None:
        only = None if name == "finished" else frozenset(range(HALF))
        with contextlib.redirect_stderr(io.StringIO()):
            execute(self._job(name, system), RunOptions(only=only, progress="none", quiet=True))
        target = self.kept / home / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(self.runs / name, target)
        if name == "killed":
            notes = (target / "checksums.log").read_bytes().splitlines(keepends=True)
            (target / "checksums.log").write_bytes(b"".join(one for one in notes if b'"shard"' not in one))

    def _job(self, name: str, system: str | None = None) -> Job:
        return job_from(
            {},
            {
                "input.path": "rows.jsonl",
                "endpoint.base_url": self._base_url,
                "endpoint.api_key_env": "SIMULATOR_KEY",
                "request.model": "sim",
                "request.prompt": "{text}",
                "request.system": system,
                "request.params.max_tokens": 5,
                "limits.max_attempts": 1,
                "output.run_dir": str(Path("runs") / name),
                "output.shard_rows": SHARD_ROWS,
            },
        )

    @staticmethod
    def _answers(run: Path) -> dict[int, str | None]:
        found = RunView.open(run).all_results()
        return {one.row_id: one.reply.completion for one in found if isinstance(one, Completion)}

    def cases(self) -> list[Case]:
        """All of them."""
        found = [*_part_cases()]
        for run in ("halfway", "killed"):
            found += _journal_cases(run, self.records)
        for run, records in self.notes.items():
            found += _file_cases("checksums", run, "checksums.log")
            found += _record_cases("checksums", run, "checksums.log", records)
        return [*found, *_manifest_cases(json.loads((self.kept / "own/halfway/run.json").read_bytes()))]

    def tried(self, case: Case) -> tuple[str, str | None]:
        """`found`, `refused`, `said` or `harmless`; and what is wrong, if anything is."""
        run = self.runs / case.run
        shutil.rmtree(self.runs, ignore_errors=True)
        shutil.copytree(self.kept / "own" / case.run, run)
        case.damage(run, self.kept / "others" / case.run)
        usual = 0 if case.run == "finished" else 3
        try:
            verified = _ended(lambda: verify_run(str(run)).exit_code)
            sent, said = self._gone_on(case, run)
        except Exception as error:  # noqa: BLE001 - that is what we look for
            return "problem", f"{type(error).__name__}: {error}"
        if sent is None:
            return ("found" if verified != usual else "refused"), None
        word = "found" if verified != usual else "said" if _tells(said) else "harmless"
        before = self.before[case.run]
        if sent > ROWS - len(before) and word == "harmless":
            return word, f"{sent} requests for {ROWS - len(before)} rows, in silence"
        after = self._answers(run) if word == "harmless" else before
        changed = [row for row, text in before.items() if after.get(row) != text]
        if changed and word == "harmless":
            return word, f"other answers of the rows {changed}, in silence"
        return word, None

    def _gone_on(self, case: Case, run: Path) -> tuple[int | None, str]:
        """Requests that the next run has sent, None when it was refused; and what was said."""
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            if case.retry:
                sent = _ended(lambda: retry_run(str(run), RunOptions(progress="none")).sent, none=True)
            else:
                sent = _ended(
                    lambda: execute(self._job(case.run), RunOptions(progress="none")).sent, none=True
                )
        return sent, said.getvalue()


def _ended(act: Callable[[], int], *, none: bool = False) -> int | None:
    """What it gives; 1, or None, when it ends with an error of ours. Raises TimeoutError after a minute."""

    def late(*_: object) -> None:
        raise TimeoutError(f"not done after {HUNG_S} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(HUNG_S)
    try:
        return act()
    except BatchlabError:
        return None if none else 1
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _tells(said: str) -> bool:
    return any(word in said for word in ("cut off with", "in flight", "lost", "damaged", "cannot be gone on"))


def damaged(*, every: int = 1, only: str | None = None, first: int = 0) -> tuple[Counter[str], list[str]]:
    """How many cases ended how, and every problem."""
    ends: Counter[str] = Counter()
    problems: list[str] = []
    here = os.getcwd()
    os.environ["SIMULATOR_KEY"] = CANARY
    with tempfile.TemporaryDirectory(prefix="batchlab-damage-") as folder, simulating() as server:
        try:
            bench = Bench(Path(folder), server.base_url)
            cases = [case for case in bench.cases() if only in (None, case.room)]
            for case in cases[first::every]:
                end, problem = bench.tried(case)
                ends[f"{case.room}: {'problem' if problem else end}"] += 1
                if problem:
                    problems.append(f"{case.run}: {case.name}: {problem}")
        finally:
            os.chdir(here)
    return ends, problems


def main() -> None:
    """Prints how the cases ended; exits with 1 when one of them is a problem."""
    given = options(__doc__, every=1, first=0, only=one_of(ROOMS))
    ends, problems = damaged(every=given.every, first=given.first, only=given.only)
    print(f"{ends.total()} kinds of damage; " + ", ".join(f"{name} {n}" for name, n in sorted(ends.items())))
    print(f"problems {len(problems)}", flush=True)
    ended(problems, most=60)


if __name__ == "__main__":
    main()
