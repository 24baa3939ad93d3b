"""The house keeps its own rules; import-linter holds those about layers."""

from __future__ import annotations

import ast
import re
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

from batchlab.job.index import SECTIONS, settings_of
from tests.conftest import ROOT
from tests.proofs.house import PACKAGE, Module, circles, modules_of


def declared() -> set[str]:
    """Names of what pyproject.toml asks for: dependencies and extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(one for extra in project["optional-dependencies"].values() for one in extra),
    ]
    return {re.split(r"[\[<>=;\s]", one)[0].lower().replace("_", "-") for one in wanted}


def test_no_modules_import_each_other():
    """Imports inside functions and for types are counted."""
    assert circles(modules_of(ROOT)) == []


def test_what_is_imported_is_declared():
    """Of what is installed here: an extra that is not cannot be looked up."""
    owners = packages_distributions()
    imported = {
        name.split(".")[0]
        for module in modules_of(ROOT).values()
        for node in ast.walk(module.tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    foreign = imported - set(sys.stdlib_module_names) - {PACKAGE}
    distributions = {
        name: {owner.lower().replace("_", "-") for owner in owners.get(name, ())} for name in foreign
    }
    undeclared = {name for name, theirs in distributions.items() if theirs and not theirs & declared()}
    assert undeclared == set()


DOTTED = re.compile(r"`([a-z_][a-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)+)(?:\(\))?`")
FILES = (".html", ".json", ".jsonl", ".lock", ".log", ".parquet", ".py", ".toml")
WIRE_WORDS = {"chat.completion", "errors.data", "openai.azure.us"}  # services', not ours


def members(modules: dict[str, Module]) -> dict[str, set[str]]:
    """What each module and each class of ours has, by its dotted name."""
    found: dict[str, set[str]] = {name: set() for name in modules}

    def bound(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                yield from (one.id for one in ast.walk(target) if isinstance(one, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id

    def enter(name: str, body: list[ast.stmt]) -> None:
        for node in body:
            found.setdefault(name, set()).update(bound(node))
            if isinstance(node, ast.ImportFrom) and name in modules and modules[name].is_package:
                found[name] |= {alias.asname or alias.name for alias in node.names}  # the room's own
            if isinstance(node, ast.ClassDef):
                enter(f"{name}.{node.name}", node.body)
                found[f"{name}.{node.name}"] |= {
                    one.attr
                    for one in ast.walk(node)
                    if isinstance(one, ast.Attribute)
                    and isinstance(one.ctx, ast.Store)
                    and isinstance(one.value, ast.Name)
                    and one.value.id == "self"
                }
            elif isinstance(node, ast.If | ast.Try):
                enter(name, [*node.body, *node.orelse])

    for name, module in modules.items():
        enter(name, module.tree.body)
        if "." in name:
            room, own = name.rsplit(".", 1)
            found[room].add(own)
    return found


def texts(root: Path, modules: dict[str, Module]) -> Iterator[tuple[str, str]]:
    """Where each text of ours for readers of the code stands, and the text: docstrings, comments, guide."""
    for module in modules.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield module.name, ast.get_docstring(node) or ""
        with module.path.open("rb") as file:
            for token in tokenize.tokenize(file.readline):
                if token.type == tokenize.COMMENT:
                    yield module.name, token.string
    for page in sorted((root / PACKAGE / "guide").glob("*.md")):
        yield f"{PACKAGE}.guide.{page.stem}", page.read_text(encoding="utf-8")


def is_there(name: str, known: dict[str, set[str]]) -> bool | None:
    """Whether `name` is of a module, a class or a member of ours; None when it does not begin with a module.

    It may leave out the rooms before it, and a value may go by the name of the module of its class.
    """
    first, *rest = name.split(".")
    begins = [one for one in known if one == first or one.endswith(f".{first}")]
    for at in [*begins, *(f"{one}.{first.title().replace('_', '')}" for one in begins)]:
        for step in rest:
            if step not in known.get(at, ()):
                break
            at = f"{at}.{step}"
        else:
            return True
    return False if begins else None


def test_names_in_docstrings_exist():
    """A dotted name in backticks that begins with one of our modules or rooms leads to something."""
    modules = modules_of(ROOT)
    known = members(modules)
    of_jobs = {
        f"{section}.{name}"
        for section in SECTIONS
        for one in settings_of(section)
        for name in (one.name, one.key)
    }
    lost = {
        (where, name)
        for where, text in texts(ROOT, modules)
        for name in DOTTED.findall(text)
        if not name.endswith(FILES)
        and name not in WIRE_WORDS
        and name not in of_jobs
        and is_there(name, known) is False
    }
    assert lost == set()
