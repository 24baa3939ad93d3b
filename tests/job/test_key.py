"""P8 begins here: where a key may come from, and which host may see it."""

from __future__ import annotations

import pytest

from batchlab.errors import UsageError
from batchlab.job.file import job_from, load_job
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


@pytest.mark.parametrize(
    "written",
    [
        "https://provider.example/v1/chat/completions",
        "https://provider.example/v1/chat/completions/",
        " https://provider.example/v1/completions ",
        "https://provider.example/v1/embeddings",
    ],
)
def test_an_address_may_have_a_task_s_path_at_its_end(written):
    """As a provider's page shows it, and as `curl` takes it."""
    assert job(written).base_url == "https://provider.example/v1"


def test_what_follows_an_address_stays():
    assert (
        job("https://p.example/v1/chat/completions?api-version=1").base_url
        == "https://p.example/v1?api-version=1"
    )


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0:8000",
        "[::1]:8000",
        "127.0.1.1",
        "192.168.1.20:8000",
        "10.0.0.3",
        "gpu-box:8000",
        "box.local",
        "[fd00::2]",
    ],
)
def test_an_address_of_the_user_s_own_needs_no_key(host):
    assert find_key(job(f"http://{host}/v1"), {}) is None


@pytest.mark.parametrize("host", ["api.example.com", "8.8.8.8", "[2606:4700::1111]"])
def test_an_address_of_the_world_needs_one(host):
    with pytest.raises(UsageError, match="no API key named"):
        find_key(job(f"https://{host}/v1"), {})


@pytest.mark.parametrize("name", ["sk-1234567890abcdef", "gsk_abcdefghij0123456789XYZ", "two words", ""])
def test_a_key_in_the_place_of_its_variable_is_not_echoed(name):
    with pytest.raises(UsageError, match="name of a variable") as told:
        job("https://provider.example/v1", api_key_env=name)
    assert not name or name not in str(told.value)


def test_another_service_s_key_is_pointed_out():
    with pytest.raises(UsageError, match="endpoint.preset=openai") as told:
        find_key(job(), {"OPENAI_API_KEY": KEY})
    assert KEY not in str(told.value)


def test_a_private_env_file_has_the_key(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(f'# ours\nexport MODELSLAB_API_KEY="{KEY}"  # the night\n')
    (tmp_path / ".env").chmod(0o600)

    found = find_key(job(), {})

    assert found is not None
    assert found.reveal() == KEY
    assert find_key(job(), {"MODELSLAB_API_KEY": "of-the-environment"}).reveal() == "of-the-environment"
    with pytest.raises(UsageError, match="is missing"):
        find_key(job(env_file=False), {})


def test_an_env_file_that_others_can_read_is_not_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(f"MODELSLAB_API_KEY={KEY}\n")
    (tmp_path / ".env").chmod(0o644)

    with pytest.raises(UsageError, match="chmod 600") as told:
        find_key(job(), {})
    assert KEY not in str(told.value)


def test_the_env_file_beside_a_job_file_is_read(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "job.toml").write_text('[input]\npath = "r.jsonl"\n[request]\nmodel = "m"\n')
    (tmp_path / "work" / ".env").write_text(f"MODELSLAB_API_KEY={KEY}\n")
    (tmp_path / "work" / ".env").chmod(0o600)
    monkeypatch.chdir(tmp_path)

    loaded = load_job("work/job.toml")

    assert find_key(loaded.endpoint[0], {}).reveal() == KEY
    assert KEY not in str(loaded.to_dict())


def test_a_ca_bundle_without_certificates_is_refused(tmp_path):
    (tmp_path / "company.pem").write_text("this is no certificate\n")
    for named, problem in (("company.pem", "holds no certificates"), ("absent.pem", "cannot be read")):
        with pytest.raises(UsageError, match=problem):
            job("https://provider.example/v1", ca_bundle=str(tmp_path / named))
