"""Money in integer picodollars, and bounds that are bounds."""

import json
import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from toolkit import cost, spec
from toolkit.cost import Price, Rates
from toolkit.ledger import Ledger
from toolkit.types import Message, Request, Usage


def quoted(**prices: Any) -> Price:
    return cost.price(spec.Price.model_validate({"input": 1, "output": 4, **prices}))


LONG = {200_000: {"input": "2.5", "output": 6, "cached_input": "0.25"}}


def any_rates(rng: random.Random) -> tuple[int, int, int, int]:
    return (rng.randrange(10**7), rng.randrange(10**7), rng.randrange(10**7), rng.randrange(10**7))


def any_price(rng: random.Random, thresholds: int) -> Price:
    """A price whose long prompts may be dearer or cheaper than its short ones."""
    above = [(t, Rates(*any_rates(rng))) for t in sorted(rng.sample(range(1, 600), thresholds))]
    return Price(*any_rates(rng), request=rng.choice([0, rng.randrange(10**10)]), above=tuple(above))


def test_six_decimals_are_exact() -> None:
    price = quoted(input="0.000001", output="123456.789012", cached_input=0.1, thinking="0.043296")
    assert (price.input, price.output) == (1, 123_456_789_012)
    assert (price.cached, price.thinking) == (100_000, 43_296)


@pytest.mark.parametrize("wrong", [{"input": "0.0000001"}, {"output": -1}, {"input": float("inf")}])
def test_a_price_that_cannot_be_exact_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        quoted(**wrong)


def test_a_thousand_draws_cost_a_thousand_times_one() -> None:
    price = quoted(input="0.1", output="0.7")
    one, all_of_them = Usage(prompt=3, output=7), Usage(prompt=3000, output=7000)
    assert 1000 * price.cost(one) == price.cost(all_of_them) == 5_200 * 10**6


def test_cached_tokens_are_part_of_the_prompt_and_have_their_own_price() -> None:
    price = quoted(cached_input="0.25")
    assert price.cost(Usage(prompt=100, output=0, cached=40)) == 60 * 10**6 + 40 * 250_000
    assert quoted().cost(Usage(prompt=100, output=0, cached=40)) == 100 * 10**6


def test_thoughts_cost_what_output_costs_unless_they_have_a_price() -> None:
    usage = Usage(prompt=0, output=10, thinking=100)
    assert quoted().cost(usage) == 110 * 4 * 10**6
    assert quoted(thinking=1).cost(usage) == (10 * 4 + 100) * 10**6


def test_no_usage_within_the_request_costs_more_than_its_bound() -> None:
    rng = random.Random(0)
    for round_ in range(2000):
        price = any_price(rng, round_ % 4)
        text = "".join(rng.choice("aé数🙂 ") for _ in range(rng.randrange(200)))
        request = Request(
            "m",
            messages=(Message("system", "é"), Message("user", text)) if rng.random() < 0.5 else (),
            n=rng.randrange(1, 9),
            max_tokens=rng.randrange(1, 500),
        )
        if not request.messages:
            request = Request("m", prompt=text, n=request.n, max_tokens=request.max_tokens)
        assert request.max_tokens is not None
        size = len((text if request.prompt is not None else text + "é").encode())
        prompt = rng.choice([size, rng.randrange(size + 1)])
        out = rng.choice([1.0, rng.random()]) * request.n * request.max_tokens
        thinking = rng.randrange(int(out) + 1)
        usage = Usage(prompt, int(out) - thinking, rng.randrange(prompt + 1), thinking)
        assert price.cost(usage) <= price.bound(request)


def test_a_long_prompt_bills_every_token_of_its_request_at_the_dearer_rates() -> None:
    price = quoted(above=LONG)
    just, beyond = Usage(200_000, 10, 50, 5), Usage(200_001, 10, 50, 5)
    assert price.cost(just) == (200_000 + 15 * 4) * 10**6
    assert price.cost(beyond) == 199_951 * 2_500_000 + 50 * 250_000 + 15 * 6 * 10**6


def test_the_tier_follows_the_prompts_tokens_with_those_cached() -> None:
    assert quoted(above=LONG).cost(Usage(200_001, 0, cached=200_001)) == 200_001 * 250_000


def test_the_highest_threshold_passed_counts_in_whatever_order_they_are_given() -> None:
    price = quoted(above={300: {"input": 9, "output": 9}, 100: {"input": 3, "output": 3}})
    assert [price.rates(prompt).input // 10**6 for prompt in (100, 101, 300, 301)] == [1, 3, 3, 9]


def test_the_bound_takes_the_dearest_rates_that_the_prompts_bytes_may_reach() -> None:
    price = quoted(above={100: {"input": 9, "output": 90}})
    short, long = (Request("m", prompt="x" * size, max_tokens=10) for size in (100 - 16, 101 - 16))
    assert price.bound(short) == (100 + 10 * 4) * 10**6
    assert price.bound(long) == (101 * 9 + 10 * 90) * 10**6


def test_a_tier_that_is_cheaper_leaves_the_bound_at_the_longest_prompt_below_it() -> None:
    price = quoted(above={100: {"input": "0.1", "output": "0.1"}})
    assert price.bound(Request("m", prompt="x" * 200, max_tokens=10)) == (100 + 10 * 4) * 10**6


def test_a_fee_is_paid_once_per_request_whatever_its_draws() -> None:
    price = quoted(per_request="0.005")
    assert price.cost(Usage(10, 20)) == 5 * 10**9 + (10 + 80) * 10**6
    asked = Request("m", prompt="", n=8, max_tokens=1)
    assert price.bound(asked) - quoted().bound(asked) == 5 * 10**9


def test_what_is_expected_of_requests_is_what_they_cost() -> None:
    rng = random.Random(1)
    for _ in range(100):
        price, usage = any_price(rng, 2), Usage(rng.randrange(700), rng.randrange(99), 0, rng.randrange(99))
        thrice = price.expected(usage.prompt, 3 * usage.output, 3 * usage.thinking, requests=3)
        assert thrice == 3 * price.cost(usage)


def test_a_batch_pays_its_share_of_every_tier_and_the_whole_fee() -> None:
    whole = spec.Price.model_validate(
        {"input": 1, "output": 4, "above": LONG, "per_request": "0.01", "batch": "0.5"}
    )
    half = cost.price(cost.in_batches(whole))
    assert (half.input, half.output, half.request) == (500_000, 2_000_000, 10**10)
    assert half.rates(200_001) == Rates(1_250_000, 3_000_000, 250_000, 3_000_000)


def test_the_ledger_keeps_all_that_the_same_bill_needs(tmp_path: Path) -> None:
    rng = random.Random(2)
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        for thresholds in range(4):
            price = any_price(rng, thresholds)
            dated = Price(**{**_fields(price), "date": "2024-08-12", "source": "a page"})
            row = ledger.add_price(cost.price_row("m", dated))
            ((kept,),) = ledger.rows("SELECT row_json FROM price WHERE id=?", (row,))
            assert cost.from_row(json.loads(kept)) == dated


def _fields(price: Price) -> dict[str, Any]:
    return {name: getattr(price, name) for name in (*cost.KINDS, "request", "above")}


def test_a_price_row_written_before_there_were_tiers_is_still_a_price() -> None:
    old = {"model": "m", "input": 1, "cached": 2, "output": 3, "thinking": 4, "date": "", "source": "world"}
    assert cost.from_row(old) == Price(1, 3, 2, 4, source="world")
    assert cost.price_row("m", cost.from_row(old)) == old


def test_the_bound_has_room_for_a_chat_template() -> None:
    two = (Message("system", "ab"), Message("user", "数"))
    assert cost.prompt_bound(Request("m", messages=two)) == 2 + 16 + 3 + 16


def test_a_request_without_max_tokens_has_no_bound() -> None:
    with pytest.raises(ValueError, match="max_tokens"):
        quoted().bound(Request("m", prompt="Q"))


def test_unpriced_is_not_free() -> None:
    assert cost.to_usd(None) is None
    assert cost.to_usd(0) == 0
    assert cost.to_usd(1_234_567_890_123) == 1.23456789


@pytest.mark.parametrize("usd", ["0.1", 0.1, Decimal("0.1")])
def test_dollars_become_picodollars_without_the_error_of_floats(usd: Any) -> None:
    assert cost.to_pico(usd) == 10**11


def test_flops_are_two_per_parameter_and_generated_token() -> None:
    assert cost.flops(9 * 10**9, 100) == 1.8e12


def test_prices_are_shown_as_they_are_quoted() -> None:
    price = quoted(input="0.3", date="2026-11-21", source="a page")
    shown = price.as_json()
    assert (shown["input"], shown["cached"], shown["output"], shown["thinking"]) == (0.3, 0.3, 4, 4)
    assert (shown["date"], shown["source"]) == ("2026-11-21", "a page")
    assert cost.price_row("m", price)["input"] == 300_000
