"""P8 begins here: where a key may come from, and which host may see it."""

from __future__ import annotations

import pytest

from batchlab.errors import UsageError
from batchlab.job.file import job_from
from batchlab.job.key import Secret, find_key

KEY = "canary-0123456789"


def job(base_url: str | None = None, **endpoint):
    data = {"input": {"path": "rows.csv"}, "request": {"model": "m", "prompt": "{text}"}}
    if base_url:
        endpoint["base_url"] = base_url
    return job_from({**data, "endpoint": endpoint}).endpoint[0]


def test_the_default_endpoint_uses_the_modelslab_variable():
    key = find_key(job(), {"MODELSLAB_API_KEY": KEY})

    assert key is not None
    assert key.reveal() == KEY


def test_a_key_may_be_in_the_keyring(monkeypatch):
    monkeypatch.setattr("keyring.get_password", lambda *entry: {("provider", "me"): KEY}.get(entry))

    found = find_key(job("https://provider.example/v1", api_key_keyring="provider:me"), {})
    assert found is not None
    assert found.reveal() == KEY
    with pytest.raises(UsageError, match="keyring set other other"):
        find_key(job("https://provider.example/v1", api_key_keyring="other"), {})


def test_a_secret_does_not_show_itself():
    secret = Secret(KEY)

    assert KEY not in f"{secret} {secret!r} {[secret]}"


@pytest.mark.parametrize("environ", [{}, {"MODELSLAB_API_KEY": ""}, {"OPENAI_API_KEY": KEY}])
def test_a_missing_key_names_the_variable(environ):
    with pytest.raises(UsageError, match="set MODELSLAB_API_KEY"):
        find_key(job(), environ)


@pytest.mark.parametrize(
    "url",
    ["https://evil.example/v1", "https://modelslab.com.evil.example/v1", "https://evilmodelslab.com/v1"],
)
def test_a_known_key_is_never_sent_to_another_host(url):
    with pytest.raises(UsageError, match="belongs to modelslab.com"):
        find_key(job(url, api_key_env="MODELSLAB_API_KEY"), {"MODELSLAB_API_KEY": KEY})


def test_an_unknown_host_needs_a_key_by_name():
    with pytest.raises(UsageError, match="endpoint.api_key_env"):
        find_key(job("https://llm.example/v1"), {"MODELSLAB_API_KEY": KEY, "OPENAI_API_KEY": KEY})


@pytest.mark.parametrize(
    "url", ["simulator", "local", "http://127.0.0.1:8000/v1", "http://localhost:11434/v1"]
)
def test_an_endpoint_on_this_machine_needs_no_key(url):
    assert find_key(job(url), {"MODELSLAB_API_KEY": KEY}) is None


def test_a_key_does_not_travel_unencrypted_unless_asked():
    environ = {"MY_KEY": KEY}

    with pytest.raises(UsageError, match="unencrypted"):
        find_key(job("http://llm.example/v1", api_key_env="MY_KEY"), environ)
    assert find_key(job("http://llm.example/v1", api_key_env="MY_KEY", allow_http=True), environ) is not None


@pytest.mark.parametrize("value", ["two words", "line\nbreak", "tab\there", "ключ", " "])
def test_a_malformed_key_is_refused_without_showing_it(value):
    with pytest.raises(UsageError) as caught:
        find_key(job(), {"MODELSLAB_API_KEY": value})

    assert value.strip() == "" or value not in str(caught.value)


def test_a_trailing_newline_of_a_key_is_dropped():
    key = find_key(job(), {"MODELSLAB_API_KEY": KEY + "\r\n"})

    assert key is not None
    assert key.reveal() == KEY


def test_a_key_file_that_others_can_read_is_refused(tmp_path):
    path = tmp_path / "key"
    path.write_text(KEY)
    path.chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        find_key(job(api_key_file=str(path)), {})

    path.chmod(0o600)
    key = find_key(job(api_key_file=str(path)), {})

    assert key is not None
    assert key.reveal() == KEY
