"""From a budget to draws per problem: Eq. 1 in any currency, floored, the rest stated."""

import random
from dataclasses import replace
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from toolkit import catalog, cost, gpu, plan
from toolkit.errors import InputError
from toolkit.gpu import Flops
from toolkit.plan import Candidate, Plan
from toolkit.spec import Budget, Gpu, Model, Price
from toolkit.types import PICO

AUGUST_2024 = {"cheap": ("0.075", "0.30"), "strong": ("3.50", "10.50")}  # gemini-1.5 flash and pro


def quoted(input: str, output: str) -> cost.Price:
    return cost.price(Price(input=Decimal(input), output=Decimal(output)))


def candidate(name: str, price: tuple[str, str] | None = None, **changes: Any) -> Candidate:
    active = changes.pop("active_params", None)
    known: dict[str, Any] = {"prompt_tokens": 0.0, "output_tokens": 250.0, "expect_source": "expect"}
    known |= {"compute": Flops(active) if active else None, **changes}
    return Candidate(name, name, f"vendor/{name}", quoted(*price) if price else None, **known)


def pair(**changes: Any) -> list[Candidate]:
    return [candidate(name, price, **changes) for name, price in AUGUST_2024.items()]


def sized(strong: int, cheap: int, **changes: Any) -> list[Candidate]:
    price = changes.pop("price", None)
    return [
        candidate("strong", price, active_params=strong, **changes),
        candidate("cheap", price, active_params=cheap, **changes),
    ]


def draws(made: Plan) -> dict[str, int]:
    return {name: arm.draws_per_problem for name, arm in made.parts.items()}


# --- Eq. 1 ---------------------------------------------------------------------------------------


def test_the_papers_prices_of_output_alone_buy_35_draws_for_one() -> None:
    made = plan.make(pair(), 100, Budget(draws=1))
    assert draws(made) == {"cheap": 35, "strong": 1}
    assert made.residual == 0


def test_the_papers_models_in_the_catalog_have_that_price_ratio() -> None:
    found = [catalog.require(f"gemini-1.5-{size}").price(date(2024, 9, 1)) for size in ("pro", "flash")]
    strong, cheap = [price.output for price in found if price]
    assert strong / cheap == 35


def test_input_without_a_price_leaves_the_ratio_of_outputs() -> None:
    arms = [
        candidate("cheap", ("0", "0.30"), prompt_tokens=700.0),
        candidate("strong", ("0", "10.50"), prompt_tokens=700.0),
    ]
    assert draws(plan.make(arms, 10, Budget(draws=2))) == {"cheap": 70, "strong": 2}


def test_the_prompt_is_part_of_the_price_and_the_remainder_is_stated() -> None:
    made = plan.make(pair(prompt_tokens=700.0), 10, Budget(draws=1))
    cheap, strong = (made.parts[name].candidate.usd_pico(1, 4) for name in ("cheap", "strong"))
    assert cheap is not None
    assert strong is not None
    assert float(strong / cheap) == pytest.approx(39.8, abs=0.01)
    assert draws(made) == {"cheap": 39, "strong": 1}
    assert made.residual == pytest.approx(float((strong - 39 * cheap) * 10 / PICO))
    assert made.as_json()["residual"] == {"amount": made.residual, "unit": "usd"}


def test_a_ratio_is_floored_and_never_rounded_up() -> None:
    made = plan.make(sized(35 * 10**9, 4 * 10**9), 1, Budget(draws=1, match="flops"))
    assert draws(made) == {"strong": 1, "cheap": 8}
    assert made.residual == pytest.approx(0.75 * cost.flops(4 * 10**9, 250))


@pytest.mark.parametrize(("k", "expected"), [(1, 3), (10, 30)])
def test_a_third_of_the_parameters_buys_three_times_the_draws(k: int, expected: int) -> None:
    made = plan.make(sized(27 * 10**9, 9 * 10**9), 5, Budget(draws=k, match="flops"))
    assert draws(made) == {"strong": k, "cheap": expected}
    assert made.residual == 0


def test_matching_samples_gives_equal_counts_whatever_they_cost() -> None:
    made = plan.make(pair(prompt_tokens=700.0), 10, Budget(draws=7, match="samples"))
    assert draws(made) == {"cheap": 7, "strong": 7}


def test_a_flops_budget_counts_two_per_parameter_and_token() -> None:
    made = plan.make(sized(27 * 10**9, 9 * 10**9), 5, Budget(flops=2 * 5 * 30 * 2 * 9e9 * 250, match="flops"))
    assert draws(made) == {"strong": 10, "cheap": 30}
    assert made.parts["cheap"].flops == 5 * 30 * 2 * 9 * 10**9 * 250
    assert made.residual == 0


def test_only_the_active_parameters_of_a_mixture_of_experts_count() -> None:
    mixture = Model(
        provider="checkpoint", model="m", params={"total": "47e9", "active": 13_000_000_000}
    ).active_params
    assert mixture is not None
    made = plan.make(sized(mixture, 13 * 10**9), 1, Budget(draws=4, match="flops"))
    assert draws(made) == {"strong": 4, "cheap": 4}


# --- what a draw costs ---------------------------------------------------------------------------


def test_the_prompt_is_billed_once_per_request_of_n_draws() -> None:
    arm = candidate("cheap", ("1", "1"), prompt_tokens=1000.0, output_tokens=10.0, max_n=8)
    assert arm.usd_pico(8, rounds=1) == (1000 + 8 * 10) * 10**6
    assert arm.usd_pico(8, rounds=4) == (4 * 1000 + 8 * 10) * 10**6
    assert arm.usd_pico(9, rounds=1) == (2 * 1000 + 9 * 10) * 10**6


def test_n_in_a_request_buys_more_draws_than_one_request_each() -> None:
    def bought(max_n: int) -> int:
        arms = pair(prompt_tokens=700.0, max_n=max_n)
        return draws(plan.make(arms, 10, Budget(usd=Decimal("1"))))["cheap"]

    assert bought(64) > 1.3 * bought(1)


def test_thoughts_are_paid_for() -> None:
    made = plan.make(
        [candidate("thinks", ("0", "1"), thinking_tokens=750.0), candidate("plain", ("0", "1"))],
        1,
        Budget(draws=3),
    )
    assert draws(made) == {"thinks": 3, "plain": 12}


def test_thoughts_are_computed() -> None:
    arms = [
        candidate("thinks", active_params=10**9, thinking_tokens=250.0),
        candidate("plain", active_params=10**9),
    ]
    assert draws(plan.make(arms, 1, Budget(draws=3, match="flops"))) == {"thinks": 3, "plain": 6}


@pytest.mark.parametrize("match", ["price", "flops"])
def test_longer_solutions_buy_fewer_draws(match: str) -> None:
    arms = [
        candidate("short", ("0", "1"), active_params=10**9, output_tokens=100.0),
        candidate("long", ("0", "1"), active_params=10**9, output_tokens=300.0),
    ]
    assert draws(plan.make(arms, 1, Budget(draws=2, match=match))) == {"short": 6, "long": 2}


# --- budgets -------------------------------------------------------------------------------------


def test_a_budget_in_dollars_is_split_equally_and_kept() -> None:
    made = plan.make(pair(prompt_tokens=700.0), 20, Budget(usd=Decimal("2")))
    assert draws(made) == {"cheap": 392, "strong": 9}  # 0.05 dollars a problem; 127.5 and 5075 micro each
    for arm in made.parts.values():
        assert arm.usd_pico is not None
        assert arm.usd_pico <= PICO
    spent = sum(arm.usd_pico or 0 for arm in made.parts.values())
    assert made.residual == pytest.approx(float((2 * PICO - spent) / PICO))


def test_dollars_for_equal_flops_stay_in_the_budget_and_leave_room_for_no_draw() -> None:
    arms = [
        candidate("strong", ("3.50", "10.50"), active_params=27 * 10**9),
        candidate("cheap", ("0.075", "0.30"), active_params=9 * 10**9),
    ]
    made = plan.make(arms, 10, Budget(usd=Decimal("1"), match="flops"))
    spent = sum(arm.usd_pico or 0 for arm in made.parts.values())
    assert spent <= PICO
    used = {name: arm.flops or 0 for name, arm in made.parts.items()}
    assert abs(used["strong"] - used["cheap"]) < (arms[0].flops(1, 4) or 0) * 10
    for arm in made.parts.values():
        one = arm.candidate.flops(1, 4) or 0
        more_flops = (arm.flops or 0) + 10 * one
        more_usd = spent + 10 * (arm.candidate.usd_pico(1, 4) or 0)
        assert more_usd > PICO or more_flops > max(used.values())
    assert made.as_json()["residual"]["unit"] == "flops"


def test_the_dearest_arm_draws_just_what_was_asked_even_where_one_more_is_cheaper() -> None:
    arm = candidate("strong", ("1", "1"), prompt_tokens=60.0, output_tokens=50.0, max_n=64)
    eight, nine = arm.usd_pico(8, 4), arm.usd_pico(9, 4)
    assert eight is not None
    assert nine is not None
    assert nine < eight  # three requests instead of four
    made = plan.make([arm, candidate("cheap", ("0.1", "0.1"), prompt_tokens=60.0)], 1, Budget(draws=8))
    assert made.parts["strong"].draws_per_problem == 8


def test_too_small_a_budget_is_one_line_with_the_arm_and_the_mend() -> None:
    with pytest.raises(InputError) as said:
        plan.make(pair(prompt_tokens=700.0), 1000, Budget(usd=Decimal("0.6")))
    message = str(said.value)
    assert "\n" not in message
    for word in ("budget", "strong", "0.3 usd", "5.08", "raise the budget", "problems.limit"):
        assert word in message


@pytest.mark.parametrize(
    ("arms", "budget", "words"),
    [
        ([candidate("free")], Budget(draws=1), ("models.free.price", "dollars per million tokens")),
        (
            [candidate("free", active_params=1)],
            Budget(usd=Decimal(1), match="flops"),
            ("models.free.price", "usd"),
        ),
        (pair(), Budget(draws=1, match="flops"), ("models.cheap.params", "number of parameters")),
        (pair(), Budget(flops=1e20), ("models.cheap.params", "number of parameters")),
    ],
)
def test_an_unknown_currency_names_the_model_and_the_mend(
    arms: list[Candidate], budget: Budget, words: tuple[str, ...]
) -> None:
    with pytest.raises(InputError) as said:
        plan.make(arms, 1, budget)
    assert all(word in str(said.value) for word in words)


def test_nothing_can_be_matched_to_a_price_of_zero() -> None:
    arms = [candidate("cheap", ("0", "0"), prompt_tokens=9.0), candidate("strong", ("1", "1"))]
    with pytest.raises(InputError, match=r"models\.cheap.*costs nothing.*match samples or flops"):
        plan.make(arms, 1, Budget(draws=1))


def test_lengths_nobody_gave_are_said_to_be_assumed() -> None:
    assumed = [candidate("cheap", ("0", "1"), expect_source="assumed"), candidate("strong", ("0", "2"))]
    notes = plan.make(assumed, 1, Budget(draws=1)).notes
    assert len(notes) == 1
    assert "cheap" in notes[0]
    assert "models.NAME.expect" in notes[0]
    assert plan.make(pair(), 1, Budget(draws=1)).notes == []


def test_the_json_of_a_plan_has_what_its_readers_rely_on() -> None:
    made = plan.make(pair(active_params=10**9), 10, Budget(draws=1)).as_json()
    strong = made["models"]["strong"]
    assert (made["match"], made["residual"]["unit"]) == ("price", "usd")
    assert strong["usd"] == pytest.approx(10 * 250 * 10.5e-6)
    assert strong["usd_per_draw"] == pytest.approx(250 * 10.5e-6)
    assert strong["flops"] == 10 * cost.flops(10**9, 250)
    unpriced = plan.make(sized(2, 1), 1, Budget(draws=1, match="flops")).as_json()["models"]["strong"]
    assert unpriced["usd"] is None
    assert unpriced["usd_per_draw"] is None


# --- properties ----------------------------------------------------------------------------------


def _random_candidate(rng: random.Random, name: str) -> Candidate:
    return Candidate(
        name,
        name,
        name,
        cost.Price(
            rng.choice([0, rng.randrange(1, 10**7)]), rng.randrange(1, 10**7), 1, rng.randrange(10**7)
        ),
        Flops(rng.randrange(1, 10**11), prefill=rng.random() < 0.3),
        prompt_tokens=rng.choice([0.0, rng.uniform(1, 3000)]),
        output_tokens=rng.uniform(1, 500),
        thinking_tokens=rng.choice([0.0, rng.uniform(0, 900)]),
        max_n=rng.choice([1, 2, 7, 64]),
    )


def _brute_force(c: Candidate, share: Fraction, rounds: int) -> int:
    """The largest k within the share; none beyond share / marginal can be."""
    assert c.price is not None
    marginal = Fraction(c.output_tokens) * c.price.output + Fraction(c.thinking_tokens) * c.price.thinking
    return max(k for k in range(int(share / marginal) + 1) if (c.usd_pico(k, rounds) or 0) <= share)


def test_the_search_finds_what_trying_every_number_finds() -> None:
    rng = random.Random(1)
    dips = 0
    for _ in range(1000):
        c, rounds = _random_candidate(rng, "arm"), rng.randrange(1, 7)
        between = Fraction(rng.uniform(0.5, 60)) * (c.usd_pico(1, 1) or 0)
        share = rng.choice([between, c.usd_pico(rounds * rng.randrange(1, 9) + 1, rounds) or between])
        if share / plan._marginal(c, "price") > 1000:
            continue
        found = plan._affordable(c, share, "price", rounds)
        assert found == _brute_force(c, share, rounds)
        dips += any((c.usd_pico(k, rounds) or 0) > share for k in range(found))
    assert dips  # the case that makes a plain search wrong did occur


@pytest.mark.parametrize("match", ["price", "flops", "samples"])
def test_no_arm_spends_more_than_its_share_and_each_would_with_one_more_draw(match: str) -> None:
    rng = random.Random(2)
    for _ in range(200):
        arms = [_random_candidate(rng, name) for name in ("a", "b", "c")[: rng.randrange(2, 4)]]
        problems, k = rng.randrange(1, 50), rng.randrange(1, 12)
        made = plan.make(arms, problems, Budget(draws=k, match=match), rounds=4)

        def amount(c: Candidate, draws: int, match: str = match) -> Fraction:
            priced = {"price": c.usd_pico(draws, 4), "flops": c.flops(draws, 4), "samples": Fraction(draws)}
            return priced[match] or Fraction(0)

        share = max(amount(c, k) for c in arms)
        counts = draws(made)
        for c in arms:
            assert amount(c, counts[c.name]) <= share
            at_share = amount(c, k) == share and counts[c.name] == k
            assert at_share or amount(c, counts[c.name] + 1) > share
        left = sum(share - amount(c, counts[c.name]) for c in arms) * problems
        assert made.residual == pytest.approx(float(left / (PICO if match == "price" else 1)))


def test_money_for_equal_flops_and_flops_for_equal_money_stay_within_the_budget() -> None:
    rng = random.Random(3)
    planned = 0
    for _ in range(60):
        arms = [_random_candidate(rng, name) for name in ("a", "b")]
        usd = Decimal(str(round(float(sum(c.usd_pico(5, 4) or 0 for c in arms) / PICO), 9)))
        flops = float(sum(c.flops(5, 4) or 0 for c in arms))
        for budget in (Budget(usd=usd, match="flops"), Budget(flops=flops, match="price")):
            try:
                made = plan.make(arms, 1, budget)
            except InputError:
                continue
            planned += 1
            if budget.usd is not None:
                assert sum(arm.usd_pico or 0 for arm in made.parts.values()) <= Fraction(str(usd)) * PICO
            else:
                assert sum(arm.flops or 0 for arm in made.parts.values()) <= Fraction(flops)
    assert planned > 60


def test_an_arm_that_cannot_use_its_share_in_whole_draws_is_said() -> None:
    loose = plan.make(sized(19 * 10**9, 10 * 10**9), 1, Budget(draws=1, match="flops"))
    close = plan.make(sized(20 * 10**9, 10 * 10**9), 1, Budget(draws=1, match="flops"))
    assert any("only 53% of its share" in note for note in loose.notes)
    assert not any("share" in note for note in close.notes)


# --- mixtures ------------------------------------------------------------------------------------


def mixture(**changes: Any) -> list[Candidate]:
    cheap, strong = pair(**changes)
    both = [replace(c, name=f"both/{c.name}", of="both", weight=0.5) for c in (cheap, strong)]
    return [cheap, strong, *both]


def test_a_mixture_gets_the_share_of_one_arm_and_its_models_halves_of_it() -> None:
    made = plan.make(mixture(), 10, Budget(usd=Decimal("3")))
    spent = {arm: sum(p.usd_pico or 0 for p in parts) for arm, parts in made.whole().items()}
    assert list(spent) == ["cheap", "strong", "both"]
    assert all(amount <= PICO for amount in spent.values())
    halves = [made.parts[f"both/{m}"].usd_pico or 0 for m in ("cheap", "strong")]
    assert all(abs(float(half) / PICO - 0.5) < 0.03 for half in halves)


def test_a_mixtures_row_is_the_sum_of_its_models_and_shows_each() -> None:
    rows = plan.make(mixture(), 10, Budget(usd=Decimal("3"))).as_json()["models"]
    both = rows["both"]
    assert both["draws_per_problem"] == sum(m["draws_per_problem"] for m in both["members"].values())
    assert both["usd"] == pytest.approx(sum(m["usd"] for m in both["members"].values()))
    assert both["usd_per_draw"] == pytest.approx(both["usd"] / (10 * both["draws_per_problem"]))


def test_what_is_kept_back_is_not_split_over_the_arms() -> None:
    whole, less = (plan.make(pair(), 10, Budget(usd=Decimal("2")), reserve_pico=r) for r in (0, PICO))
    assert less.share * 2 == whole.share
    with pytest.raises(InputError, match=r"leaves nothing for the arms after \$2 of pilot"):
        plan.make(pair(), 10, Budget(usd=Decimal("2")), reserve_pico=2 * PICO)


# --- other currencies ----------------------------------------------------------------------------


def test_prefill_counts_the_prompt_once_per_request() -> None:
    plain, prefilled = (
        candidate("m", compute=Flops(10**9, prefill=p), prompt_tokens=1000.0, max_n=4) for p in (False, True)
    )
    per_request = (prefilled.flops(8, 1) or 0) - (plain.flops(8, 1) or 0)
    assert per_request == 2 * (2 * 10**9 * 1000)  # two requests of four draws


def test_attention_costs_more_the_longer_the_context() -> None:
    compute = Flops(10**9, attention=26 * 2048)
    short, long = (compute.draw(prompt, 100) - 2 * 10**9 * 100 for prompt in (0, 1000))
    assert short == 4 * 26 * 2048 * 100**2 / 2
    assert long == short + 4 * 26 * 2048 * 1000 * 100


def test_a_gpu_hour_prices_its_tokens() -> None:
    """1,000 tokens a second are 3.6 million an hour: at $3.60 an hour a million costs $1."""
    quoted = gpu.price(Gpu(usd_per_hour=Decimal("3.60"), tokens_per_second=1000))
    assert quoted is not None
    assert quoted.output == 1
    assert gpu.is_gpu(quoted)
    assert "given" in quoted.source


def test_a_gpu_of_unknown_speed_has_no_price_until_it_is_measured() -> None:
    unknown = Gpu(usd_per_hour=Decimal("2"))
    assert gpu.price(unknown) is None
    measured = gpu.price(unknown, 500.0)
    assert measured is not None
    assert "measured by the pilot" in measured.source
    assert float(measured.output) == pytest.approx(2 / 3600 / 500 * 1e6, abs=1e-6)


def test_a_local_model_and_a_hosted_one_share_a_budget_in_dollars() -> None:
    quoted = gpu.price(Gpu(usd_per_hour=Decimal("3.60"), tokens_per_second=1000))
    assert quoted is not None
    local = replace(candidate("local"), price=cost.price(quoted), gpu=True)
    rows = plan.make([local, candidate("hosted", ("0.3", "2.5"))], 10, Budget(usd=Decimal("1"))).as_json()[
        "models"
    ]
    assert rows["local"]["draws_per_problem"] == 200  # $0.05 a problem, $0.00025 a draw
    assert (rows["local"]["gpu_usd"], rows["hosted"]["gpu_usd"]) == (rows["local"]["usd"], None)
