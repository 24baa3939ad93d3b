"""Presets: places, keys and spellings of the services people use."""

from __future__ import annotations

import pytest

from batchlab.errors import UsageError
from batchlab.job import Job
from batchlab.job.file import job_from
from batchlab.job.key import find_key
from batchlab.job.presets import PRESETS, preset_of

NAMES = (
    "modelslab openai openrouter together groq deepseek mistral fireworks xai gemini azure "
    "ollama vllm llama.cpp anthropic alibaba siliconflow moonshot deepinfra".split()
)


def job(endpoint: object, flags: dict | None = None) -> Job:
    data = {"input": {"path": "rows.csv"}, "request": {"model": "m", "prompt": "{text}"}}
    return job_from({**data, "endpoint": endpoint}, flags)


def test_the_table_has_the_services_people_use():
    assert set(NAMES) <= set(PRESETS)


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_gives_the_place_and_the_key(name):
    settings = {"preset": name}
    if name == "azure":
        settings["base_url"] = "https://mine.openai.azure.com/openai/v1"
    endpoint = job(settings).endpoint[0]

    assert endpoint.name == name
    assert endpoint.base_url.startswith(("https://", "http://127.0.0.1:"))
    key = find_key(endpoint, {PRESETS[name].key_env: "k-123"})
    assert key is not None
    assert key.reveal() == "k-123"


@pytest.mark.parametrize("name", ["ollama", "vllm", "llama.cpp"])
def test_a_server_of_ones_own_needs_no_key(name):
    assert find_key(job({"preset": name}).endpoint[0], {}) is None


def test_a_service_is_known_by_its_host():
    assert preset_of(None, "https://api.groq.com/openai/v1").name == "groq"
    for host in (
        "openai.azure.com",
        "cognitiveservices.azure.com",
        "services.ai.azure.com",
        "openai.azure.us",
    ):
        assert preset_of(None, f"https://mine.{host}/openai/v1").name == "azure"
    for host, name in (
        ("api.anthropic.com/v1", "anthropic"),
        ("dashscope.aliyuncs.com/compatible-mode/v1", "alibaba"),
        ("llm-x1.ap-southeast-1.maas.aliyuncs.com/compatible-mode/v1", "alibaba"),
        ("api.siliconflow.com/v1", "siliconflow"),
        ("api.moonshot.cn/v1", "moonshot"),
        ("api.deepinfra.com/v1/openai", "deepinfra"),
    ):
        assert preset_of(None, f"https://{host}").name == name
    assert preset_of(None, "https://models.inference.ai.azure.com").name == ""  # GitHub's, with its token
    assert preset_of(None, "https://evil-api.groq.com.example/v1").name == ""


def test_a_key_goes_to_its_own_host_only():
    elsewhere = job({"base_url": "https://proxy.example/v1", "api_key_env": "GROQ_API_KEY"}).endpoint[0]

    with pytest.raises(UsageError, match=r"belongs to api\.groq\.com"):
        find_key(elsewhere, {"GROQ_API_KEY": "k"})


def test_azure_needs_an_address_of_ones_own():
    with pytest.raises(UsageError, match="openai.azure.com"):
        job({"preset": "azure"})


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'groq'"):
        job({"preset": "grok"})


def test_endpoints_get_names_of_their_own():
    endpoints = job([{"preset": "groq"}, {"preset": "groq"}, {"base_url": "http://127.0.0.1:9/v1"}]).endpoint

    assert [one.name for one in endpoints] == ["groq", "groq-2", "127.0.0.1:9"]


def test_a_name_given_twice_is_refused():
    with pytest.raises(UsageError, match="two endpoints are named 'a'"):
        job([{"name": "a", "preset": "groq"}, {"name": "a", "preset": "vllm"}])


def test_a_flag_that_names_a_place_leaves_that_one_only():
    both = [{"preset": "groq", "weight": 3}, {"preset": "vllm"}]

    assert [one.name for one in job(both, {"endpoint.preset": "openai"}).endpoint] == ["openai"]
    chosen = job(both, {"endpoint.base_url": "https://api.groq.com/openai/v1"}).endpoint
    assert [(one.name, one.weight) for one in chosen] == [("groq", 3.0)]


def test_a_price_of_one_model_and_of_one_endpoint():
    described = job_from(
        {
            "input": {"path": "rows.csv"},
            "request": {"model": "m", "prompt": "{text}"},
            "endpoint": [{"preset": "vllm", "price": {"input": 1, "output": 2}}, {"preset": "groq"}],
            "price": {"input": 3, "output": 4, "models": {"big": {"input": 5, "output": 6}}},
        }
    )

    assert described.endpoint[0].price.output == 2
    assert described.price.models["big"].input == 5
    assert Job.from_dict(described.to_dict()) == described


def test_half_a_price_is_refused():
    with pytest.raises(UsageError, match="both input and output"):
        job_from(
            {
                "input": {"path": "rows.csv"},
                "request": {"model": "m", "prompt": "{text}"},
                "price": {"models": {"big": {"input": 5}}},
            }
        )
