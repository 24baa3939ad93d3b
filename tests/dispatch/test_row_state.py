"""What a row's attempts have come to."""

from __future__ import annotations

import json

import pytest

from batchlab.dispatch.http.transport import Answer
from batchlab.dispatch.row_state import RowState
from batchlab.protocol.chat import reply_of


@pytest.mark.parametrize(
    ("message", "is_empty"),
    [
        ({"content": "a"}, False),
        ({"content": None}, True),
        ({"content": ""}, True),
        ({"content": None, "function_call": {"name": "f", "arguments": "{}"}}, False),
        ({"content": None, "refusal": "no"}, False),
        ({"content": None, "audio": {"id": "a", "data": "AA=="}}, False),
        ({"content": "", "images": [{"type": "image_url"}]}, False),
        ({"content": "", "annotations": [{"type": "url_citation"}]}, True),
        ({"content": "", "reasoning": "hm"}, True),
    ],
)
def test_an_answer_is_empty_where_nothing_of_it_can_be_used(message, is_empty):
    state = RowState()
    state.answer = Answer(reply_of({"choices": [{"message": message}]}), 0.0, 1.0, None, None, None)

    assert state.is_empty == is_empty, json.dumps(message)
