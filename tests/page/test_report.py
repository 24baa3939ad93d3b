"""The page as one file: joined of the front's modules, with hostile data within it, and bounded."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import re
import shutil
import subprocess

import pytest

from batchlab.looking.opening import open_run
from batchlab.page import report
from batchlab.page.assets import assets
from batchlab.page.bundle import NotJoined, json_text, modules_in_order, page_of
from tests.page.conftest import run_of
from tests.provider import chat_reply, providing

HOSTILE = [
    "</script><script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "<!--<script>",
    "{{ 7 * 7 }} ${x} $x^$",
    "\u202egnp.exe\u2066 \x1b[31m \u2028 end",
    "</ScRiPt ></style></title><base href=//evil.example>",
    "[a link](javascript:document.title='owned') ![](http://evil.example/pixel.png)",
]
CHROMIUM = next(
    (name for name in ("chromium", "chromium-browser", "google-chrome") if shutil.which(name)), None
)


class Elements(html.parser.HTMLParser):
    """Every element of a page, and the texts of its scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=False)
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.inside: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.attributes += attrs
        if tag in ("script", "style"):
            self.inside.append((tag, ""))

    def handle_endtag(self, tag):
        self.names.append(f"/{tag}")

    def handle_data(self, text):
        if self.inside and self.names[-1] in ("script", "style"):
            self.inside[-1] = (self.inside[-1][0], self.inside[-1][1] + text)


@pytest.fixture
def hostile(tmp_path):
    """A run whose prompts and answers mean harm."""
    with providing(lambda body: (200, chat_reply(body["messages"][-1]["content"]))) as server:
        rows = [{"text": text, HOSTILE[1]: text} for text in HOSTILE]
        run_of(tmp_path / "runs/night", rows, server.base_url)
    return tmp_path / "runs/night"


def test_modules_are_joined_in_the_order_in_which_they_need_each_other():
    files = {
        "index.html": b'<head><link rel="stylesheet" href="a.css"><script type="module" src="m.js"></script></head>',
        "a.css": b"p { color: red }",
        "m.js": b'import { one } from "./x.js";\nimport { two } from "./y.js";\none(two);\n',
        "x.js": b'import { two } from "./y.js";\nexport function one(n) {}\nexport class A {}\n',
        "y.js": b"export const two = 2;\r\nexport async function three() {}\n",
        "unused.js": b"export const never = 1;\n",
    }
    assert modules_in_order(files, "m.js") == ["y.js", "x.js", "m.js"]
    text = page_of({}, files)
    [(_, _), (_, _), (_, script)] = Elements(text).inside
    lines = [line for line in script.splitlines() if line and not line.startswith("//")]
    assert lines == [
        "const two = 2;",
        "async function three() {}",
        "function one(n) {}",
        "class A {}",
        "one(two);",
    ]
    for wrong, said in {
        'import d from "./y.js";': "import d",
        'import { two as zwei } from "./y.js";\nexport { zwei };': "export {",
        "export default 1;": "export default",
        'import "./y.js";': "import",
        'import { a } from "./m.js";': "by way of others",
        'import { a } from "./none.js";': "no none.js",
        "const a = '</script>';": "before its time",
        "const a = '<!--';": "before its time",
    }.items():
        with pytest.raises(NotJoined, match=re.escape(said)):
            page_of({}, {**files, "x.js": wrong.encode()})


def test_every_module_of_the_front_is_part_of_it():
    assert {*modules_in_order(assets(), "main.js")} == {name for name in assets() if name.endswith(".js")}


def test_only_the_page_s_own_script_and_style_are_let_in():
    text = page_of({"text": HOSTILE})
    found = Elements(text)
    [(_, style), (_, data), (_, script)] = found.inside
    [csp] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    allowed = dict(one.strip().split(" ", 1) for one in csp.split(";"))

    def hashed(inside: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()}'"

    assert allowed["default-src"] == "'none'"
    assert allowed["script-src"] == hashed(script)
    assert allowed["style-src"] == hashed(style)
    assert "connect-src" not in allowed
    assert json.loads(data)["text"] == HOSTILE
    assert text.index("Content-Security-Policy") < text.index("<style")
    assert not [name for name, _ in found.attributes if name.startswith("on") or name == "style"]


def test_data_stays_text():
    text = json_text({"a": HOSTILE, "b": float("nan"), "c": "\ud800"})

    assert not set("<>&\u2028\u2029\u202e\u2066\x1b") & set(text)
    assert json.loads(text)["a"] == HOSTILE
    assert json.loads(text)["b"] is None


def test_a_report_holds_the_run_and_its_rows_and_names_no_address(batchlab, hostile, tmp_path):
    done = batchlab("report", "runs/night", "--by", HOSTILE[1])

    assert done.out.strip() == "runs/night/report.html"
    path = hostile / "report.html"
    assert path.stat().st_mode & 0o077 == 0
    text = path.read_text(encoding="utf-8")
    data = json.loads(Elements(text).inside[1][1])
    assert data["run"]["rows"] == 7
    assert data["runs"][0]["state"] == "finished"
    assert [row["row_id"] for row in data["rows"]] == [*range(7)]
    assert [row["answer"]["text"] for row in data["rows"]][:4] == [
        f"Say it shorter: {one}" for one in HOSTILE[:4]
    ]
    assert data["left_out"] == 0
    assert HOSTILE[1] in {one["column"] for one in data["charts"]["by"]}
    page = text.replace(text.partition('id="data">')[2].partition("</script>")[0], "")
    assert {*re.findall(r"https?://[^\s\"'<>)\\]+", page)} <= {"http://www.w3.org/2000/svg"}
    assert "<img" not in text.lower()


def test_the_options_of_report_mean_what_they_did(batchlab, hostile, tmp_path):
    (tmp_path / "other.html").write_text("mine")
    assert batchlab("report", "runs/night", "-o", "other.html").code == 2
    assert (tmp_path / "other.html").read_text() == "mine"
    assert batchlab("report", "runs/night", "-o", "other.html", "--overwrite").out == "other.html\n"
    assert batchlab("report", "runs/night", "-o", "other.html").code == 0  # its own by now
    said = batchlab("report", "runs/night", "--by", "nothing")
    assert said.code == 2
    assert "nothing" in said.err
    assert batchlab("report", "nowhere").code == 2
    shown = batchlab("report", "runs/night", "-o", "-")
    assert shown.out.lower().startswith("<!doctype html>")
    assert not (tmp_path / "-").exists()


def test_a_large_report_is_bounded_and_says_what_is_left_out(runs, monkeypatch):
    monkeypatch.setattr(report, "PROBLEM_ROWS", 3)
    monkeypatch.setattr(report, "SAMPLE_ROWS", 5)
    data = json.loads(Elements(report.one_file(open_run(runs / "night"))).inside[1][1])
    again = json.loads(Elements(report.one_file(open_run(runs / "night"))).inside[1][1])

    statuses = [row["status"] for row in data["rows"]]
    assert len(statuses) == 8
    assert statuses.count("failed") >= 3
    assert data["left_out"] == 22
    assert "batchlab view has every row" in data["left_out_text"]
    assert data["rows"] == again["rows"]  # the same sample each time
    monkeypatch.setattr(report, "LARGEST_ROWS", 1)
    assert len(json.loads(Elements(report.one_file(open_run(runs / "night"))).inside[1][1])["rows"]) == 1


def test_a_row_with_endless_texts_is_cut(tmp_path):
    with providing(lambda _: (200, chat_reply("x" * 500_000))) as server:
        run_of(tmp_path / "night", [{"text": "y" * 300_000}], server.base_url)
    text = report.one_file(open_run(tmp_path / "night"))

    [row] = json.loads(Elements(text).inside[1][1])["rows"]
    assert len(row["answer"]["text"]) == report.CUT_CHARS
    assert len(text) < 700_000


def test_a_report_of_a_run_with_a_part_gone_says_so_and_shows_the_rest(runs, tmp_path):
    shutil.copytree(runs / "night", tmp_path / "night")
    for part in (tmp_path / "night/completions").iterdir():
        part.write_bytes(part.read_bytes()[:100])
    data = json.loads(Elements(report.one_file(open_run(tmp_path / "night"))).inside[1][1])

    assert data["run"]["problems"]
    assert data["run"]["rows"] == 30


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_shows_the_report_from_disk_and_runs_nothing_of_the_data(hostile, tmp_path):
    (tmp_path / "report.html").write_text(report.one_file(open_run(hostile)), encoding="utf-8")
    words = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]

    def shown(route: str) -> str:
        done = subprocess.run(
            [*words, "--virtual-time-budget=3000", "--dump-dom", f"file://{tmp_path}/report.html#{route}"],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert "<title>owned" not in done.stdout
        return done.stdout.partition("<body")[2]

    assert "night" in shown("/run/night")
    assert "7 of 7" in shown("/run/night/rows") or "Say it shorter" in shown("/run/night/rows")
    assert "Say it shorter" in shown("/run/night/rows?row=0")
