"""What the front's modules keep to: they join into one script, parse no markup, and load nothing from outside."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from batchlab.looking.browse import query
from batchlab.looking.browse.columns import ALL_STATUSES
from batchlab.looking.browse.markdown import TAGS
from batchlab.looking.listing import DAMAGED
from batchlab.looking.rows import conditions
from batchlab.looking.stages import Stage
from tests.page.front.stand_in import FRONT

MODULES = {path.name: path.read_text() for path in sorted(FRONT.glob("*.js"))}
IMPORT = re.compile(r'^import \{ ([\w, ]+) \} from "\./(\w+\.js)";$', re.MULTILINE)
EXPORT = re.compile(r"^export (?:async function|function|const|class) (\w+)", re.MULTILINE)
TOP_LEVEL = re.compile(
    r"^(?:export )?(?:async function\*?|function\*?|class|const|let|var) (\w+)", re.MULTILINE
)


def imports(name: str) -> list[tuple[str, list[str]]]:
    return [(found[2], found[1].split(", ")) for found in IMPORT.finditer(MODULES[name])]


@pytest.mark.parametrize("name", MODULES)
def test_a_module_uses_only_forms_that_can_be_joined(name: str):
    text = MODULES[name]
    assert len(re.findall(r"^import\b", text, re.MULTILINE)) == len(IMPORT.findall(text))
    assert len(re.findall(r"^export\b", text, re.MULTILINE)) == len(EXPORT.findall(text))
    assert not re.search(
        r"^await\b|^(?:const|let) [\[{]|\bimport\(|import\.meta|export default", text, re.MULTILINE
    )
    assert len(text.splitlines()) <= 400


def test_top_level_names_are_unique():
    names = [found for text in MODULES.values() for found in TOP_LEVEL.findall(text)]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_what_is_imported_is_exported_and_used():
    wrong = []
    for name, text in MODULES.items():
        for other, wanted in imports(name):
            exported = EXPORT.findall(MODULES[other])
            wrong += [f"{name}: {one} of {other}" for one in wanted if one not in exported]
            wrong += [
                f"{name}: {one} is not used" for one in wanted if len(re.findall(rf"\b{one}\b", text)) < 2
            ]
    assert wrong == []


def test_what_is_exported_is_imported_somewhere():
    imported = {one for name in MODULES for _, wanted in imports(name) for one in wanted}
    assert {one for text in MODULES.values() for one in EXPORT.findall(text)} - imported == set()


def test_modules_form_no_circle_and_all_are_reached():
    reached: list[str] = []

    def enter(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, (*path, name)
        if name in reached:
            return
        for other, _ in imports(name):
            enter(other, (*path, name))
        reached.append(name)

    enter("main.js", ())
    assert sorted(reached) == sorted(MODULES)


@pytest.mark.parametrize(
    "word",
    ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "DOMParser", "createContextualFragment",
     'setAttribute("style"', "srcdoc", "importScripts", "localStorage.clear", "javascript:", ".html("],
)  # fmt: skip
def test_no_module_makes_markup_or_code_of_a_text(word: str):
    assert [name for name, text in MODULES.items() if word in text] == []


def test_nothing_is_loaded_from_outside():
    """Addresses in the modules are the namespace of SVG, and patterns of links."""
    addresses = {found for text in MODULES.values() for found in re.findall(r"https?://[\w./-]+", text)}
    assert addresses == {"http://www.w3.org/2000/svg"}
    style = Path(FRONT, "page.css").read_text()
    assert not re.search(r"url\(|@import|@font-face|image-set", style)


def test_the_page_has_one_style_one_script_and_nothing_inline():
    page = Path(FRONT, "index.html").read_text()
    assert re.findall(r"<link rel=\"stylesheet\"[^>]*>", page) == ['<link rel="stylesheet" href="page.css">']
    assert re.findall(r"<script[^>]*>", page) == ['<script type="module" src="main.js">']
    assert "<style" not in page
    assert not re.search(r"\son\w+=|\sstyle=", page)
    assert '<html lang="en">' in page


def spelt(module: str, name: str) -> list[str]:
    """The words of a list, of pairs' first ones, or of an object's names, as a module spells them."""
    text = MODULES[module]
    begin = re.search(rf"^(?:export )?const {name} = [\[{{]", text, re.MULTILINE)
    assert begin is not None, name
    inside = text[begin.end() : text.index(";\n", begin.end())]
    if text[begin.end() - 1] == "{":
        return re.findall(r'(?:^|[,{])\s*"?([^\s",:{}]+)"?:', inside)
    return re.findall(r'\[\s*"([^"]*)"', inside) or re.findall(r'"([^"]*)"', inside)


@pytest.mark.parametrize(
    ("module", "name", "expected"),
    [
        ("states.js", "STATUSES", {*ALL_STATUSES, "empty"}),
        ("states.js", "SIGNS", {*ALL_STATUSES, "empty"}),
        ("states.js", "MEANINGS", {*ALL_STATUSES, "empty"}),
        ("states.js", "STAGES", {*Stage, DAMAGED}),
        ("embedded.js", "SORTS", set(query.SORTS)),
        ("filters.js", "FILTERS", {*query._LISTS, *query._OTHERS}),
        ("filters.js", "SIGNS_OF", {*conditions._SIGNS, "~"}),
        ("filters.js", "SIGN_WORDS", {*conditions._SIGNS, "~"}),
        ("text.js", "TAGS", set(TAGS)),
    ],
)
def test_words_that_both_sides_know_are_the_same(module: str, name: str, expected: set[str]):
    """They stand here again because a report has no server to ask, and a sign or a colour is the page's own."""
    found = spelt(module, name)
    assert len(found) == len(set(found))
    assert set(found) == expected


def test_orders_and_facets_that_are_offered_are_ones_that_the_server_has():
    assert {word.removeprefix("-") or "row" for word in spelt("filters.js", "SORTED")} <= set(query.SORTS)
    assert set(spelt("filters.js", "FACETS")) == set(query._LISTS) - {"status"}
    assert {key for key in spelt("rows.js", "HEADS") if key} <= set(query.SORTS)
    style = Path(FRONT, "page.css").read_text()
    assert [word for word in (*ALL_STATUSES, "empty") if f".s-{word}" not in style] == []
