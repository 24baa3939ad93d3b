"""The house keeps its own rules; import-linter holds those about layers."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions

from tests.conftest import ROOT
from tests.proofs.house import PACKAGE, circles, modules_of


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
