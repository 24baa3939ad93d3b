"""Reading JSON out of what models say, and holding it against a schema."""

from __future__ import annotations

import json
import random
import string
import time

import pytest

from batchlab.errors import UsageError
from batchlab.protocol.json_answer import json_values
from batchlab.protocol.outcomes.classify import classify
from batchlab.protocol.outcomes.facts import Asked
from batchlab.protocol.schema import INSTRUCTION, AnswerSchema, top_properties
from batchlab.protocol.strict_schema import strict_problem

SCHEMA = {
    "title": "Review Label!",
    "type": "object",
    "additionalProperties": False,
    "required": ["mood", "stars"],
    "properties": {"mood": {"enum": ["good", "bad"]}, "stars": {"type": "integer", "minimum": 1}},
}
GOOD = '{"mood":"good","stars":3}'


def answers(mode: str = "prompt", schema=SCHEMA, **more) -> AnswerSchema:
    return AnswerSchema(schema, mode=mode, **more)


@pytest.mark.parametrize(
    ("said", "notes"),
    [
        (GOOD, ()),
        (f"\ufeff \n{GOOD}\n\n", ()),
        (json.dumps(json.loads(GOOD), indent=2), ()),
        (f"```json\n{GOOD}\n```", ("fenced",)),
        (f"Sure!\n```\n{GOOD}\n```\nAnything else?", ("fenced",)),
        (f"The answer is {GOOD}. I hope it helps.", ("text around",)),
        (GOOD + "}", ("text around",)),
        (GOOD + GOOD, ("text around",)),
        (f"I use {{braces}} first: {GOOD}", ("text around",)),
        (f"<think>Should it be {{}}? Or {GOOD[:-1]}?</think>\n{GOOD}", ("reasoning",)),
        (f"It is good.</think>```\n{GOOD}```", ("reasoning", "fenced")),
        ('{"mood":"bad","mood":"good","stars":3}', ("duplicate keys",)),
        # the schema is repeated, then answered
        (f"{json.dumps(SCHEMA)}\n{GOOD}", ("text around",)),
        (f"```json\n{GOOD}", ("text around",)),
        ('{"mood":"good","stars":3.0}', ()),
    ],
)
def test_json_is_found_however_a_model_wraps_it_and_the_wrapping_is_noted(said, notes):
    check = answers().check(said)

    assert check.text is not None, check
    assert json.loads(check.text) == json.loads(GOOD)
    assert check.notes == notes
    assert not check.errors


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("", "the answer is empty"),
        ("<think>hm</think>", "the answer is empty"),
        ("I would say good.", "the answer is not JSON: it begins with other text"),
        ('{"mood":"good","stars":3', "the answer is not JSON: Expecting ',' delimiter at character 25"),
        ('{"mood":"goo', "the answer is not JSON: Unterminated string starting at character 9"),
        ('{"mood":"good","stars":NaN}', "the answer is not JSON: NaN is no JSON"),
        ('{"mood":"good","stars":1e999}', "the answer is not JSON: a number is too large"),
        ('{"mood":"good","stars":' + "9" * 5_000 + "}", "the answer is not JSON: Exceeds the limit"),
        ("[" * 100_000, "the answer is not JSON: nested too deeply"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "the answer is not JSON: nested too deeply"),
        ("[1, 2]", "$: [1,2] is not of type \"object\""),
        ('"good"', '$: "good" is not of type "object"'),
        ('{"mood":"good"}', '$: "stars" is a required property'),
        ('{"mood":"fine","stars":0}', '$.mood: "fine" is not one of "good" or "bad"'),
        ('{"mood":"\\ud800","stars":1}', '$.mood: "\ufffd" is not one of'),
        ('{"mood":"good","stars":1,"more":{}}', "$: Additional properties are not allowed ('more'"),
        ('```json\n{"mood":"good"}\n```', '$: "stars" is a required property'),
        ('{"mood":"' + "x" * 9_000 + '","stars":1}', '$.mood: "xxxx'),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_answer_is_said_in_a_few_words(said, error):
    check = answers().check(said)

    assert check.text is None
    assert check.errors[0].startswith(error), check.errors
    assert len(check.errors) <= 3
    assert all(len(one) <= 400 for one in check.errors)


def test_whole_numbers_past_64_bits_stay_exact_and_are_noted():
    check = answers(schema={"type": "object"}).check('{"n": 123456789012345678901234567890, "m": [1e3]}')

    assert check.text == '{"n":123456789012345678901234567890,"m":[1000.0]}'
    assert check.notes == ("integer beyond 64 bits",)


def test_an_array_and_a_plain_value_can_be_wanted_too():
    words = answers(schema={"type": "array", "items": {"type": "string"}})
    assert words.check('They are: ["a", "b"]').text == '["a","b"]'
    assert answers(schema={"enum": ["yes", "no"]}).check('"yes"').text == '"yes"'
    assert answers(schema={"type": "integer"}).check("about 7").text is None


def test_no_text_takes_long_or_raises():
    """A hostile answer of a megabyte is given up on, not searched for ever."""
    rng = random.Random(5)
    hostile = ['{"a":' * 200_000, "{" * 10**6, "```\n" * 200_000, '[{"a":1},' * 100_000, "<think>" * 100_000]
    hostile += [
        "".join(rng.choice('{}[]",:\\`1e. ' + string.ascii_letters) for _ in range(400)) for _ in range(300)
    ]
    begun = time.process_time()
    for text in hostile:
        list(json_values(text, "{["))
        answers().check(text)
    assert time.process_time() - begun < 20  # CPU, with much room: unbounded it is minutes


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "strin"}, "not a valid JSON Schema: $.type: 'strin' is no JSON type"),
        ({"properties": {"a": {"type": 5}}}, "not a valid JSON Schema: $.properties.a.type: 5 is no JSON type"),
        ({"type": "string", "pattern": "("}, 'not a valid JSON Schema: $.pattern: "(" is not a "regex"'),
        ({"$ref": "#/$defs/none"}, "not a valid JSON Schema: $: Pointer '/$defs/none' does not exist"),
        ({"$ref": "http://127.0.0.1:9/x"}, "Retrieval is disabled"),
        ({"$ref": "file:///etc/passwd"}, "Retrieval is disabled"),
        ({"$schema": "http://127.0.0.1:9/x"}, "Unknown meta-schema"),
    ],
)  # fmt: skip
def test_a_schema_that_is_none_is_one_line_with_its_place_and_reads_nothing_else(schema, said):
    with pytest.raises(UsageError) as caught:
        AnswerSchema(schema, mode="prompt", where="label.json")

    assert str(caught.value).startswith("label.json: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_json_schema_mode_sends_a_response_format_and_leaves_the_messages():
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}

    asked = answers("json_schema").asked_in(body)

    assert asked["messages"] == body["messages"]
    named = asked["response_format"]["json_schema"]
    assert named == {"name": "Review_Label", "strict": True, "schema": SCHEMA}
    assert "response_format" not in body


def test_the_other_modes_put_the_schema_at_the_end_of_the_system_message():
    user = {"role": "user", "content": "hi"}
    body = {"model": "m", "messages": [{"role": "system", "content": "Be kind."}, user]}

    by_object, by_prompt = answers("json_object").asked_in(body), answers("prompt").asked_in(body)
    without_system = answers("prompt").asked_in({"messages": [user]})

    said = INSTRUCTION + json.dumps(SCHEMA, separators=(",", ":"))
    assert by_object["response_format"] == {"type": "json_object"}
    assert "response_format" not in by_prompt
    for asked in (by_object, by_prompt):
        assert asked["messages"] == [{"role": "system", "content": f"Be kind.\n\n{said}"}, user]
    assert without_system["messages"] == [{"role": "system", "content": said}, user]
    assert body["messages"][0]["content"] == "Be kind."


def test_a_correction_shows_the_answer_its_errors_and_the_schema_where_the_prompt_has_none():
    errors = ("$.stars: 0 is less than the minimum of 1",)
    said = '{"mood":"good","stars":0}'

    in_prompt = answers("prompt").correction(f"<think>hm</think>{said}", errors)
    by_format = answers("json_schema").correction("", errors)

    assert [turn["role"] for turn in in_prompt] == ["assistant", "user"]
    assert in_prompt[0]["content"] == said
    assert errors[0] in in_prompt[1]["content"]
    assert "required" not in in_prompt[1]["content"]
    assert [turn["role"] for turn in by_format] == ["user"], "an empty assistant message is refused by some"
    assert '"required":["mood","stars"]' in by_format[0]["content"]


def closed(**properties):
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(properties),
        "properties": properties,
    }


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        (SCHEMA, None),
        (closed(a={"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}]}) | {"$defs": {"A": closed(b={"type": "string", "format": "date"})}}, None),
        ({"type": "array"}, "$: the top level is no object"),
        ({"type": "object", "properties": {}}, "$: no additionalProperties = false"),
        (closed(a={"type": "string"}) | {"required": []}, "$.a: not required"),
        (closed(a={"type": "array", "items": {"type": "object"}}), "$.a[]: no additionalProperties = false"),
        (closed(a={"type": "string", "minLength": 1}), "$.a: minLength"),
        (closed(a={"type": "string", "format": "uri"}), "$.a: format uri"),
        (closed(a={"oneOf": [{"type": "string"}]}), "$.a: oneOf"),
        (closed(a=True), "$.a: true or false stands for a schema"),
        (closed(a={"$ref": "#", "description": "x"}), "$.a: keywords beside $ref"),
    ],
)  # fmt: skip
def test_strict_is_said_only_where_the_schema_keeps_openai_s_rules(schema, problem):
    assert strict_problem(schema) == problem
    asked = answers("json_schema", schema).asked_in({"messages": []})["response_format"]["json_schema"]
    assert asked.get("strict") is (True if problem is None else None)
    forced = answers("json_schema", schema, strict=True).asked_in({"messages": []})["response_format"]
    assert forced["json_schema"]["strict"] is True


def test_a_recursive_or_strange_root_has_no_properties_and_does_not_hang():
    assert top_properties({"$ref": "#"}) == {}
    assert top_properties({"$ref": "#/$defs/A", "$defs": {"A": SCHEMA}}) == SCHEMA["properties"]
    assert top_properties({"properties": {"a": {}}}) == {}, "without a type it may be anything"


@pytest.mark.parametrize(
    ("status", "error", "verdict"),
    [
        # OpenAI, an old model and a schema that strict mode refuses
        (400, {"message": "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.", "type": "invalid_request_error", "param": "response_format", "code": None}, "response_format"),
        (400, {"message": "Invalid schema for response_format 'answer': In context=(), 'additionalProperties' is required to be supplied and to be false.", "code": "invalid_json_schema"}, "response_format"),
        # Groq
        (400, {"message": "This model does not support response format `json_schema`.", "type": "invalid_request_error"}, "response_format"),
        (400, {"message": "Failed to generate JSON. Please adjust your prompt.", "type": "invalid_request_error", "code": "json_validate_failed"}, "schema"),
        # llama.cpp
        (400, {"message": "Failed to parse grammar", "code": 400, "type": "invalid_request_error"}, "response_format"),
        (422, {"message": "Extra inputs are not permitted: response_format"}, "response_format"),
        (400, {"message": "Invalid value for 'temperature'."}, "bad_request"),
        (400, {"message": "This model's maximum context length is 8192 tokens, with the json_schema."}, "context_length"),
    ],
)  # fmt: skip
def test_a_refused_format_is_told_from_a_row_s_own_fault(status, error, verdict):
    asked = Asked(options=frozenset({"model", "response_format"}))

    outcome = classify(status, {}, json.dumps({"error": error}).encode(), asked=asked)

    assert (outcome.kind, outcome.error_class) == ("FAIL", verdict)
    assert outcome.after == {"response_format": "no_success", "bad_request": "first_rows"}.get(verdict, "")
    assert outcome.message.endswith("schema_mode json_object, or prompt.") == (verdict == "response_format")
