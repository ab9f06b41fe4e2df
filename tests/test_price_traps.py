"""The ways to be silently wrong about money (arXiv 2408.16737 and what came after), each with the figure it spoils."""

import json
from collections.abc import Mapping
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from providers.gemini import Gemini
from providers.openai_compatible import OpenAICompatible
from toolkit import catalog, config, cost, plan
from toolkit.errors import InputError
from toolkit.plan import Candidate
from toolkit.spec import Budget, Price
from toolkit.types import PICO, HttpReply, Request, Usage

AUGUST = date(2024, 9, 1)  # flash after its cut, pro before its own


def quoted(**facts: Any) -> cost.Price:
    return cost.price(Price.model_validate({"input": 0, "output": 1, **facts}))


def listed(model: str, on: date = AUGUST) -> cost.Price:
    found = catalog.require(model).price(on)
    assert found is not None
    return cost.price(found)


def candidate(name: str, price: cost.Price, **tokens: Any) -> Candidate:
    known = {"prompt_tokens": 0.0, "output_tokens": 250.0, "expect_source": "expect", **tokens}
    return Candidate(name=name, key=name, model=name, price=price, compute=None, **known)


def drawn(*arms: Candidate, draws: int = 1) -> dict[str, int]:
    made = plan.make(arms, 1, Budget(draws=draws))
    return {name: part.draws_per_problem for name, part in made.parts.items()}


def answered(adapter: Any, request: Request, **body: Any) -> Usage:
    reply = adapter.decode(request, HttpReply(200, {}, json.dumps(body).encode()))
    assert reply.usage is not None
    return reply.usage


def openai_usage(usage: Mapping[str, Any], text: str = "4") -> Usage:
    choice = {"finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    adapter = OpenAICompatible("https://api.openai.com/v1", None)
    return answered(adapter, Request("m", prompt="Q", max_tokens=9), choices=[choice], usage=usage)


# --- the paper's ratios --------------------------------------------------------------------------


def test_output_prices_alone_buy_35_draws_for_one() -> None:
    strong, cheap = (listed(f"gemini-1.5-{size}") for size in ("pro", "flash"))
    output_only = [cost.Price(0, p.output, 0, p.output) for p in (strong, cheap)]
    assert drawn(candidate("strong", output_only[0]), candidate("cheap", output_only[1])) == {
        "strong": 1,
        "cheap": 35,
    }


@pytest.mark.parametrize(("prompt", "ratio"), [(700, 39.8), (1500, 42.0)])
def test_the_prompt_at_list_prices_moves_the_ratio(prompt: int, ratio: float) -> None:
    strong, cheap = (listed(f"gemini-1.5-{size}").expected(prompt, 250, 0) for size in ("pro", "flash"))
    assert float(strong / cheap) == pytest.approx(ratio, abs=0.05)


def test_a_ratio_of_8_75_buys_8_draws_and_the_residual_is_stated() -> None:
    strong, cheap = candidate("strong", quoted(output="8.75")), candidate("cheap", quoted(output=1))
    made = plan.make([strong, cheap], 10, Budget(draws=1))
    assert {n: p.draws_per_problem for n, p in made.parts.items()} == {"strong": 1, "cheap": 8}
    assert made.residual == pytest.approx(0.75 * 250 * 10 / 10**6)
    assert made.as_json()["residual"]["unit"] == "usd"


# --- 6: cost per draw, not per token -------------------------------------------------------------


def test_equal_prices_per_token_are_matched_by_what_a_draw_costs() -> None:
    terse = candidate("terse", quoted(), output_tokens=100.0)
    rambling = candidate("rambling", quoted(), output_tokens=250.0, thinking_tokens=250.0)
    assert drawn(terse, rambling) == {"terse": 5, "rambling": 1}


def test_a_model_cheaper_per_token_may_be_dearer_per_draw() -> None:
    cheap = candidate("cheap", quoted(output=1), output_tokens=3000.0)
    strong = candidate("strong", quoted(output=10), output_tokens=200.0)
    assert drawn(cheap, strong) == {"cheap": 1, "strong": 1}
    assert drawn(cheap, strong, draws=2) == {"cheap": 2, "strong": 3}


# --- 7: prompts, caches, batches -----------------------------------------------------------------


def test_the_prompt_is_billed_once_for_the_draws_of_one_request() -> None:
    price = quoted(input=1)
    many, one = Usage(prompt=700, output=4 * 250), Usage(prompt=700, output=250)
    assert 4 * price.cost(one) - price.cost(many) == 3 * 700 * 10**6


def test_requests_of_one_draw_bill_it_every_time_and_buy_fewer() -> None:
    price = quoted(input=1)
    assert price.expected(700, 4 * 250, 0) == price.cost(Usage(700, 1000))
    assert price.expected(700, 4 * 250, 0, requests=4) == 4 * price.cost(Usage(700, 250))


def test_only_the_tokens_the_server_calls_cached_get_the_discount() -> None:
    price = quoted(input=1, cached_input="0.1")
    usage = openai_usage(
        {"prompt_tokens": 2006, "completion_tokens": 300, "prompt_tokens_details": {"cached_tokens": 1920}}
    )
    assert price.cost(usage) == 86 * 10**6 + 1920 * 10**5 + 300 * 10**6
    assert price.cost(openai_usage({"prompt_tokens": 2006, "completion_tokens": 300})) == 2306 * 10**6


def test_a_batch_discount_of_one_model_alone_changes_the_match() -> None:
    with_share = Price.model_validate({"input": 0, "output": 10, "batch": "0.5"})
    batched, plain = cost.price(cost.in_batches(with_share)), cost.price(with_share)
    cheap = candidate("cheap", quoted(output=1))
    assert drawn(candidate("strong", plain), cheap) == {"strong": 1, "cheap": 10}
    assert drawn(candidate("strong", batched), cheap) == {"strong": 1, "cheap": 5}


def test_a_model_without_a_batch_price_is_not_given_one() -> None:
    with pytest.raises(ValueError, match="no batch share"):
        cost.in_batches(Price.model_validate({"input": 1, "output": 1}))


# --- 8: thinking is billed from the usage record -------------------------------------------------


@pytest.mark.parametrize(
    "usage",
    [
        {
            "prompt_tokens": 10,
            "completion_tokens": 5004,
            "completion_tokens_details": {"reasoning_tokens": 5000},
        },
        {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 5014},  # left out of completion_tokens
    ],
)
def test_thoughts_nobody_shows_are_billed_as_output(usage: dict[str, Any]) -> None:
    got = openai_usage(usage, text="4")
    assert (got.output, got.thinking) == (4, 5000)
    assert quoted().cost(got) == 5004 * 10**6


def test_gemini_counts_thoughts_beside_the_answer_and_both_are_billed() -> None:
    candidates = [{"content": {"parts": [{"text": "4"}]}, "finishReason": "STOP"}]
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 4, "thoughtsTokenCount": 5000}
    adapter = Gemini("https://generativelanguage.googleapis.com", "key")
    got = answered(adapter, Request("gemini-2.5-pro", prompt="Q"), candidates=candidates, usageMetadata=usage)
    assert quoted().cost(got) == 5004 * 10**6


def test_thoughts_shown_at_length_are_billed_by_their_count() -> None:
    short = {
        "prompt_tokens": 10,
        "completion_tokens": 7,
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    assert quoted().cost(openai_usage(short, text="word " * 10_000)) == 7 * 10**6


@pytest.mark.parametrize("usage", [{}, {"completion_tokens": 9}, {"prompt_tokens": 9}])
def test_a_usage_without_one_of_its_fields_is_no_account(usage: dict[str, Any]) -> None:
    """The sampler then settles at the upper bound; a field read as 0 would settle the answer as free."""
    choice = {"finish_reason": "stop", "message": {"role": "assistant", "content": "4"}}
    body = json.dumps({"choices": [choice], "usage": usage}).encode()
    adapter = OpenAICompatible("https://api.openai.com/v1", None)
    assert adapter.decode(Request("m", prompt="Q", max_tokens=9), HttpReply(200, {}, body)).usage is None


# --- 9: tokenizers differ ------------------------------------------------------------------------


def test_one_text_counts_for_each_model_what_its_own_tokenizer_makes_of_it() -> None:
    price = quoted(output=1)
    fine = candidate("fine", price, output_tokens=400.0)
    coarse = candidate("coarse", price, output_tokens=200.0)
    assert drawn(fine, coarse) == {"fine": 1, "coarse": 2}
    answer = "the same words"
    usages = [openai_usage({"prompt_tokens": 0, "completion_tokens": n}, text=answer) for n in (400, 200)]
    assert [price.cost(u) for u in usages] == [400 * 10**6, 200 * 10**6]


# --- 10: dates and tiers -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("on", "ratio"), [(date(2024, 8, 11), 10), (date(2024, 8, 12), 35), (date(2024, 10, 1), 16)]
)
def test_the_day_decides_how_many_draws_match(on: date, ratio: int) -> None:
    strong, cheap = (listed(f"gemini-1.5-{size}", on) for size in ("pro", "flash"))
    arms = [
        candidate(n, cost.Price(0, p.output, 0, p.output)) for n, p in (("strong", strong), ("cheap", cheap))
    ]
    assert drawn(*arms) == {"strong": 1, "cheap": ratio}


def test_one_token_beyond_the_tier_doubles_the_whole_prompt() -> None:
    price = listed("gemini-1.5-pro")
    below, beyond = price.cost(Usage(128_000, 0)), price.cost(Usage(128_001, 0))
    assert below == 128_000 * 3_500_000
    assert beyond == 128_001 * 7_000_000


def test_a_long_context_run_is_bound_by_the_dearer_tier() -> None:
    price = listed("gemini-2.5-pro", date(2026, 11, 1))
    asked = Request("gemini-2.5-pro", prompt="x" * 250_000, max_tokens=1000)
    assert price.bound(asked) == 250_016 * 2_500_000 + 1000 * 15_000_000


# --- 12: rounding --------------------------------------------------------------------------------


@pytest.mark.parametrize("hundredths", range(101, 1000, 37))
def test_no_ratio_gives_the_cheap_arm_more_than_the_strong_one_spent(hundredths: int) -> None:
    strong = candidate("strong", quoted(output=str(hundredths / 100)))
    cheap = candidate("cheap", quoted(output=1))
    made = plan.make([strong, cheap], 1, Budget(draws=1))
    spent = {name: part.usd_pico or Fraction(0) for name, part in made.parts.items()}
    assert spent["cheap"] <= spent["strong"]
    assert spent["strong"] - spent["cheap"] < Fraction(250 * 10**6)  # less than one more draw
    assert made.residual == pytest.approx(float((spent["strong"] - spent["cheap"]) / PICO))


# --- bad input -----------------------------------------------------------------------------------


def test_a_missing_price_names_the_nearest_model_the_catalog_has_one_of() -> None:
    nameless = Candidate("cheap", "cheap", "gemini-2.5-flahs", None, None, 0.0, 250.0)
    with pytest.raises(InputError) as said:
        plan.make([nameless], 1, Budget(draws=1))
    assert "models.cheap.price is missing" in str(said.value)
    assert "did you mean 'gemini-2.5-flash'?" in str(said.value)
    assert "\n" not in str(said.value)


def test_an_open_model_has_no_price_and_is_not_mistaken_for_another() -> None:
    local = Candidate("local", "local", "google/gemma-2-9b-it", None, None, 0.0, 250.0)
    with pytest.raises(InputError) as said:
        plan.make([local], 1, Budget(draws=1))
    assert "did you mean" not in str(said.value)


def test_a_price_of_zero_cannot_be_matched() -> None:
    arms = [candidate("free", quoted(output=0)), candidate("dear", quoted(output=1))]
    with pytest.raises(InputError, match=r"models\.free.*costs nothing.*match samples or flops"):
        plan.make(arms, 1, Budget(draws=1))


@pytest.mark.parametrize(
    ("price", "words"),
    [
        ({"input": -1, "output": 1}, ("models.m.price.input", "greater than or equal to 0")),
        ({"input": 1}, ("models.m.price.output",)),
        (
            {"input": 1, "output": 1, "above": {0: {"input": 1, "output": 1}}},
            ("price.above", "greater than 0"),
        ),
        ({"input": 1, "output": 1, "per_request": -1}, ("price.per_request", "greater than or equal to 0")),
        ({"input": 1, "output": 1, "outptu": 1}, ("unknown key 'outptu'", "did you mean 'output'?")),
    ],
)
def test_a_wrong_price_in_a_run_file_is_one_line(price: dict[str, Any], words: tuple[str, ...]) -> None:
    content = {
        "name": "n",
        "problems": {"source": "builtin:word-problems"},
        "models": {"m": {"provider": "gemini", "model": "gemini-2.5-pro", "price": price}},
        "budget": {"usd": 1},
    }
    with pytest.raises(InputError) as said:
        config.validated(Path("run.yaml"), content)
    assert all(word in str(said.value) for word in ("run.yaml", *words)), said.value
    assert "\n" not in str(said.value)
