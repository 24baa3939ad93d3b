"""Markdown of anybody's as a tree of names that are known, and of addresses that are links."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchlab.looking.browse.markdown import ATTRIBUTES, MOST_CHARS, TAGS, markdown_tree


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", [["p", {}, "plain"]]),
        (
            "# A *b* **c** ~~d~~ `e`",
            [
                [
                    "h1",
                    {},
                    "A ",
                    ["em", {}, "b"],
                    " ",
                    ["strong", {}, "c"],
                    " ",
                    ["s", {}, "d"],
                    " ",
                    ["code", {}, "e"],
                ]
            ],
        ),
        ("- a\n- b", [["ul", {}, ["li", {}, "a"], ["li", {}, "b"]]]),
        ("3. a", [["ol", {"start": 3}, ["li", {}, "a"]]]),
        ("```py\n<x>\n```", [["pre", {}, ["code", {"class": "language-py"}, "<x>\n"]]]),
        ("```js onclick=1\nx\n```", [["pre", {}, ["code", {"class": "language-js"}, "x\n"]]]),
        ("    code", [["pre", {}, ["code", {}, "code\n"]]]),
        ("a  \nb\nc", [["p", {}, "a", ["br", {}], "b", "\n", "c"]]),
        ("> q\n\n---", [["blockquote", {}, ["p", {}, "q"]], ["hr", {}]]),
        (
            "|a|b|\n|-|:-:|\n|1|2|",
            [
                [
                    "table",
                    {},
                    ["thead", {}, ["tr", {}, ["th", {}, "a"], ["th", {"align": "center"}, "b"]]],
                    ["tbody", {}, ["tr", {}, ["td", {}, "1"], ["td", {"align": "center"}, "2"]]],
                ]
            ],
        ),
        ("[x](https://a.b/c?d=e 'title')", [["p", {}, ["a", {"href": "https://a.b/c?d=e"}, "x"]]]),
        ("<mailto:a@b.c>", [["p", {}, ["a", {"href": "mailto:a@b.c"}, "mailto:a@b.c"]]]),
        ("![cat](https://a.b/cat.png)", [["p", {}, ["a", {"href": "https://a.b/cat.png"}, "[cat]"]]]),
        ("![cat](/cat.png)", [["p", {}, "[cat]"]]),
        ("[x](/api/act)", [["p", {}, "x"]]),
        ("[x](//evil.example)", [["p", {}, "x"]]),
        ("[x](data:text/html,x)", [["p", {}, "[x](data:text/html,x)"]]),
        ("[x](javascript:alert(1))", [["p", {}, "[x](javascript:alert(1))"]]),
        ("[x](JaVaScRiPt&#58;alert(1))", [["p", {}, "[x](JaVaScRiPt:alert(1))"]]),
        ("<script>alert(1)</script>", [["p", {}, "<script>alert(1)</script>"]]),
        ("<img src=x onerror=alert(1)> &lt;b&gt;", [["p", {}, "<img src=x onerror=alert(1)> <b>"]]),
    ],
)
def test_a_tree_has_what_markdown_means_and_no_markup(text, expected):
    assert markdown_tree(text) == ["div", {}, *expected]


def checked(node) -> None:
    if isinstance(node, str):
        return
    tag, attributes, *children = node
    assert tag in TAGS
    assert set(attributes) <= ATTRIBUTES
    assert str(attributes.get("href", "https://")).lower().startswith(("http://", "https://", "mailto:"))
    for child in children:
        checked(child)


@given(st.text(alphabet=st.sampled_from("ab \n*_`[]()<>!#|-~:\\&;/1.jhtps\t\u202e😀"), max_size=300))
def test_no_text_makes_another_tree(text):
    checked(markdown_tree(text))


@pytest.mark.parametrize(
    "piece", ["[", "![", "*a ", "**", "_a_", ">", "- ", "[](", "<", "|a", "[a]: b\n", "*_", "a**b", "`a``"]
)
def test_a_hostile_text_takes_no_long_time_and_no_deep_tree(piece):
    text = (piece * MOST_CHARS)[:MOST_CHARS]

    began = time.process_time()
    tree = markdown_tree(text)

    assert time.process_time() - began < 10
    if tree is not None:
        checked(tree)


def test_a_text_that_is_too_long_stays_a_text():
    assert markdown_tree("a" * (MOST_CHARS + 1)) is None
    assert markdown_tree("- a\n" * 10_000) is None
