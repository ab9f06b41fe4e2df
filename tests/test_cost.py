"""Money in integer picodollars, and bounds that are bounds."""

import random
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from toolkit import cost, spec
from toolkit.cost import Price
from toolkit.types import Message, Request, Usage


def quoted(**prices: Any) -> Price:
    return cost.price(spec.Price.model_validate({"input": 1, "output": 4, **prices}))


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
    for _ in range(500):
        price = Price(*(rng.randrange(10**7) for _ in range(4)))
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
