"""Markdown as a tree of plain data, from which a page builds elements: nothing in it is ever markup.

A node is `[tag, {attribute: value}, child, …]`, a child is a node or a text. HTML in an answer is text. An
image is a link, because a page that shows answers fetches nothing from outside. A link goes to an absolute
http, https or mailto address, or it is text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Any, TypeAlias

from markdown_it import MarkdownIt
from markdown_it.token import Token

Node: TypeAlias = "list[Any]"

TAGS = frozenset(
    "div p h1 h2 h3 h4 h5 h6 ul ol li blockquote pre code em strong s a br hr".split()
    + "table thead tbody tr th td".split()
)
ATTRIBUTES = frozenset({"href", "start", "align", "class"})
MOST_CHARS = 60_000  # of a text that is made a tree; a longer one is shown as it is
MOST_TOKENS = 20_000
MOST_NESTING = 30
_ADDRESS = re.compile(r"(?:https?://|mailto:)[^\s\x00-\x20\x7f]+", re.IGNORECASE)
_ALIGN = re.compile(r"text-align:(left|center|right)")
_LANGUAGE = re.compile(r"[\w+#.-]{1,40}")


def markdown_tree(text: str) -> Node | None:
    """The tree of a text; None where it is too long to be made one, or would have too many nodes."""
    if len(text) > MOST_CHARS:
        return None
    tokens = _parser().parse(text)
    if sum(1 + len(token.children or ()) for token in tokens) > MOST_TOKENS:
        return None
    root: Node = ["div", {}]
    _grow(root, tokens)
    return root


@cache
def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False, "maxNesting": MOST_NESTING}).enable(
        ["table", "strikethrough"]
    )


def _grow(root: Node, tokens: Iterable[Token]) -> None:
    """Puts what some tokens stand for into a node."""
    open_nodes = [root]
    for token in tokens:
        top = open_nodes[-1]
        if token.nesting == 1:
            node = None if token.hidden else _opened(token)
            # of what is no element, the children are its parent's
            open_nodes.append(top if node is None else node)
            if node is not None:
                top.append(node)
        elif token.nesting == -1:
            if len(open_nodes) > 1:
                open_nodes.pop()
        elif token.type == "inline":
            _grow(top, token.children or ())
        else:
            top.extend(_leaf(token))


def _opened(token: Token) -> Node | None:
    if token.tag not in TAGS:
        return None
    attributes: dict[str, Any] = {}
    if token.tag == "a":
        address = _address(str(token.attrGet("href") or ""))
        if address is None:
            return None
        attributes["href"] = address
    if token.tag == "ol" and isinstance(start := token.attrGet("start"), int):
        attributes["start"] = start
    if (found := _ALIGN.fullmatch(str(token.attrGet("style") or ""))) is not None:
        attributes["align"] = found[1]
    return [token.tag, attributes]


def _leaf(token: Token) -> list[Any]:
    match token.type:
        case "softbreak":
            return ["\n"]
        case "hardbreak":
            return [["br", {}]]
        case "hr":
            return [["hr", {}]]
        case "code_inline":
            return [["code", {}, token.content]]
        case "fence" | "code_block":
            found = _LANGUAGE.match(token.info.strip())
            return [["pre", {}, ["code", {"class": f"language-{found[0]}"} if found else {}, token.content]]]
        case "image":
            said = token.content or "image"
            address = _address(str(token.attrGet("src") or ""))
            return [f"[{said}]"] if address is None else [["a", {"href": address}, f"[{said}]"]]
    return [token.content] if token.content else []


def _address(text: str) -> str | None:
    return text if _ADDRESS.fullmatch(text) else None
