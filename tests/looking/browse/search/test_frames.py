"""A text across a template's words and a row's is found, and only where it was sent."""

from __future__ import annotations

import itertools
import random

import pyarrow as pa
import pytest

from batchlab.inputs.templates import compile_template
from batchlab.looking.browse.search.frames import Frame, across
from batchlab.looking.rows.text_mask import text_mask

TEMPLATES = ("{a}", "ab {a}", "{a} b", "{a}{b}", "a{a}b{b}a", "x {b} y {a} z", "{a}: {a}", "ba", "Aé{a}")
VALUES = ("", "a", "b", "ab", "b a", "aé", "ABA", "x y", "\n")


@pytest.mark.parametrize("template", TEMPLATES)
def test_what_was_sent_is_put_together_as_it_was_sent(template):
    rows = [dict(zip("ab", pair, strict=True)) for pair in itertools.product(VALUES, repeat=2)]
    made = compile_template(template, ["a", "b"], where="prompt")
    frame = Frame(tuple(made.parts))

    texts = frame.texts(pa.table({name: [row[name] for row in rows] for name in "ab"}))

    if frame.columns:
        assert texts.to_pylist() == [made.render(row) for row in rows]


@pytest.mark.parametrize("template", TEMPLATES)
def test_no_text_of_a_prompt_is_missed(template):
    """Whatever is taken out of a prompt is found by a column, across, or said to be in all prompts."""
    rng = random.Random(template)
    rows = [dict(zip("ab", pair, strict=True)) for pair in itertools.product(VALUES, repeat=2)]
    made = compile_template(template, ["a", "b"], where="prompt")
    frame = Frame(tuple(made.parts))
    table = pa.table({name: [row[name] for row in rows] for name in "ab"})
    for row in rows:
        sent = made.render(row)
        for _ in range(20):
            first = rng.randrange(len(sent) + 1)
            text = sent[first : first + rng.randrange(1, 6)]
            if not text or frame.says(text):
                continue
            text = rng.choice([text, text.upper(), text.lower()])
            found = any(text_mask(table[name], [text])[rows.index(row)] for name in frame.columns)
            found |= any(
                text_mask(one.texts(table), [text])[rows.index(row)] for one in across([frame], text)
            )
            assert found, (template, row, text)


def test_a_search_that_no_template_touches_reads_nothing_more():
    frame = Frame(("Summarize this review of ", "product", ": ", "text", ""))
    assert across([frame], "refund") == ()
    assert across([frame], "summarize") == ()  # of all prompts
    assert across([frame], "review of trail shoes") == (frame,)
    assert across([frame], "shoes: they") == (frame,)


def test_columns_that_are_no_text_are_put_together_as_far_as_they_can_be():
    table = pa.table(
        {
            "n": [1, None],
            "is": [True, False],
            "of": pa.array(["x", "y"]).dictionary_encode(),
            "list": [["a"], []],
            "raw": [b"a", b"b"],
        }
    )
    frame = Frame(("n=", "n", " ", "is", " ", "of", " ", "list", " ", "raw", " ", "absent", "!"))
    first, second = frame.texts(table).to_pylist()
    assert first.startswith("n=1 true x ")
    assert second.startswith("n=\0 false y ")
    assert first.endswith("!")
