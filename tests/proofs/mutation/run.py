"""Mutants of the protocol's readers, the journal and the controller: how many do the tests kill?

    python -m tests.proofs.mutation.run                     # all
    python -m tests.proofs.mutation.run --only journal --every 5

A mutant is one small change: a comparison or a boolean turned round, a number or a word changed, a
statement left out, a condition negated, a result replaced by None. The tests of the module run on each in
a forked process; a mutant is killed when one fails, or when they take much too long.
"""

from __future__ import annotations

import ast
import copy
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT
from tests.proofs.arguments import ended, one_of, options

TIMEOUT_S = 90
MODULES = {
    "classifier": (
        [
            "batchlab/protocol/outcomes/facts.py",
            "batchlab/protocol/outcomes/envelopes.py",
            "batchlab/protocol/outcomes/error_members.py",
            "batchlab/protocol/outcomes/wordings.py",
            "batchlab/protocol/outcomes/table.py",
            "batchlab/protocol/outcomes/classify.py",
        ],
        [
            "tests/protocol/outcomes/test_facts.py",
            "tests/protocol/outcomes/test_outcomes.py",
            "tests/protocol/outcomes/test_outcome_truth_table.py",
        ],
    ),
    "assembler": (
        [
            "batchlab/protocol/assembler.py",
            "batchlab/protocol/sse.py",
            "batchlab/protocol/finish.py",
        ],
        ["tests/protocol/test_assembler.py", "tests/protocol/test_sse.py", "tests/protocol/test_finish.py"],
    ),
    "usage": (["batchlab/protocol/usage.py"], ["tests/protocol/test_usage.py"]),
    "journal": (["batchlab/store/journals/journal.py"], ["tests/store/journals/test_journal.py"]),
    "controller": (
        [f"batchlab/dispatch/rate/{name}.py" for name in ("controller", "window", "breaker", "rates")],
        ["tests/dispatch/rate/test_controller.py", "tests/proofs/sim/test_simulation.py"],
    ),
}
_COMPARE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
}


def mutants(source: str) -> Iterator[tuple[str, str]]:
    """(what was changed, the changed source), for every change."""
    tree = ast.parse(source)
    human = _human_texts(tree)
    for index, node in enumerate(ast.walk(tree)):
        for kind in _changes(node, human):
            changed = copy.deepcopy(tree)
            twin = next(other for number, other in enumerate(ast.walk(changed)) if number == index)
            _change(changed, twin, kind)
            line = getattr(node, "lineno", 0)
            yield (
                f"line {line}: {kind}: {ast.unparse(node)[:70]}",
                ast.unparse(ast.fix_missing_locations(changed)),
            )


def _human_texts(tree: ast.AST) -> set[int]:
    """Docstrings, messages and descriptions: words for people decide nothing."""
    texts: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            texts.add(id(node.value))
        if isinstance(node, ast.JoinedStr | ast.Raise | ast.Assert):
            texts |= {id(part) for part in ast.walk(node)}
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Line":
            texts |= {id(node.args[0]), id(node.args[3])}  # its description in the table, and who was read
            texts |= {id(part) for part in ast.walk(node.args[3])}
        if isinstance(node, ast.Dict) and all(
            isinstance(value, ast.Constant) and isinstance(value.value, str) for value in node.values
        ):
            texts |= {id(value) for value in node.values}  # a table of words: the service that says each
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_RFC":
            texts.add(id(node.value))
        if isinstance(node, ast.AnnAssign | ast.arg) and node.annotation is not None:
            texts |= {id(part) for part in ast.walk(node.annotation)}
        if isinstance(node, ast.FunctionDef) and node.returns is not None:
            texts |= {id(part) for part in ast.walk(node.returns)}
        if isinstance(node, ast.ClassDef | ast.FunctionDef):  # frozen, slots: no behaviour of ours
            texts |= {id(part) for decorator in node.decorator_list for part in ast.walk(decorator)}
        if (
            isinstance(node, ast.Subscript)
            and isinstance(node.value, ast.Name)
            and node.value.id == "Literal"
        ):
            texts |= {id(part) for part in ast.walk(node)}
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _is_prose(node.value):
            texts.add(id(node))
    return texts


def _is_prose(text: str) -> bool:
    return " " in text and not any(sign in text for sign in "|\\^*[")


def _changes(node: ast.AST, human: set[int]) -> list[str]:
    if id(node) in human:
        return []
    match node:
        case ast.Compare() if len(node.ops) == 1 and type(node.ops[0]) in _COMPARE:
            return ["comparison"]
        case ast.BoolOp():
            return ["and/or"]
        case ast.UnaryOp(op=ast.Not()):
            return ["not left out"]
        case ast.BinOp() if type(node.op) in _ARITHMETIC:
            return ["arithmetic"]
        case ast.Constant(value=bool() | int() | float() | str()) if node.value != "":
            return ["constant"]
        case ast.If() | ast.IfExp() | ast.While():
            return ["condition negated"]
        case ast.Return(value=ast.expr()) if not isinstance(node.value, ast.Constant):
            return ["returns None"]
        case ast.AugAssign() | ast.Expr(value=ast.Call()):
            return ["left out"]
        case ast.Assign(targets=[ast.Attribute()]):
            return ["left out"]
    return []


def _change(tree: ast.AST, node: ast.AST, kind: str) -> None:
    match node:
        case ast.Compare():
            node.ops = [_COMPARE[type(node.ops[0])]()]
        case ast.BoolOp():
            node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        case ast.BinOp():
            node.op = _ARITHMETIC[type(node.op)]()
        case ast.Constant(value=bool()):
            node.value = not node.value
        case ast.Constant(value=int()):
            node.value += 1
        case ast.Constant(value=float()):
            node.value = node.value * 2 or 1.0
        case ast.Constant(value=str()):
            node.value = f"XX{node.value}"
        case ast.If() | ast.IfExp() | ast.While():
            node.test = ast.UnaryOp(op=ast.Not(), operand=node.test)
        case ast.Return():
            node.value = ast.Constant(value=None)
        case ast.UnaryOp():
            _replace(tree, node, node.operand)
        case ast.stmt():
            _replace(tree, node, ast.Pass())
    del kind


def _replace(tree: ast.AST, old: ast.AST, new: ast.AST) -> None:
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, name, new)
                return
            if isinstance(value, list) and any(item is old for item in value):
                value[next(number for number, item in enumerate(value) if item is old)] = new
                return


def killed(tree: Path, tests: list[str]) -> bool:
    """Whether the tests fail, or hang, on the source in `tree`."""
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        os.chdir(tree)
        silent = os.open(os.environ.get("MUTANT_LOG", os.devnull), os.O_RDWR | os.O_CREAT)
        for descriptor in (0, 1, 2):
            os.dup2(silent, descriptor)
        sys.path[:] = [str(tree), *(entry for entry in sys.path if Path(entry or ".").resolve() != ROOT)]
        for name in [name for name in sys.modules if name.split(".")[0] in {"batchlab", "tests"}]:
            del sys.modules[name]
        os.environ["PYTHONPATH"] = str(tree)
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        sys.dont_write_bytecode = True
        import pytest

        code = pytest.main(
            [
                "-x",
                "-q",
                "--assert=plain",  # nobody reads them, and rewriting every test costs a second a mutant
                "-W",
                "ignore::pytest.PytestAssertRewriteWarning",
                "-p",
                "no:cacheprovider",
                "--hypothesis-seed=1",
                "-m",
                "not ray",  # the short forms of proofs, which are left out elsewhere, too
                *tests,
            ]
        )
        os._exit(int(code))
    began = time.monotonic()
    while time.monotonic() - began < TIMEOUT_S:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) != 0
        time.sleep(0.02)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return True


def run(name: str, every: int, first: int) -> tuple[int, list[str]]:
    """How many mutants of a module were tried, and which survived."""
    paths, tests = MODULES[name]
    with tempfile.TemporaryDirectory(prefix="batchlab-mutants-") as folder:
        tree = Path(folder)
        for part in ("batchlab", "tests", "sample_data", "jobs"):
            shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
        for file in ("pyproject.toml", "README.md", "CHANGELOG.md"):
            shutil.copy(ROOT / file, tree / file)
        assert not killed(tree, tests), f"the tests of {name} fail without any mutant"
        tried, survivors = 0, []
        for path in paths:
            source = (ROOT / path).read_text()
            for number, (what, changed) in enumerate(mutants(source)):
                if number % every != first % every:
                    continue
                tried += 1
                (tree / path).write_text(changed)
                if not killed(tree, tests):
                    survivors.append(f"{path} {what}")
                    print("-", survivors[-1], flush=True)
            (tree / path).write_text(source)
        return tried, survivors


def main() -> None:
    """Prints the survivors of each module, and its share of killed mutants; exits with 1 under 95 %."""
    given = options(__doc__, only=one_of(MODULES), every=1, first=0)
    import aiohttp  # noqa: F401 - once, before the forks
    import hypothesis  # noqa: F401
    import orjson  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import pytest  # noqa: F401

    few = []
    for name in MODULES:
        if given.only in (None, name):
            tried, survivors = run(name, given.every, given.first)
            share = 1 - len(survivors) / max(tried, 1)
            few += [f"{name}: under 95 %"] if share < 0.95 else []
            print(f"{name}: {tried} mutants, {share:.1%} killed", flush=True)
    ended(few)


if __name__ == "__main__":
    main()
