"""When one row's trouble means that the run cannot go on."""

from __future__ import annotations

from batchlab.dispatch.health import FIRST_ROWS, RunHealth
from batchlab.records import Outcome, OutcomeClass

FAIL, STOP, WAIT, PAUSE = OutcomeClass.FAIL, OutcomeClass.STOP, OutcomeClass.WAIT, OutcomeClass.PAUSE


def test_a_wrong_model_stops_the_run_before_its_second_row():
    assert RunHealth().judged(Outcome(FAIL, "not_found", 404, after="no_success")).kind is STOP


def test_the_same_404_after_a_success_fails_its_row_only():
    health = RunHealth()
    health.succeeded()

    assert health.judged(Outcome(FAIL, "not_found", 404, after="no_success")).kind is FAIL


def test_the_third_403_in_a_row_stops_the_run():
    health = RunHealth()
    refused = Outcome(FAIL, "forbidden", 403, after="row_streak")

    assert [health.judged(refused).kind for _ in range(3)] == [FAIL, FAIL, STOP]


def test_a_success_between_403s_starts_the_count_again():
    health = RunHealth()
    refused = Outcome(FAIL, "forbidden", 403, after="row_streak")
    health.judged(refused)
    health.judged(refused)
    health.succeeded()

    assert health.judged(refused).kind is FAIL


def test_a_request_that_no_row_gets_through_with_stops_after_the_first_rows():
    health = RunHealth()
    bad = Outcome(FAIL, "bad_request", 400, after="first_rows")

    kinds = [health.judged(bad).kind for _ in range(FIRST_ROWS)]

    assert kinds == [FAIL] * (FIRST_ROWS - 1) + [STOP]


def test_an_address_where_nobody_answers_stops_the_run_at_the_third_attempt():
    health = RunHealth()
    refused = Outcome(PAUSE, "connection", after="no_success")

    assert [health.judged(refused).kind for _ in range(3)] == [PAUSE, PAUSE, STOP]


def test_an_endpoint_that_answered_before_and_is_gone_is_an_outage():
    health = RunHealth()
    health.succeeded()
    refused = Outcome(PAUSE, "connection", after="no_success")

    assert {health.judged(refused).kind for _ in range(50)} == {PAUSE}


def test_a_refused_key_stops_at_once_but_a_key_that_worked_gets_two_more_looks():
    refused = Outcome(STOP, "auth", 401)
    assert RunHealth().judged(refused).kind is STOP

    health = RunHealth()
    health.succeeded()
    outcomes = [health.judged(refused) for _ in range(3)]

    assert [outcome.kind for outcome in outcomes] == [WAIT, WAIT, STOP]
    assert outcomes[0].wait_s == 5.0


def test_a_used_up_quota_stops_whatever_came_before():
    health = RunHealth()
    health.succeeded()

    assert health.judged(Outcome(STOP, "quota", 429)).kind is STOP
