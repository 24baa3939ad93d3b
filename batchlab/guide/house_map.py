"""The parts of the design page that the code says itself: every module by room, and every file of a run."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

COLUMNS = 98  # of a line on a page
_PACKAGE = Path(__file__).parents[1]
_PAGE = Path(__file__).with_name("design.md")


def design_page() -> str:
    """`guide/design.md` with its generated parts as they should be."""
    page = _PAGE.read_text(encoding="utf-8")
    for name, text in (("files", _files()), ("map", "\n".join(_map()))):
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        before, _, rest = page.partition(begin)
        page = f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}"
    return page


def _files() -> str:
    """The list of a run directory's files, as `store.layout` begins with it."""
    listed = re.search(r"\n\n((?:    .*\n)+)", _docstring(_PACKAGE / "store" / "layout.py"))
    assert listed is not None, "store.layout lists the files of a run"
    lines = [line.removeprefix("    ") for line in listed[1].splitlines()]
    return "\n".join(["```text", *lines, "```"])


def _map() -> Iterator[str]:
    for room in [
        _PACKAGE,
        *sorted(path.parent for path in _PACKAGE.rglob("__init__.py") if path.parent != _PACKAGE),
    ]:
        name = ".".join(room.relative_to(_PACKAGE.parent).parts)
        yield f"\n### {name}\n\n{textwrap.fill(_first_line(room / '__init__.py'), COLUMNS)}\n"
        for path in sorted(room.glob("*.py")):
            if path.name != "__init__.py":
                line = f"- `{path.stem}`: {_first_line(path)}"
                yield textwrap.fill(line, COLUMNS, subsequent_indent="  ", break_on_hyphens=False)


def _first_line(path: Path) -> str:
    return _docstring(path).partition("\n")[0]


def _docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
