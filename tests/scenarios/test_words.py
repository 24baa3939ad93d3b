"""What a run says to who pays for it: as flags to who typed flags, right at one, and what to do next."""

from __future__ import annotations

import csv
import socket

import pandas as pd
import pytest

SIM = ("-m", "M", "-p", "{text}", "--base-url", "simulator", "--progress", "none")


def csv_of(path, texts) -> None:
    path.write_bytes(b"id,text\n" + b"".join(b"%d,%s\n" % pair for pair in enumerate(texts)))


def test_plan_and_run_agree_on_a_row_that_cannot_be_read(here, tmp_path):
    csv_of(tmp_path / "rows.csv", [b"caf\xe9", *[b"plain"] * 30])

    for command in ("plan", "run"):
        done = here(command, "rows.csv", *SIM, "--run-dir", "r")
        said = done.out + done.err
        assert done.code == (0 if command == "plan" else 1), said
        assert "pass --encoding cp1252, which reads '0,café' there" in said
        assert "1 malformed row will be recorded as failed (bad_input); --strict refuses to start" in said
        refused = here(command, "rows.csv", *SIM, "--run-dir", "strict", "--strict")
        assert refused.code == 2
        assert "1 malformed row, and --strict takes none" in refused.err
    assert "to send: 30 requests" in here("plan", "rows.csv", *SIM, "--run-dir", "other").out


def test_a_job_file_s_run_is_told_in_the_job_file_s_keys(here, tmp_path):
    csv_of(tmp_path / "rows.csv", [b"caf\xe9", *[b"plain"] * 30])
    (tmp_path / "job.toml").write_text(
        '[input]\npath = "rows.csv"\n[endpoint]\nbase_url = "simulator"\n'
        '[request]\nmodel = "M"\nprompt = "{text}"\n'
    )

    for command in ("plan", "run"):
        done = here(command, "job.toml")
        said = done.out + done.err
        assert 'pass [input] encoding = "cp1252", which reads' in said
        assert "(bad_input); [input] strict = true refuses to start" in said


def test_the_whole_run_after_its_first_rows_says_how_many_were_answered_before(here, rows_file):
    rows = rows_file(24)
    assert here("run", rows, *SIM, "-n", "10").code == 0

    done = here("run", rows, *SIM)

    assert "10 of 24 rows answered before (with --limit 10); 14 to send" in done.err
    assert "the job changed" not in done.err


def test_a_retry_that_would_pay_for_the_same_cut_is_refused(here, rows_file):
    rows = rows_file(6)
    assert here("run", rows, *SIM, "--max-tokens", "1", "--run-dir", "r").code == 0

    for more in ((), ("--max-tokens", "1")):
        refused = here("retry", "r", "--only", "truncated", *more)
        assert refused.code == 2
        assert "6 answers cut off at 1 token would be paid and cut off again" in refused.err
        assert "Pass more: --max-tokens 2; or leave truncated out." in refused.err
    assert here("retry", "r", "--only", "truncated", "--max-tokens", "2").code == 0
    again = here("retry", "r", "--only", "truncated,failed", "--max-tokens", "2")
    assert again.code == 2, "what a retry was cut off at counts, not only the run's own cap"
    assert "cut off at 2 tokens" in again.err
    assert here("retry", "r", "--only", "failed").code == 0


def test_a_key_that_was_wanted_and_not_given_is_told(here, rows_file, simulator, monkeypatch):
    url, rows = simulator().base_url, rows_file(3)

    stopped = here("run", rows, "-m", "M", "-p", "{text}", "--base-url", url, "--run-dir", "r")
    assert stopped.code == 3
    assert f"{url} wants a key, and none was given: --api-key-env NAME names the variable" in stopped.err
    checked = here("check", "-m", "M", "--base-url", url)
    assert checked.code == 3
    assert "key: none sent" in checked.out
    assert f"{url} wants a key, and none was given: --api-key-env NAME" in checked.out

    monkeypatch.setenv("OTHER", "wrong")
    words = ("--base-url", url, "--api-key-env", "OTHER")
    assert "the refused key is that of OTHER" in here("run", rows, *SIM[:4], *words, "--run-dir", "s").err
    assert "key: present (from OTHER)" in here("check", "-m", "M", *words).out


def test_a_server_that_is_not_there_is_told_without_a_library_s_words(here, rows_file):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    done = here("run", rows_file(3), "-m", "M", "-p", "{text}", "--base-url", f"http://127.0.0.1:{port}/v1")

    assert done.code == 3
    assert f"connection refused at 127.0.0.1:{port}: is the server running there?" in done.err
    assert "ssl:" not in done.err


@pytest.mark.parametrize("delimiter", [";", "tab", "|", ","])
def test_a_csv_for_excel_goes_round(here, rows_file, tmp_path, delimiter):
    rows = rows_file(4, texts=["ä;b", "c,d\te|f", 'q"q', "=1+1"])
    words = ("--csv-encoding", "utf-8-sig", "--csv-delimiter", delimiter)
    assert here("run", rows, *SIM, "--run-dir", "r", "-o", "run.csv", *words).code == 0
    assert here("export", "r", "-o", "again.csv").code == 0  # as the run's job has it
    assert here("export", "r", "-o", "plain.csv", "--csv-encoding", "utf-8", "--csv-delimiter", ",").code == 0

    data = (tmp_path / "run.csv").read_bytes()
    assert data.startswith(b"\xef\xbb\xbf")
    assert (tmp_path / "again.csv").read_bytes() == data
    assert not (tmp_path / "plain.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    char = "\t" if delimiter == "tab" else delimiter
    with (tmp_path / "plain.csv").open(encoding="utf-8", newline="") as file:
        plain = list(csv.reader(file))
    with (tmp_path / "run.csv").open(encoding="utf-8-sig", newline="") as file:
        assert list(csv.reader(file, delimiter=char)) == plain
    frame = pd.read_csv(tmp_path / "run.csv", sep=char, dtype=str)
    assert list(frame.columns) == plain[0]
    assert frame["text"].tolist() == ["ä;b", "c,d\te|f", 'q"q', "'=1+1"]
    # and our own reader finds the delimiter and takes no notice of the mark
    assert here("run", "run.csv", *SIM, "--prefix", "out_", "--run-dir", "s", "-o", "s.jsonl").code == 0
    assert pd.read_json(tmp_path / "s.jsonl", lines=True)["text"].tolist() == frame["text"].tolist()


def test_the_simulator_lists_its_faults_by_kind_with_what_they_do(here):
    listed = here("simulate", "--list-faults")

    assert listed.code == 0
    assert "an HTTP status:\n" in listed.out
    assert "\n  http_503 " in listed.out
