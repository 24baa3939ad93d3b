"""What the house measures: lines, rooms, large classes, wide constructors, lazy imports, circles.

python -m tests.proofs.house                  # of this tree
python -m tests.proofs.house DIR DIR          # side by side, of directories that hold a `batchlab/`
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.proofs.arguments import Word, options

MOST_ATTRIBUTES = 12
MOST_PARAMETERS = 7
MOST_LINES = 400
PACKAGE = "batchlab"


@dataclass(frozen=True, slots=True)
class Module:
    """One module of the package: its dotted name, its file, its tree."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    @property
    def lines(self) -> int:
        return len(self.path.read_text(encoding="utf-8").splitlines())


def modules_of(root: Path) -> dict[str, Module]:
    """Every module below `root/batchlab`, by its dotted name."""
    found = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = Module(name, path, ast.parse(path.read_text(encoding="utf-8")))
    return found


def imports_of(module: Module, names: Mapping[str, Module]) -> Iterator[tuple[str, ast.stmt]]:
    """What of the package a module imports, at whatever level: lazily and for types only, too."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name in names:
                    yield alias.name, node
        elif isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                if whole in names:
                    yield whole, node
                elif node.module in names:
                    yield node.module, node


def circles(names: Mapping[str, Module]) -> list[list[str]]:
    """Groups of modules that import each other, lazy and type-checking imports counted (Tarjan)."""
    after = {
        name: {to for to, _ in imports_of(module, names) if to != name} for name, module in names.items()
    }
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(name: str) -> None:
        number[name] = low[name] = len(number)
        stack.append(name)
        for to in after[name]:
            if to not in number:
                visit(to)
                low[name] = min(low[name], low[to])
            elif to in stack:
                low[name] = min(low[name], number[to])
        if low[name] == number[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                groups.append(sorted(group))

    sys.setrecursionlimit(10_000)
    for name in after:
        if name not in number:
            visit(name)
    return sorted(groups)


def lazy_imports(module: Module) -> list[int]:
    """Lines of the imports inside functions."""
    return sorted(
        {
            node.lineno
            for function in ast.walk(module.tree)
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
            for node in ast.walk(function)
            if isinstance(node, ast.Import | ast.ImportFrom)
        }
    )


def _classes(module: Module) -> Iterator[ast.ClassDef]:
    return (node for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef))


def attributes_of(node: ast.ClassDef) -> set[str]:
    """What a class with an `__init__` of its own keeps: values that are written at `self`. Not of a record
    (a dataclass, a NamedTuple): its fields are what it is."""
    return {
        target.attr
        for method in node.body
        if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef)
        for target in ast.walk(method)
        if isinstance(target, ast.Attribute)
        and isinstance(target.ctx, ast.Store)
        and isinstance(target.value, ast.Name)
        and target.value.id == "self"
    }


def parameters_of(node: ast.ClassDef) -> int:
    """How many parameters the class's own `__init__` has, `self` aside."""
    for method in node.body:
        if isinstance(method, ast.FunctionDef) and method.name == "__init__":
            return len(method.args.posonlyargs + method.args.args + method.args.kwonlyargs) - 1
    return 0


def figures(root: Path) -> dict[str, str]:
    """The table, each line by its name."""
    names = modules_of(root)
    lines = sum(module.lines for module in names.values())
    rooms = Counter(name if module.is_package else name.rpartition(".")[0] for name, module in names.items())
    room, most = rooms.most_common(1)[0]
    wide = [
        f"{node.name} {count}"
        for module in names.values()
        for node in _classes(module)
        if (count := len(attributes_of(node))) > MOST_ATTRIBUTES
    ]
    long = [
        f"{node.name} {count}"
        for module in names.values()
        for node in _classes(module)
        if (count := parameters_of(node)) > MOST_PARAMETERS
    ]
    anys = sum(
        isinstance(node, ast.Name) and node.id == "Any"
        for module in names.values()
        for node in ast.walk(module.tree)
    )
    found = circles(names)
    large = [
        f"{name.removeprefix(PACKAGE + '.')} {module.lines}"
        for name, module in names.items()
        if module.lines > MOST_LINES
    ]
    return {
        "lines": f"{lines:,}",
        "modules": str(len(names)),
        f"modules past {MOST_LINES} lines": f"{len(large)}: {', '.join(large)}",
        "largest room": f"{room} {most}",
        f"classes past {MOST_ATTRIBUTES} attributes": f"{len(wide)}: {', '.join(wide)}",
        f"constructors past {MOST_PARAMETERS} parameters": f"{len(long)}: {', '.join(long)}",
        "Any per 1,000 lines": f"{anys * 1000 / lines:.1f}",
        "imports inside functions": str(sum(len(lazy_imports(module)) for module in names.values())),
        "circles": f"{len(found)}: {', '.join(str(len(group)) for group in found)} modules" if found else "0",
    }


def main() -> None:
    """Prints the figures of each directory, one after another."""
    given = options(__doc__, roots=Word("directories that hold a `batchlab/`; this tree", many=True))
    for root in map(Path, given.roots or [Path(__file__).parents[2]]):
        print(root if len(given.roots) > 1 else root.resolve().name)
        for name, figure in figures(root).items():
            print(f"  {name:36} {figure}")


if __name__ == "__main__":
    main()
