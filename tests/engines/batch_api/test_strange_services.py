"""Services that do what their documents allow, and gateways what none allows: no answer that was paid is
thrown away, nothing is ordered twice unsaid, and there is a way on."""

from __future__ import annotations

import gzip
import io
import json
from dataclasses import replace

import pytest

from batchlab.engines.batch_api import life
from batchlab.store.batches import read_batches
from tests.batch_provider import Asked, BatchProvider, Said, providing_batches, refused
from tests.conftest import CANARY

pytestmark = pytest.mark.proof  # many runs

PRICED = ("--price-in", "1", "--price-out", "4", "--price-batch", "0.5")


@pytest.fixture
def service():
    with providing_batches() as provider:
        yield provider


@pytest.fixture
def words(service, rows_file):
    """The words of a run of four rows there."""

    def of(*more: str, dialect: str = "openai") -> tuple[str, ...]:
        at = ("--base-url", service.base_url, "--api-key-env", "SIMULATOR_KEY")
        how = ("--lane", "batch", "--batch-api", dialect, "--run-dir", "run", "--progress", "plain")
        rows = str(rows_file(4))
        return ("run", "-i", rows, "-m", "m", "-p", "{text}", "--max-tokens", "9", *at, *how, *PRICED, *more)

    return of


def ok_rows(here) -> int:
    assert here("export", "run", "-o", "rows.jsonl", "--overwrite").code == 0
    with open("rows.jsonl") as rows:
        return sum(json.loads(row)["status"] == "ok" for row in rows)


READABLE = {
    "gzip": lambda text: gzip.compress(text),
    "UTF-16": lambda text: text.decode().encode("utf-16"),
    "a mark and CRLF": lambda text: b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"),
    "blank lines": lambda text: b"\n \n" + text.replace(b"\n", b"\n\n"),
    "no last line end": lambda text: text.rstrip(b"\n"),
}
UNREADABLE = {
    "a page": lambda _: b"<html><title>Sign in</title></html>",
    "one array": lambda text: b"[" + text.strip().replace(b"\n", b",") + b"]",
    "nothing": lambda _: b"",
    "pretty": lambda text: b"\n".join(
        json.dumps(json.loads(one), indent=1).encode() for one in text.splitlines()
    ),
    "other names": lambda text: text.replace(b'"custom_id": "bl', b'"custom_id": "BL'),
}


@pytest.mark.parametrize("how", READABLE)
def test_results_are_read_however_they_are_packed(service, words, here, how):
    service.lines = lambda results: READABLE[how](service.plain(results))

    done = here(*words())

    assert done.code == 0, done.err
    assert ok_rows(here) == 4
    assert service.ordered() == [4]


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
@pytest.mark.parametrize("how", UNREADABLE)
def test_results_of_which_nothing_can_be_read_are_not_paid_again_unsaid(service, words, here, how, dialect):
    service.lines = lambda results: UNREADABLE[how](service.plain(results))

    stopped = here(*words(dialect=dialect))
    again = here("collect", "run")

    assert (stopped.code, again.code) == (3, 3), stopped.err
    assert "--accept-lost-parts" in stopped.err
    assert "nothing of them is ordered, and paid, again unless you say so" in stopped.err
    assert "why: 127.0.0.1" in here("status", "run").out
    assert service.ordered() == [4]
    service.written_again()  # it was a bad moment of a gateway
    done = here("collect", "run")
    assert done.code == 0, done.err
    assert ok_rows(here) == 4
    assert service.ordered() == [4]


def test_results_that_cannot_be_read_may_be_given_up(service, words, here):
    service.lines = lambda results: b"[]" if len(service.batches) == 1 else service.plain(results)

    assert here(*words()).code == 3
    done = here(*words("--accept-lost-parts"))

    assert done.code == 0, done.err
    assert "given up, as you said" in done.err
    assert service.ordered() == [4, 4]
    assert "lost on the way; each may have been billed" in done.err


@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_download_is_followed_to_where_the_file_is_and_the_key_stays_at_home(
    service, words, here, elsewhere
):
    with providing_batches("localhost") as store:
        place = store.host if elsewhere else ""
        kept = store if elsewhere else service

        def content(asked: Asked) -> Said:
            name = asked.path.split("/")[-2]
            return Said(302, "moved", {"Location": f"{place}/kept/{name}?sig=a%2Fb"})

        service.on("GET", "/content$", content)
        kept.on(
            "GET", "^/kept/", lambda asked: Said(200, service.files[asked.path.split("/")[-1].split("?")[0]])
        )

        done = here(*words("--header", "X-Team: secret-team-7"))

        assert done.code == 0, done.err
        assert ok_rows(here) == 4
        (asked,) = kept.called("GET", "^/kept/")
        assert asked.path.endswith("?sig=a%2Fb")
        sent = " ".join(asked.headers.values())
        assert (CANARY in sent, "secret-team-7" in sent) == (not elsewhere, not elsewhere)
        assert "sig=" not in done.err


def test_redirects_without_an_end_are_no_results(service, words, here):
    service.on("GET", "/content$", lambda asked: Said(302, "", {"Location": asked.path}))

    done = here(*words("--max-outage", "1s"))

    assert done.code == 3
    assert "no answer for 1 s" in done.err
    assert "redirected without an end" in done.err


def test_messages_behind_a_gateway_are_fetched_from_the_gateway(service, words, here):
    def told(state: dict) -> dict:
        url = state["results_url"]
        return state | {"results_url": url and url.replace(service.host, "https://api.anthropic.com")}

    service.told = told
    done = here(*words(dialect="anthropic"))

    assert done.code == 0, done.err
    assert ok_rows(here) == 4


@pytest.mark.parametrize("status", [401, 403])
def test_one_refused_look_ends_no_night(service, words, here, status):
    service.on(
        "GET", "/batches/", lambda asked: refused(status, "Access denied") if asked.count == 0 else None
    )

    done = here(*words())

    assert done.code == 0, done.err
    assert service.ordered() == [4]


def test_a_gateway_that_restarts_and_knows_of_nothing_ends_no_night(service, words, here, quick, monkeypatch):
    from batchlab.protocol.batches import table

    at_once = {name: replace(dialect, visible_s=0.0) for name, dialect in quick.items()}
    monkeypatch.setattr(table, "DIALECTS", at_once)
    looks = []

    def told(state: dict) -> dict:
        looks.append(state)
        return state | ({"status": "in_progress", "output_file_id": None} if len(looks) < 4 else {})

    service.told = told
    service.on(
        "GET", "/batches/", lambda asked: refused(404, "default backend") if asked.count == 1 else None
    )

    done = here(*words())

    assert done.code == 0, done.err
    assert service.ordered() == [4]


@pytest.mark.parametrize("is_first", [True, False])
def test_of_two_lines_of_a_row_the_answer_counts(service, words, here, is_first):
    def lines(results: list[dict]) -> bytes:
        error = {"code": "server_error", "message": "overloaded"}
        bad = [one | {"response": None, "error": error} for one in results]
        return service.plain([*bad, *results] if is_first else [*results, *bad])

    service.lines = lines
    done = here(*words())

    assert done.code == 0, done.err
    assert "4 foreign, doubled or cut lines left out" in done.err
    assert service.ordered() == [4]


@pytest.mark.parametrize(("status", "code"), [(301, 1), (405, 1), (407, 1), (401, 3)])
def test_a_line_that_was_led_astray_is_its_row_s_and_one_whose_key_is_refused_all_rows(
    service, words, here, status, code
):
    def lines(results: list[dict]) -> bytes:
        results[1]["response"] = {"status_code": status, "body": {"error": {"message": "no"}}}
        return service.plain(results)

    service.lines = lines
    done = here(*words())

    assert done.code == code, done.err
    assert ok_rows(here) == 3


@pytest.mark.parametrize("line", [0, 5, 99])
def test_a_line_that_is_none_of_the_batch_blames_no_row_and_is_not_ordered_for_ever(
    service, words, here, line
):
    problem = {"code": "invalid_json_line", "line": line, "message": "no JSON"}
    service.told = lambda state: (
        {**state, "status": "failed", "errors": {"data": [problem]}} | {"output_file_id": None}
    )
    done = here(*words())

    assert done.code == 3, done.err
    assert f"refused batch batch_2 (4 lines): line {line}: no JSON" in done.err
    assert service.ordered() == [4]


@pytest.mark.parametrize("step", ["/files$", "/batches$"])
def test_an_address_without_a_batch_api_is_told_as_what_it_may_be(service, words, here, step):
    service.on("POST", step, lambda _: refused(404, "Not Found"))
    done = here(*words())

    assert done.code == 3
    assert "it may have no batch API at this address; --lane live asks without" in done.err


@pytest.mark.parametrize("step", ["/files$", "/batches$"])
def test_a_service_that_takes_no_batch_leaves_the_rows_to_another(service, here, rows_file, tmp_path, step):
    with providing_batches() as other:
        other.on("POST", step, lambda _: refused(403, "not for your plan", "not_available_for_plan"))
        at = [
            f'[[endpoint]]\nname = "{name}"\nbase_url = "{one.base_url}"\nbatch_api = "openai"\n'
            'api_key_env = "SIMULATOR_KEY"\n'
            for name, one in (("refuses", other), ("takes", service))
        ]
        (tmp_path / "job.toml").write_text(
            f'[input]\npath = "{rows_file(40).as_posix()}"\n[request]\nmodel = "m"\nprompt = "{{text}}"\n'
            f'[limits]\nlane = "batch"\n[output]\nrun_dir = "run"\nshard_rows = 10\n{"".join(at)}'
        )

        done = here("run", "job.toml")

        assert done.code == 0, done.err
        assert (
            done.err.count("refuses refuses the batch: not for your plan; the others go on without it") == 1
        )
        assert len(other.called("POST", step)) == 1  # whatever else was packed for it
        assert sum(service.ordered()) == 40
        service.on("POST", step, lambda _: refused(403, "not here either"))
        none = here("run", "job.toml", "--run-dir", "again")
        assert none.code == 3
        assert "why: " in none.err


def test_a_key_that_is_refused_for_good_stops_the_run_soon(service, words, here):
    service.on("GET", "/batches/", lambda _: refused(401, "Incorrect API key", "invalid_api_key"))

    done = here(*words())

    assert done.code == 3
    assert "Incorrect API key" in done.err
    assert len(service.called("GET", "/batches/")) < 6


@pytest.mark.parametrize("status", [400, 429])
def test_an_order_that_is_refused_for_want_of_room_waits_for_some(service, words, here, status):
    full = refused(status, "Enqueued token limit reached for m", "token_limit_exceeded")
    service.on("POST", "/batches$", lambda asked: full if asked.count == 0 else None)

    done = here(*words())

    assert done.code == 0, done.err
    assert "its queue is full" in done.err
    assert sum(service.ordered()) == 4


@pytest.mark.parametrize("word", ["SUCCEEDED", "Completed", "done"])
def test_other_words_for_an_end_are_ends(service, words, here, word):
    service.told = lambda state: state | {"status": word, "request_counts": None}

    assert here(*words()).code == 0
    assert ok_rows(here) == 4


def test_a_word_that_nobody_knows_is_told_of_once(service, words, here):
    looks = []

    def told(state: dict) -> dict:
        looks.append(state)
        return state | {"status": "marinating"} if len(looks) < 5 else state

    service.told = told
    done = here(*words())

    assert done.code == 0, done.err
    assert done.err.count("'marinating', a word that batchlab does not know") == 1


def test_a_batch_beyond_its_window_is_told_of(service, words, here, monkeypatch):
    looks = []

    def told(state: dict) -> dict:
        looks.append(state)
        return state | ({"status": "in_progress", "output_file_id": None} if len(looks) < 5 else {})

    service.told = told
    monkeypatch.setattr(life, "seconds_of_window", lambda _: 0.0)
    done = here(*words())

    assert done.code == 0, done.err
    assert done.err.count("has not ended within its 24h") == 1
    assert "`batchlab cancel`" in done.err


def test_a_batch_that_ended_long_ago_without_results_is_found_lost_by_a_look(service, words, here):
    service.ends = False
    assert here(*words("--detach")).code == 3
    service.ends = True
    service.told = lambda state: state | {"output_file_id": None, "completed_at": 1_700_000_000}

    found = here("collect", "run")

    assert found.code == 3
    assert "names no results of a completed batch" in found.err
    assert "names no results of a completed batch" in here("status", "run").out


@pytest.mark.parametrize("status", [403, 404, 405])
def test_an_order_of_unknown_fate_where_batches_are_not_listed_has_a_way_on(service, words, here, status):
    def arrives(asked: Asked) -> Said | None:
        if asked.count:
            return None
        service.create(json.loads(asked.body))
        return Said(504, b"gateway")

    service.on("POST", "/batches$", arrives)
    service.on("GET", r"/batches\?", lambda _: refused(status, "not listed here"))

    stopped = here(*words())

    assert stopped.code == 3
    assert "Look in the service's console for a batch whose custom_ids begin with bl0-" in stopped.err
    assert "not listed here" in stopped.err
    assert "ordered, and not answered yet" in here("status", "run").out
    assert service.ordered() == [4]
    given_up = here(*words("--accept-lost-parts"))
    assert given_up.code == 0, given_up.err
    assert service.ordered() == [4, 4]


def test_a_cron_table_s_log_tells_a_refused_key_from_batches_that_are_out(service, words, here):
    service.ends = False
    assert here(*words("--detach", "-q")).err == ""

    waiting = here("collect", "run", "-q")
    service.on("GET", "/batches/", lambda _: refused(401, "Incorrect API key", "invalid_api_key"))
    trouble = here("collect", "run", "-q")

    assert (waiting.code, waiting.err) == (3, "")
    assert trouble.code == 3
    assert trouble.err.startswith("batchlab: run: ")
    assert "Incorrect API key" in trouble.err
    assert trouble.err.count("\n") == 1


def test_what_a_console_cancelled_is_not_ordered_again_by_a_cron_table(service, words, here):
    service.ends = False
    assert here(*words("--detach")).code == 3
    for batch in service.batches.values():
        batch["cancelled"] = True

    first, second = here("collect", "run"), here("collect", "run")

    assert (first.code, second.code) == (3, 2)
    assert "not by `batchlab collect`" in first.err
    assert service.ordered() == [4]
    service.ends = True
    assert here(*words()).code == 0
    assert service.ordered() == [4, 4]


def test_a_slow_cancel_is_not_undone_by_a_cron_table(service, words, here):
    service.ends = False
    assert here(*words("--detach")).code == 3
    service.on("POST", "/cancel$", lambda _: Said(200, {"id": "batch_2", "status": "cancelling"}))
    cancelled = here("cancel", "run", "--wait", "0.5s")

    assert cancelled.code == 3
    assert here("collect", "run").code == 3  # not ended yet
    for batch in service.batches.values():
        batch["cancelled"] = True
    assert here("collect", "run").code == 3
    assert here("collect", "run").code == 2
    assert service.ordered() == [4]


def test_rows_that_changed_while_a_batch_is_out_shut_nothing_out(service, words, here, tmp_path):
    service.ends = False
    asked = words()
    assert here(*asked, "--detach").code == 3
    rows = tmp_path / asked[2]
    before = rows.read_bytes()
    rows.write_bytes(b'{"text": "another"}\n' + before)

    refused_, cancelled = here("collect", "run"), here("cancel", "run", "--wait", "1s")

    assert (refused_.code, cancelled.code) == (2, 3)
    assert "not what they were when that was ordered" in refused_.err
    assert "1 batch told to end" in cancelled.err
    assert [one.is_cancelled for one in read_batches(tmp_path / "run").out] == [True]
    rows.write_bytes(before)
    home = here("collect", "run")
    assert home.code == 3
    assert "its batches are cancelled" in home.err
    assert service.ordered() == [4]


def test_another_limit_while_a_batch_is_out_is_no_change_of_the_rows(service, words, here):
    service.ends = False
    assert here(*words("--detach")).code == 3

    fewer = here(*words("-n", "2"))

    assert fewer.code == 2
    assert "of the job as it was is out" in fewer.err
    service.ends = True
    assert here("collect", "run").code == 0
    assert ok_rows(here) == 4


def test_rows_of_standard_input_stay_with_batches_that_are_out(service, words, here, monkeypatch):
    def piped(rows: bytes) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(rows)))

    service.ends = False
    asked = [*words("--detach")]
    asked[2] = "-"
    piped(b'{"text": "one"}\n{"text": "two"}\n')
    assert here(*asked).code == 3
    piped(b'{"text": "others"}\n')
    other = here(*asked)
    assert other.code == 2
    assert "the rows of standard input are not what they were" in other.err
    service.ends = True
    piped(b"")

    home = here("collect", "run")

    assert home.code == 0, home.err
    assert ok_rows(here) == 2
    assert here("retry", "run").code == 0  # and reads them from there, too


def test_a_service_that_does_not_answer_for_a_while_is_said_to_and_so_is_its_return(service, words, here):
    """Nothing else would tell why nothing happens: the network may be gone for hours."""
    service.on("POST", "/files$", lambda asked: refused(503, "upstream is away") if asked.count < 4 else None)

    done = here(*words())

    assert done.code == 0, done.err
    assert done.err.count("no answer about batches (upstream is away); asking again, for") == 1
    assert "--max-outage" in done.err or "max_outage" in done.err
    assert done.err.count("answers about batches again") == 1
    assert service.ordered() == [4]


def test_nothing_of_a_provider_is_taken_from_the_product() -> None:
    import tests.batch_provider as module

    with open(module.__file__) as file:
        assert "batchlab" not in file.read().replace("tests.batch_provider", "")
    assert BatchProvider.plain([{"a": 1}]) == b'{"a": 1}\n'
