"""Messages name settings; the command line calls them by flags, Python by keywords, a file by keys."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

import batchlab as package
from batchlab.api.errors import in_keywords
from batchlab.cli.spelling import in_flags
from batchlab.job.index import OF_COMMANDS, SECTIONS, all_settings, as_key, spelled
from batchlab.job.request import PARAMETERS
from tests.conftest import ROOT

PACKAGE = ROOT / "batchlab"
# where flags are declared, spelled, or those of another program
EXEMPT = {
    "cli",
    "guide",
    "page",  # its acts are commands, and it is begun by one
    "looking/browse/copies.py",  # curl's
    *(f"job/{section}.py" for section in SECTIONS),
    "job/index.py",
}
OTHERS = {
    "--no-deps",  # pip's
    "--head",  # Ray's
    "--max-num-seqs",  # vLLM's
    "--parallel",  # llama.cpp's
    "--headless",  # LibreOffice's
    "--convert-to",
    "--to",  # pandoc's
    "--wrap",
    "--long",  # zstd's
    *(
        "--only",
        "--max-tokens",
        "--csv-raw",
        "--list",
        "--list-faults",
        "--price",
        "--status",
    ),  # in a whole command to type next
}
REFERENCE = re.compile(r"\{+(\w+\.\w+)(=[^{}]*)?\}+")


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        yield name, ast.parse(path.read_text(encoding="utf-8"))


def texts(module: ast.Module) -> Iterator[tuple[int, str, bool]]:
    """Every text that is no docstring: its line, and whether it is a part of an f-string."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(module)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    formatted = {
        id(part) for node in ast.walk(module) if isinstance(node, ast.JoinedStr) for part in node.values
    }
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value, id(node) in formatted


def test_no_flag_stands_below_the_command_line():
    found = [
        f"{name}:{line}: {flag}"
        for name, module in modules()
        if name not in EXEMPT and name.partition("/")[0] not in EXEMPT
        for line, text, _ in texts(module)
        for flag in re.findall(r"(?<![\w-])--[a-z][\w-]+", text)
        if flag not in OTHERS
    ]
    assert found == []


def test_every_reference_of_a_message_is_to_a_setting():
    known = {setting.dotted for setting in (*all_settings(), *PARAMETERS)} | {
        setting.dotted for setting in OF_COMMANDS
    }
    wrong = []
    for name, module in modules():
        for line, text, _ in texts(module):
            for match in REFERENCE.finditer(text):
                section = match.group(1).partition(".")[0]
                if section in {*SECTIONS, "run", "cost"} and (
                    match.group(1) not in known or match.group(0).count("{") != 1
                ):
                    wrong.append(f"{name}:{line}: {match.group(0)}")
    assert wrong == []


@pytest.mark.parametrize(
    ("text", "flags", "keywords", "keys"),
    [
        ("{limits.max_cost}", "--max-cost", "max_cost=", "limits.max_cost"),
        ("{limits.engine=ray}", "--engine ray", 'engine="ray"', "limits.engine = ray"),
        ("{request.temperature=0}", "--temperature 0", "temperature=0", "request.temperature = 0"),
        ("{output.dedupe}", "--dedupe", "dedupe=True", "output.dedupe"),
        ("{input.quotes=false}", "--no-quotes", "quotes=False", "input.quotes = false"),
        ("{input.model}", "--model-column", "input__model=", "input.model"),
        ("{price.input}", "--price-in", "price_in=", "price.input"),
        ("{run.fresh}", "--fresh", "fresh=True", "run.fresh"),
        ("{limits.idle_timeout=5m}", "[limits] idle_timeout = 5m", 'idle_timeout="5m"', "limits.idle_timeout = 5m"),
        ("{input.delimiter=;}", "--delimiter ';'", 'delimiter=";"', "input.delimiter = ;"),
        ("{text} {limits.nothing} {a.b}", *["{text} {limits.nothing} {a.b}"] * 3),
    ],
)  # fmt: skip
def test_a_reference_reads_as_its_reader_would_write_it(text, flags, keywords, keys):
    assert in_flags(text) == flags
    assert in_keywords(text) == keywords
    assert spelled(text, as_key) == keys


def test_the_command_says_flags_and_a_call_keywords(batchlab, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"text": null}\n')
    done = batchlab("run", "-i", "rows.jsonl", "-m", "m", "-p", "{text}", "--base-url", "simulator")
    planned = batchlab("plan", "-i", "rows.jsonl", "-m", "m", "-p", "{text}", "--base-url", "simulator")

    assert "pass --null-as TEXT to allow it" in done.err
    assert "pass --null-as TEXT to allow it" in planned.err
    preview = package.plan(input=tmp_path / "rows.jsonl", model="m", prompt="{text}", base_url="simulator")
    assert 'pass null_as="TEXT" to allow it' in preview.problems[0]
