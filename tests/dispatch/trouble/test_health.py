"""When one row's trouble means that the run cannot go on, and when it is the row's alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from batchlab.dispatch.trouble.health import FIRST_ROWS, LOOK_S, RunHealth
from batchlab.dispatch.trouble.refusals import RowRefusals
from batchlab.dispatch.trouble.verdict import Toll, Verdict
from batchlab.records import Outcome, OutcomeClass

FAIL, STOP, WAIT, PAUSE = OutcomeClass.FAIL, OutcomeClass.STOP, OutcomeClass.WAIT, OutcomeClass.PAUSE
RETRY = OutcomeClass.RETRY
UNAUTHORIZED = Outcome(STOP, "auth", 401, "Unauthorized")
FORBIDDEN = Outcome(FAIL, "forbidden", 403, after="row_streak")
LIMITED = Outcome(WAIT, "rate_limit", 429, "Slow down")
WEEKS_S = 1_209_600.0


class Endpoint:
    """One endpoint's health on a clock of its own; each row is sent and refused, or answered, in a moment."""

    def __init__(self, answers: int = 0) -> None:
        self.health = RunHealth()
        self.now = 100.0
        self.rows: dict[object, RowRefusals] = {}
        self.answered(answers)

    def answered(self, times: int = 1) -> None:
        for _ in range(times):
            self.now += 0.1
            self.health.succeeded(self.now)
        self.now += 0.1

    def refused(self, outcome: Outcome, row: object = None, **more: object) -> Verdict:
        sent_at = more.pop("sent_at", self.now)
        self.now += 0.01
        refusals = self.rows.setdefault(row, RowRefusals()) if row is not None else RowRefusals()
        return self.health.judged(outcome, refusals, sent_at=sent_at, now=self.now, **more)  # type: ignore[arg-type]

    def kinds(self, outcome: Outcome, times: int) -> list[OutcomeClass]:
        return [self.refused(outcome).outcome.kind for _ in range(times)]


def test_a_wrong_model_stops_the_run_before_its_second_row():
    wrong = Outcome(FAIL, "not_found", 404, after="no_success")

    assert Endpoint().refused(wrong).outcome.kind is STOP


def test_the_same_404_after_a_success_is_asked_again_and_fails_its_row_only():
    endpoint, wrong = Endpoint(1), Outcome(FAIL, "not_found", 404, after="no_success")

    first = endpoint.refused(wrong, "row")
    endpoint.answered()

    assert first.outcome.kind is WAIT
    assert endpoint.refused(wrong, "row").outcome.kind is FAIL


def test_the_third_403_in_a_row_stops_the_run():
    assert Endpoint().kinds(FORBIDDEN, 3) == [FAIL, FAIL, STOP]


def test_a_success_between_403s_starts_the_count_again():
    endpoint = Endpoint()
    endpoint.kinds(FORBIDDEN, 2)
    endpoint.answered()

    assert [endpoint.refused(FORBIDDEN).hold_s for _ in range(3)] == [None, None, LOOK_S]


def test_a_request_that_no_row_gets_through_with_stops_after_the_first_rows():
    bad = Outcome(FAIL, "bad_request", 400, after="first_rows")

    assert Endpoint().kinds(bad, FIRST_ROWS) == [FAIL] * (FIRST_ROWS - 1) + [STOP]


def test_equal_causes_are_told_by_their_facts_and_not_by_words_with_numbers_in_them():
    endpoint = Endpoint()
    kinds = [
        endpoint.refused(
            Outcome(FAIL, "bad_request", 400, f"row {n} is bad", after="first_rows", cause="invalid_value")
        ).outcome.kind
        for n in range(FIRST_ROWS)
    ]
    assert kinds[-1] is STOP

    endpoint = Endpoint()
    for n in range(5 * FIRST_ROWS):
        bad = Outcome(FAIL, "bad_request", 400, "bad", after="first_rows", cause=("a", "b")[n % 2])
        assert endpoint.refused(bad).outcome.kind is FAIL


@pytest.mark.parametrize("error_class", ["content_filter", "context_length", "too_large"])
@pytest.mark.parametrize("after", ["", "first_rows", "row_streak", "no_success"])
def test_rows_refused_for_their_own_content_or_length_never_stop_a_run(error_class, after):
    refused = Outcome(FAIL, error_class, 400, after=after)

    assert set(Endpoint().kinds(refused, 5 * FIRST_ROWS)) == {FAIL}


def test_they_do_not_hide_a_request_that_is_wrong_for_all_the_others():
    endpoint, bad = Endpoint(), Outcome(FAIL, "bad_request", 400, after="first_rows")
    for _ in range(FIRST_ROWS - 1):
        endpoint.refused(bad)
        endpoint.refused(Outcome(FAIL, "context_length", 400))

    assert endpoint.refused(bad).outcome.kind is STOP


def test_an_address_where_nobody_answers_stops_the_run_at_the_third_attempt():
    refused = Outcome(PAUSE, "connection", after="no_success")

    assert Endpoint().kinds(refused, 3) == [PAUSE, PAUSE, STOP]


def test_an_endpoint_that_answered_before_and_is_gone_is_an_outage():
    refused = Outcome(PAUSE, "connection", after="no_success")

    assert set(Endpoint(1).kinds(refused, 50)) == {PAUSE}


@pytest.mark.parametrize("kind", [RETRY, FAIL])
def test_web_pages_from_the_start_stop_the_run_at_the_third_and_fail_no_row(kind):
    page = Outcome(kind, "invalid_response", 200, "Chat Console", after="wrong_address")

    assert Endpoint().kinds(page, 3) == [RETRY, RETRY, STOP]
    assert set(Endpoint(1).kinds(replace(page, kind=RETRY), 20)) == {RETRY}


def test_a_key_refused_from_the_start_stops_at_once():
    assert Endpoint().refused(UNAUTHORIZED).outcome.kind is STOP


@pytest.mark.parametrize(
    ("error_class", "code"), [("auth", 401), ("quota", 402), ("redirect", 307), ("tls", None)]
)
def test_after_answers_everybody_waits_five_seconds_and_one_more_refusal_stops(error_class, code):
    endpoint = Endpoint(20)
    refused = Outcome(STOP, error_class, code)

    first = endpoint.refused(refused)
    in_flight = [endpoint.refused(refused, sent_at=endpoint.now - 1) for _ in range(31)]
    endpoint.now += LOOK_S
    probe = endpoint.refused(refused)

    assert (first.outcome.kind, first.hold_s, first.toll) == (WAIT, LOOK_S, Toll.NOTHING)
    assert {(one.outcome.kind, one.hold_s) for one in in_flight} == {(WAIT, None)}
    assert all(one.behind_s > LOOK_S - 1 for one in in_flight)
    assert probe.outcome.kind is STOP


def test_a_probe_that_is_answered_ends_the_look_and_the_next_one_needs_more_refusals():
    endpoint = Endpoint(20)
    endpoint.refused(UNAUTHORIZED)
    endpoint.now += LOOK_S
    endpoint.answered()

    assert endpoint.refused(UNAUTHORIZED).hold_s is None
    assert endpoint.refused(UNAUTHORIZED).hold_s == LOOK_S


def test_a_probe_whose_content_is_refused_was_let_in_and_ends_the_look():
    endpoint = Endpoint(20)
    endpoint.refused(UNAUTHORIZED)
    endpoint.now += LOOK_S

    verdict = endpoint.refused(Outcome(FAIL, "content_filter", 400))

    assert verdict.releases
    assert verdict.outcome.kind is FAIL


def test_a_row_that_is_redirected_each_time_fails_and_holds_nobody_twice():
    endpoint, redirected = Endpoint(20), Outcome(STOP, "redirect", 307, "redirects")
    verdicts = [endpoint.refused(redirected, "row")]
    while verdicts[-1].outcome.kind is WAIT:
        endpoint.now += verdicts[-1].behind_s
        endpoint.answered(10)
        verdicts.append(endpoint.refused(redirected, "row"))

    assert verdicts[-1].outcome.kind is FAIL
    assert verdicts[-1].outcome.error_class == "redirect"
    assert "redirects" in verdicts[-1].outcome.message
    assert 4 <= len(verdicts) <= 8
    assert [one.hold_s for one in verdicts].count(LOOK_S) == 1


@pytest.mark.parametrize("outcome", [Outcome(STOP, "redirect", 307), UNAUTHORIZED])
def test_with_nobody_else_to_ask_the_last_row_is_asked_three_times_before_the_run_stops(outcome):
    endpoint = Endpoint(20)
    kinds = []
    for _ in range(3):
        kinds.append(endpoint.refused(outcome, "row", left=1).outcome.kind)
        endpoint.now += 10

    assert kinds == [WAIT, WAIT, STOP]


def test_the_last_row_that_is_forbidden_fails_at_once():
    assert Endpoint(20).refused(FORBIDDEN, "row", left=1).outcome.kind is FAIL


def test_another_process_that_was_answered_earns_a_second_look_here():
    endpoint = Endpoint()
    endpoint.health.succeeded_elsewhere()

    assert endpoint.refused(UNAUTHORIZED).hold_s == LOOK_S


def test_a_row_refused_again_and_again_while_others_are_answered_fails_after_four_times():
    endpoint = Endpoint(50)
    verdicts = []
    for _ in range(4):
        verdicts.append(endpoint.refused(LIMITED, "row"))
        endpoint.answered(60)

    assert [one.outcome.kind for one in verdicts] == [WAIT, WAIT, WAIT, FAIL]
    assert verdicts[-1].outcome.error_class == "rate_limit"
    assert [one.toll for one in verdicts[1:]] == [Toll.NOTHING] * 3  # the window is not cut for it
    assert 0 < verdicts[1].behind_s < verdicts[2].behind_s


@pytest.mark.parametrize("share", [2, 3, 5])
def test_a_row_with_no_more_bad_luck_than_the_others_does_not_fail(share):
    """One in `share` requests is answered; this row happens to be refused eight times."""
    endpoint = Endpoint(20)
    for turn in range(8):
        assert endpoint.refused(LIMITED, "row").outcome.kind is WAIT
        for other in range(20):
            if other % share:
                endpoint.refused(LIMITED, (turn, other))
            else:
                endpoint.answered()


def test_refusals_of_everybody_count_against_no_row():
    endpoint = Endpoint(100)
    for _ in range(50):
        for row in range(8):
            assert endpoint.refused(LIMITED, row).outcome.kind is WAIT
        endpoint.now += 10


@pytest.mark.parametrize("answers", [0, 9])
@pytest.mark.parametrize("kind", [WAIT, PAUSE])
def test_a_limit_s_pause_beyond_what_is_allowed_stops_the_run(kind, answers):
    long = Outcome(kind, "rate_limit", 429, wait_s=WEEKS_S)
    stopped = Endpoint(answers).refused(long, max_pause_s=60.0)

    assert stopped.outcome.kind is STOP
    assert stopped.outcome.wait_s == WEEKS_S


def test_a_server_error_that_asks_for_weeks_is_asked_again_soon():
    endpoint, weeks = Endpoint(), Outcome(RETRY, "server", 500, wait_s=WEEKS_S)

    for _ in range(6):
        one = endpoint.refused(weeks, "row", max_pause_s=60.0).outcome
        assert (one.kind, one.wait_s) == (RETRY, None)


@pytest.mark.parametrize("answers", [0, 9])
def test_server_errors_of_several_rows_in_a_row_that_ask_for_weeks_stop_the_run(answers):
    endpoint, weeks = Endpoint(answers), Outcome(RETRY, "server", 503, wait_s=WEEKS_S)
    kinds = [endpoint.refused(weeks, row, max_pause_s=60.0).outcome.kind for row in "abc"]

    assert kinds == [RETRY, RETRY, STOP]


def test_an_answer_between_them_begins_the_count_anew():
    endpoint, weeks = Endpoint(), Outcome(RETRY, "server", 503, wait_s=WEEKS_S)
    for row in range(20):
        assert endpoint.refused(weeks, row, max_pause_s=60.0).outcome.kind is RETRY
        if row % 2:
            endpoint.answered()


def test_this_machine_s_shortages_are_no_row_s_refusals():
    endpoint = Endpoint(50)
    for _ in range(20):
        verdict = endpoint.refused(Outcome(WAIT, "local", wait_s=1.0), "row")
        endpoint.answered(5)
        assert (verdict.outcome.kind, verdict.toll) == (WAIT, Toll.LIMITED)


SERVER = Outcome(RETRY, "server", 500, "boom")


def test_errors_of_one_row_with_answers_between_them_count_against_the_endpoint_once():
    endpoint = Endpoint(50)
    tolls = []
    for _ in range(6):
        tolls.append(endpoint.refused(SERVER, "row").toll)
        endpoint.answered()

    assert tolls == [Toll.FAILED] + 5 * [Toll.NOTHING]


def test_once_shown_they_are_the_row_s_own_when_only_such_rows_are_left():
    endpoint = Endpoint(40)
    for row in range(8):
        endpoint.refused(SERVER, row)
        endpoint.answered(4)
    tolls = {endpoint.refused(SERVER, row, left=8).toll for _ in range(5) for row in range(8)}

    assert tolls == {Toll.NOTHING}


@pytest.mark.parametrize("left", [None, 5])
def test_errors_with_nobody_answered_between_them_count_against_the_endpoint(left):
    endpoint = Endpoint(50)
    tolls = [endpoint.refused(SERVER, row, left=left).toll for _ in range(4) for row in range(5)]

    assert set(tolls) == {Toll.FAILED}


def test_in_an_outage_those_of_rows_that_failed_before_count_again():
    endpoint = Endpoint(50)
    endpoint.refused(SERVER, "row")
    endpoint.answered()
    assert endpoint.refused(SERVER, "row").toll is Toll.NOTHING
    for other in range(20):
        assert endpoint.refused(SERVER, other).toll is Toll.FAILED

    assert endpoint.refused(SERVER, "row").toll is Toll.FAILED


def test_a_row_that_was_odd_in_an_earlier_pass_counts_at_no_time():
    endpoint = Endpoint()
    endpoint.rows["row"] = RowRefusals(is_odd=True)

    assert [endpoint.refused(SERVER, "row").toll for _ in range(3)] == 3 * [Toll.NOTHING]


@pytest.mark.parametrize("error_class", ["auth", "quota", "redirect"])
def test_before_any_answer_what_is_in_flight_is_one_look_and_the_last_of_it_decides(error_class):
    refused = Outcome(STOP, error_class, 401)
    bad_key, bad_replica = Endpoint(), Endpoint()

    looks = [bad_key.refused(refused, n, beside=3 - n) for n in range(4)]
    first = bad_replica.refused(refused, "row", beside=2)
    bad_replica.answered(2)

    assert [one.outcome.kind for one in looks] == [WAIT, WAIT, WAIT, STOP]
    assert all(one.hold_s for one in looks[:3])
    assert first.outcome.kind is WAIT
    assert bad_replica.refused(refused, "row").outcome.kind is WAIT


def test_a_certificate_that_is_refused_stops_whatever_is_in_flight():
    assert Endpoint().refused(Outcome(STOP, "tls"), beside=3).outcome.kind is STOP
