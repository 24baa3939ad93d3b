"""The page of a run as one HTML file: front end and data in one, for a browser without a server.

The front's modules are joined in the order in which they import each other, and their `import` and
`export` words are taken off: that is all, and the rules that make it enough are tested. One inline script
and one inline style are let in by their SHA-256; whatever a prompt or an answer says stays text.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from batchlab.page.answers import json_bytes
from batchlab.page.assets import INDEX, assets

_IMPORT = re.compile(r'^import \{([^{}]*)\} from "\./([\w.-]+\.js)";[ \t]*$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?function|const |let |class )", re.MULTILINE)
_LEFT = re.compile(r"^(?:import|export)\b", re.MULTILINE)
_LINK = re.compile(r'<link rel="stylesheet" href="([\w.-]+\.css)">')
_SCRIPT = re.compile(r'<script type="module" src="([\w.-]+\.js)"></script>')
_HEAD = "<head>"
# within a script a browser looks for its end, and for a comment: JSON may spell these otherwise
_SPELLED = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}
# and whoever reads the file in an editor is not to be shown text that is turned around
_TURNED = (0x200E, 0x200F, 0x061C, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_SPELLED |= {sign: f"\\u{sign:04x}" for sign in _TURNED}


class NotJoined(Exception):
    """The front's files are not as they must be to become one: a mistake of ours."""


def page_of(data: Any, files: Mapping[str, bytes] | None = None) -> str:
    """One page with that data.

    Args:
        files: of the front end; those that come with the package when None.
    """
    shell, style, script = _parts() if files is None else _joined(files)
    csp = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    before, _, rest = shell.partition(_HEAD)
    head, _, after = rest.partition("\0style\0")
    middle, _, tail = after.partition("\0script\0")
    return "".join(
        [
            before,
            _HEAD,
            f'\n<meta http-equiv="Content-Security-Policy" content="{csp}">',
            head,
            f"<style>{style}</style>",
            middle,
            f'<script type="application/json" id="data">{json_text(data)}</script>\n',
            f'<script type="module">{script}</script>',
            tail,
        ]
    )


def json_text(value: Any) -> str:
    """A value as JSON that is only text within a page."""
    return json_bytes(value).decode().translate(_SPELLED)


def modules_in_order(files: Mapping[str, bytes], entry: str) -> list[str]:
    """The modules that one needs, each after those that it imports. Raises NotJoined for a circle."""
    ordered: list[str] = []
    entered: set[str] = set()

    def enter(name: str) -> None:
        if name in ordered:
            return
        if name in entered:
            raise NotJoined(f"{name} imports itself, by way of others")
        if name not in files:
            raise NotJoined(f"there is no {name}")
        entered.add(name)
        for found in _IMPORT.finditer(_text(files[name])):
            enter(found[2])
        ordered.append(name)

    enter(entry)
    return ordered


@cache
def served() -> Mapping[str, bytes]:
    """The front's files as a server gives them: the first module has all the others within it, so that a
    browser asks for one script and not for thirty.
    """
    [entry] = _SCRIPT.findall(_text(assets()[INDEX]))
    return {**assets(), entry: _parts()[2].encode()}


@cache
def _parts() -> tuple[str, str, str]:
    return _joined(assets())


def _joined(files: Mapping[str, bytes]) -> tuple[str, str, str]:
    """The page with two gaps, the style and the script."""
    shell = _text(files[INDEX])
    links, scripts = _LINK.findall(shell), _SCRIPT.findall(shell)
    if len(links) != 1 or len(scripts) != 1 or shell.count(_HEAD) != 1:
        raise NotJoined(
            f"{INDEX} names {len(links)} style sheets and {len(scripts)} modules, not one of each"
        )
    style = _text(files[links[0]])
    script = "".join(_without_words(name, _text(files[name])) for name in modules_in_order(files, scripts[0]))
    if "</style" in style.lower() or "</script" in script.lower() or "<!--" in script:
        raise NotJoined("a style or a script that would end before its time")
    shell = _LINK.sub("\0style\0", shell)
    return _SCRIPT.sub("\0script\0", shell), style, script


def _without_words(name: str, text: str) -> str:
    text = _EXPORT.sub("", _IMPORT.sub("", text))
    if found := _LEFT.search(text):
        line = text[found.start() :].partition("\n")[0]
        raise NotJoined(f"{name}: {line}")
    return f"// {name}\n{text.strip()}\n"


def _text(content: bytes) -> str:
    return content.decode().replace("\r\n", "\n")  # as a browser reads it, and the hash is of that


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
