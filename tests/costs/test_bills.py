"""The oracle for bills: what an answer costs, against genai-prices; what it may cost at the most; in columns."""

from __future__ import annotations

import subprocess
import sys
import time

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchlab.costs.price import Price, Served
from batchlab.costs.pricing import MOST_KINDS, PriceBook
from batchlab.job import EndpointJob, Job, PriceJob, RequestJob
from batchlab.looking.money.answer_prices import Kind, prices_of
from batchlab.looking.money.cost_table import _usd, prepared
from batchlab.records import ChatRequest, Usage
from tests.conftest import environment
from tests.proofs.costs.bills import (
    HOURS,
    LAYOUTS,
    MIDNIGHT,
    TIERS,
    URLS,
    Bill,
    bills,
    compare,
    lengths,
    model_of,
)

pytestmark = pytest.mark.proof  # many runs, or runs of many rows

# models with every trait that a price may have
TRAITS = [
    ("openai", "gpt-5.5"),  # length, tiers, batch, cache
    ("openai", "gpt-5.4-mini"),
    ("openai", "gpt-4.1"),
    ("openai", "gpt-audio"),  # sound
    ("azure", "gpt-5.5"),  # taken from another list, without its tiers
    ("azure", "claude-opus-4-6"),  # cache writes
    ("anthropic", "claude-sonnet-4-5"),  # length, cache writes, batch
    ("google", "gemini-2.5-pro"),
    ("google", "gemini-2.5-flash"),
    ("x-ai", "grok-4"),
    ("deepseek", "deepseek-v4-flash"),  # hours
    ("deepseek", "deepseek-chat"),  # hours that begin at half past
    ("groq", "llama-3.3-70b-versatile"),
    ("mistral", "mistral-large-latest"),
    ("moonshotai", "kimi-k2-0905-preview"),
    ("perplexity", "sonar"),  # a price of the request itself
    ("perplexity", "sonar-deep-research"),  # reasoning
    ("openrouter", "anthropic/claude-sonnet-4.5"),
    ("together", "meta-llama/Llama-3.3-70B-Instruct-Turbo"),
]
BOOKS = {
    (service, name): PriceBook(EndpointJob(base_url=URLS[service]), PriceJob(), name)
    for service, name in TRAITS
}


@st.composite
def drawn_bills(draw: st.DrawFn) -> tuple[PriceBook, Bill]:
    service, name = draw(st.sampled_from(TRAITS))
    edges = lengths(model_of(service, name))
    prompt = draw(st.one_of(st.integers(0, 1_000_000), st.sampled_from(edges)))
    completion = draw(st.integers(0, 200_000))
    cached = draw(st.integers(0, prompt))
    written = draw(st.integers(0, prompt - cached))
    layout = draw(st.sampled_from(LAYOUTS))
    sound = draw(st.integers(0, prompt - cached - written)) if layout == "sound" else 0
    tier = st.sampled_from([None, "", "auto", "default", *TIERS])
    served = Served(
        name,
        draw(tier),
        draw(st.sampled_from([None, name, "a model that no list knows"])),
        draw(tier),
        draw(st.sampled_from(["live", "batch"])),
    )
    at = draw(st.one_of(st.sampled_from(HOURS), st.integers(MIDNIGHT - 10**8, MIDNIGHT + 10**7)))
    reasoning = draw(st.integers(0, completion))
    book = BOOKS[service, name]
    return book, Bill(
        URLS[service], name, served, at, prompt, completion, cached, written, reasoning, sound, layout
    )


@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(drawn_bills())
def test_any_answer_costs_what_genai_prices_says_to_a_billionth_of_a_dollar(drawn):
    """Usage layout x tier x cache x hour x length x live, flex or batch x service."""
    book, bill = drawn
    if bill.served.served_as != bill.asked:  # the list does not know that name: priced as asked
        known = bill.served._replace(served_as=None)
        assert book.cost_usd(bill.usage(), known, bill.at) == book.cost_usd(
            bill.usage(), bill.served, bill.at
        )
        bill = Bill(**{name: getattr(bill, name) for name in Bill.__slots__} | {"served": known})

    assert book.cost_usd(bill.usage(), bill.served, bill.at) == pytest.approx(
        bill.truth(), abs=1e-9, rel=1e-12
    )


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(drawn_bills(), st.integers(0, 4_200))
def test_no_answer_costs_more_than_what_was_set_aside_for_its_request(drawn, later):
    """The tier that was asked for or the usual one, any length up to the longest, any hour until the answer."""
    book, bill = drawn
    asked = bill.served.tier
    body = {"model": bill.asked, "messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}
    request = ChatRequest(0, "r", body | ({} if asked is None else {"service_tier": asked}), b"", 4)
    most = book.ceiling(request, bill.at, 4_200.0, tier=asked)
    assert most is not None

    for tier in (asked, "default", "standard", None):
        served = Served(bill.asked, asked, None, tier)
        usd = book.cost_usd(bill.usage(), served, bill.at + later)
        assert usd is not None
        assert usd <= most.most_usd(bill.prompt, bill.completion) * (1 + 1e-12) + 1e-12


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(drawn_bills(), min_size=1, max_size=8))
def test_a_column_of_answers_costs_what_each_of_them_does(drawn):
    book, first = drawn[0]
    price = book.price(first.served, first.at)
    usages = [bill.usage() for _, bill in drawn]
    names = ("prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")
    columns = {name: [getattr(usage, name) for usage in usages] for name in names}
    frame = prepared(pd.DataFrame({**columns, "usage_raw": [usage.raw for usage in usages]}))

    assert list(_usd(price, frame)) == pytest.approx([price.cost_usd(usage) for usage in usages], abs=1e-9)


def test_bills_of_some_models_in_every_way_that_the_list_knows():
    """The short form of `python -m tests.proofs.costs.bills`."""
    for service, name in (("openai", "gpt-5.5"), ("deepseek", "deepseek-chat")):
        book = BOOKS[service, name]
        for bill in list(bills(service, name))[::7]:
            usd = book.cost_usd(bill.usage(), bill.served, bill.at)
            assert usd == pytest.approx(bill.truth(), abs=1e-9), bill
    _, compared, largest = compare(every=500)
    assert compared > 0
    assert largest <= 1e-9


def test_counts_that_contradict_each_other_are_cut_to_what_the_prompt_holds():
    price = Price(1.0, 2.0, 0.5, 1.25)

    assert price.cost_usd(Usage(10, 0, cached_tokens=99)) == pytest.approx(5e-6)
    assert price.cost_usd(Usage(10, 0, cached_tokens=8, cache_write_tokens=8)) == pytest.approx(6.5e-6)
    assert price.cost_usd(Usage(10, None)) is None


@pytest.mark.parametrize(
    ("given", "served", "usd"),
    [
        ({"input": 1.0, "output": 4.0}, Served("m"), 5.0),
        ({"input": 1.0, "output": 4.0, "flex": 0.5}, Served("m", "flex"), 2.5),
        ({"input": 1.0, "output": 4.0, "flex": 0.5}, Served("m", "flex", None, "default"), 2.5),
        ({"input": 1.0, "output": 4.0, "flex": 0.5}, Served("m", "flex", None, "standard"), 5.0),
        ({"input": 1.0, "output": 4.0, "flex": 0.5}, Served("m", None, None, "flex"), 2.5),
        ({"input": 1.0, "output": 4.0}, Served("m", "flex"), 5.0),
        ({"input": 1.0, "output": 4.0, "flex": 0.5}, Served("m", processing="batch"), 5.0),
        ({"input": 1.0, "output": 4.0, "batch": PriceJob(0.5, 1.0)}, Served("m", processing="batch"), 1.5),
        ({"input": 1.0, "output": 4.0, "batch": 0.8}, Served("m", "flex", processing="batch"), 4.0),
    ],
)
def test_a_stated_price_goes_by_tier_and_batch_where_it_says_so(given, served, usd):
    """Where it does not, an answer costs what others cost: never less than what may be billed."""
    book = PriceBook(EndpointJob(base_url="https://api.openai.com/v1"), PriceJob(**given), "m")

    assert book.cost_usd(Usage(1_000_000, 1_000_000), served, time.time()) == pytest.approx(usd)


def test_a_price_is_never_kept_past_its_hour():
    book = BOOKS["deepseek", "deepseek-v4-flash"]
    usage, served = Usage(1_000_000, 0), Served("deepseek-v4-flash")
    hours = {hour: book.cost_usd(usage, served, MIDNIGHT + hour * 3_600) for hour in range(24)}

    dear = {hour for hour, usd in hours.items() if usd == pytest.approx(0.3)}
    assert dear == {1, 2, 3, 6, 7, 8, 9}
    assert all(usd == pytest.approx(0.15) for hour, usd in hours.items() if hour not in dear)


def test_a_cap_counts_with_how_requests_were_served_so_far():
    book = PriceBook(EndpointJob(base_url="https://api.openai.com/v1"), PriceJob(), "gpt-4.1-mini")
    request = ChatRequest(0, "r", {"model": "gpt-4.1-mini", "messages": []}, b"", 4)
    before = book.ceiling(request, MIDNIGHT, 600.0, tier=None).most_usd(1_000_000, 0)
    book.cost_usd(Usage(1, 1), Served("gpt-4.1-mini", None, "gpt-4.1-mini", "priority"), MIDNIGHT)

    assert before == pytest.approx(0.4)
    assert book.ceiling(request, MIDNIGHT, 600.0, tier=None).most_usd(1_000_000, 0) == pytest.approx(0.7)


def test_a_price_for_a_person_says_length_tiers_and_hours():
    [long] = [BOOKS["openai", "gpt-5.5"].described("gpt-5.5", MIDNIGHT)]
    hours = BOOKS["deepseek", "deepseek-v4-flash"].described("deepseek-v4-flash", MIDNIGHT)

    assert long.startswith("$5 in, $30 out per 1M tokens; ")
    for word in (
        "over 272,000 prompt tokens $10 in, $45 out",
        "flex $2.5 in",
        "batch $2.5 in",
        "genai-prices",
    ):
        assert word in long
    assert "at other hours $0.3 in" in hours


def test_a_job_that_states_its_price_loads_no_price_list():
    code = (
        "import sys; from batchlab.costs.pricing import *; from batchlab.job import *; "
        "book = PriceBook(EndpointJob(base_url='https://api.openai.com/v1'), PriceJob(1.0, 2.0, flex=0.5), 'm'); "
        "print(book.described('m', 0.0), 'genai_prices' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "$1 in, $2 out per 1M tokens; flex $0.5 in, $1 out (job) False"


def test_a_what_if_has_the_list_s_own_price_or_none():
    """gpt-4.1 goes through the batch API at half, and has no flex; Azure takes the model, not its tiers."""
    at = Kind("gpt-4.1", None, None, float(MIDNIGHT))
    usage = Usage(1_000_000, 0)
    here, azure = (
        prices_of(Job(endpoint=(EndpointJob(base_url=URLS[service]),), request=RequestJob(model="gpt-4.1")))
        for service in ("openai", "azure")
    )

    assert here(at).cost_usd(usage) == azure(at).cost_usd(usage) == pytest.approx(2.0)
    assert here(at, "batch").cost_usd(usage) == pytest.approx(1.0)
    assert [here(at, "flex"), azure(at, "batch"), azure(at, "flex")] == [None] * 3
    assert here(at._replace(tier="priority")).cost_usd(usage) == pytest.approx(3.5)


def test_a_whole_run_that_states_its_price_loads_no_price_list(simulator, rows_file, tmp_path):
    server, rows = simulator(), rows_file(5)
    words = ["run", "-i", str(rows), "-m", "sim", "-p", "{text}", "--base-url", server.base_url]
    words += ["--api-key-env", "SIMULATOR_KEY", "--price-in", "1", "--price-out", "4", "--max-cost", "1"]
    code = (
        f"import sys, atexit; sys.argv = ['batchlab', *{words!r}]; from batchlab.cli import main; "
        "atexit.register(lambda: print('loaded', 'genai_prices' in sys.modules)); main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    assert "loaded False" in done.stdout


def test_a_server_that_names_another_model_each_time_takes_no_memory_for_it():
    book = PriceBook(EndpointJob(base_url="https://api.openai.com/v1"), PriceJob(input=1.0, output=2.0), "m")
    usage = Usage(prompt_tokens=1_000_000, completion_tokens=0)

    costs = {book.cost_usd(usage, Served("m", None, f"m-{n}"), 0.0) for n in range(3 * MOST_KINDS)}

    assert costs == {1.0}
    assert len(book._found) <= MOST_KINDS
