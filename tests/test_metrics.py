import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from toolkit import metrics
from toolkit.answers import norm_sha
from toolkit.errors import InputError
from toolkit.ledger import Intent, Ledger, Settlement
from toolkit.types import Choice, Finish, Outcome, Problem, Usage, Verdict

VERIFIER = ("math", "test")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite") as made:
        yield made


def draw(
    ledger: Ledger,
    arm: str,
    table: Sequence[Sequence[str]],
    *,
    cost: int | None = 1000,
    usage: Usage | None = Usage(prompt=10, output=20, thinking=5),
) -> tuple[int, list[int]]:
    """An arm whose row i holds the draws of problem i; a text that starts with "+" is correct."""
    row = ledger.add_arm(arm, arm, "p", {}, arm)
    problems = ledger.add_problems([Problem(f"p{i}", f"question {i}", "4") for i in range(len(table))])

    async def ask() -> None:
        for problem, texts in zip(problems, table, strict=True):
            for i, text in enumerate(texts):
                attempt = await ledger.reserve(Intent(row, problem, i, 1, cost))
                finish = Finish.LENGTH if text.endswith("...") else Finish.STOP
                await ledger.settle(attempt, Settlement([Choice(text, finish)], usage, cost))

    asyncio.run(ask())
    judge(ledger, row)
    return row, problems


def judge(ledger: Ledger, arm: int) -> None:
    def verdict(text: str) -> Verdict:
        outcome = {"+": Outcome.CORRECT, "t": Outcome.TIMEOUT}.get(text[:1], Outcome.INCORRECT)
        return Verdict(outcome, None, norm_sha(text))

    rows = [(d.id, "4", verdict(d.text)) for d in ledger.draws([arm]) if not d.text.startswith("?")]
    ledger.add_verdicts(*VERIFIER, rows)


def measure(ledger: Ledger, arms: dict[str, int], problems: list[int], **changes: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "planned": dict.fromkeys(arms, 2),
        "ks": (),
        "verifier": VERIFIER,
        "flops_per_token": dict.fromkeys(arms, 18),
        "resamples": 200,
        "seed": 0,
    }
    return metrics.measure(ledger, arms, problems, **(settings | changes))


def test_the_figures_of_a_small_run_by_hand(ledger: Ledger) -> None:
    arm, problems = draw(ledger, "cheap", [["+a", "-"], ["-", "-..."], ["+a", "+b"], ["+a", "+ a"]])
    got = measure(ledger, {"cheap": arm}, problems)["models"]["cheap"]
    assert (got["problems"], got["draws"], got["truncated"]) == (4, 8, 1 / 8)
    assert got["draws_per_problem"] == {"min": 2, "max": 2}
    assert got["outcomes"] == {
        "correct": 5,
        "incorrect": 3,
        "unparsable": 0,
        "timeout": 0,
        "error": 0,
        "unverified": 0,
    }
    assert {k: x["value"] for k, x in got["coverage"].items()} == {"1": 0.625, "2": 0.75}
    two = {name: x["value"] for name, x in got["diversity"]["2"].items()}
    assert two == pytest.approx(
        {"per_problem": 5 / 4, "per_solved": 5 / 3, "unique_per_problem": 1.0, "unique_per_solved": 4 / 3}
    )
    assert got["tokens"] == {"prompt": 80, "cached": 0, "output": 160, "thinking": 40}
    assert got["usd"] == 8 * 1000 / 10**12
    assert got["flops"] == 18 * 200
    assert got["usd_per_correct"]["value"] == pytest.approx(8e-9 / 5)
    assert got["flops_per_correct"]["value"] == pytest.approx(18 * 200 / 5)
    assert got["false_positive_rate"] is None
    assert got["not_estimated"] == {}


def test_every_estimate_lies_in_its_interval_and_the_whole_is_json(ledger: Ledger) -> None:
    arm, problems = draw(ledger, "cheap", [["+a", "-"], ["-", "-"], ["+a", "+b"]])
    got = json.loads(json.dumps(measure(ledger, {"cheap": arm}, problems), allow_nan=False))["models"][
        "cheap"
    ]
    estimates = [*got["coverage"].values(), *(x for row in got["diversity"].values() for x in row.values())]
    assert all(x["low"] <= x["value"] <= x["high"] for x in estimates)
    assert len(estimates) == 10


def test_raw_diversity_is_coverage_times_diversity_per_solved_and_k_times_pass_at_1(ledger: Ledger) -> None:
    table = [["+a", "+b", "-", "-"], ["-"] * 4, ["+a"] * 4, ["+a", "-", "-", "-"]]
    arm, problems = draw(ledger, "cheap", table)
    got = measure(ledger, {"cheap": arm}, problems, ks=(3,))["models"]["cheap"]
    for k in (1, 2, 3):
        row, covered = got["diversity"][str(k)], got["coverage"][str(k)]["value"]
        assert row["per_problem"]["value"] == pytest.approx(covered * row["per_solved"]["value"])
        assert row["per_problem"]["value"] == pytest.approx(k * got["coverage"]["1"]["value"])
        assert row["unique_per_problem"]["value"] == pytest.approx(
            covered * row["unique_per_solved"]["value"]
        )
    assert got["diversity"]["1"]["per_solved"]["value"] == 1  # not pass@1: per solved problem


def test_whitespace_and_latex_variants_are_one_unique_solution_but_count_in_raw(ledger: Ledger) -> None:
    arm, problems = draw(ledger, "cheap", [["+ $\\dfrac{1}{2}$  so 4", "+\\frac{1}{2} so\n4"]])
    two = measure(ledger, {"cheap": arm}, problems)["models"]["cheap"]["diversity"]["2"]
    assert two["per_solved"]["value"] == 2
    assert two["unique_per_solved"]["value"] == 1


def test_a_k_some_problem_has_too_few_draws_for_is_refused_with_the_reason(ledger: Ledger) -> None:
    arm, problems = draw(ledger, "cheap", [["+a", "-", "-"], ["-"], ["+a", "+b", "-"]])
    got = measure(ledger, {"cheap": arm}, problems, planned={"cheap": 3}, ks=(2, 9))["models"]["cheap"]
    assert list(got["coverage"]) == list(got["diversity"]) == ["1"]
    assert got["coverage"]["1"]["value"] == pytest.approx((1 / 3 + 0 + 2 / 3) / 3)
    assert got["draws_per_problem"] == {"min": 1, "max": 3}
    assert got["not_estimated"] == {
        "2": "1 of 3 problems have fewer than 2 judged draws",
        "3": "1 of 3 problems have fewer than 3 judged draws",
        "9": "3 of 3 problems have fewer than 9 judged draws",
    }


def test_a_problem_without_draws_is_never_dropped(ledger: Ledger) -> None:
    arm, problems = draw(ledger, "cheap", [["+a"], []])
    got = measure(ledger, {"cheap": arm}, problems)["models"]["cheap"]
    assert got["coverage"] == {}
    assert got["not_estimated"]["1"] == "1 of 2 problems have fewer than 1 judged draws"


def test_arms_are_also_compared_at_each_others_planned_k(ledger: Ledger) -> None:
    cheap, problems = draw(ledger, "cheap", [["+a"] * 5, ["-"] * 5])
    strong, _ = draw(ledger, "strong", [["+a"] * 3, ["+a", "-", "-"]])
    got = measure(ledger, {"cheap": cheap, "strong": strong}, problems, planned={"cheap": 5, "strong": 3})
    assert list(got["models"]["cheap"]["coverage"]) == ["1", "2", "3", "4", "5"]
    assert list(got["models"]["strong"]["coverage"]) == ["1", "2", "3"]
    assert got["models"]["strong"]["not_estimated"] == {}  # it was never to have 5
    (row,) = got["differences"]
    assert (row["a"], row["b"], row["k_a"], row["k_b"]) == ("cheap", "strong", 5, 3)
    assert row["points"]["value"] == -0.5


def test_timeouts_are_draws_that_are_not_correct_and_unverified_ones_are_no_draws_yet(ledger: Ledger) -> None:
    arm, problems = draw(ledger, "cheap", [["+a", "timeout", "?", "?"]])
    got = measure(ledger, {"cheap": arm}, problems)["models"]["cheap"]
    assert (got["outcomes"]["timeout"], got["outcomes"]["unverified"], got["draws"]) == (1, 2, 4)
    assert got["coverage"]["1"]["value"] == 0.5
    assert got["draws_per_problem"] == {"min": 2, "max": 2}


def test_only_the_problems_asked_for_count_in_draws_and_in_cost(ledger: Ledger) -> None:
    arm, problems = draw(ledger, "cheap", [["+a", "+b"], ["-", "-"]])
    got = measure(ledger, {"cheap": arm}, problems[:1])["models"]["cheap"]
    assert (got["draws"], got["coverage"]["1"]["value"]) == (2, 1)
    assert got["usd"] == 2000 / 10**12


def test_what_is_unpriced_or_unmeasured_is_null_and_what_is_free_is_zero(ledger: Ledger) -> None:
    unpriced, problems = draw(ledger, "unpriced", [["+a"]], cost=None, usage=None)
    free, _ = draw(ledger, "free", [["+a"]], cost=0)
    arms = {"unpriced": unpriced, "free": free}
    got = measure(ledger, arms, problems, flops_per_token={"unpriced": 18, "free": None})["models"]
    assert [got["unpriced"][key] for key in ("usd", "usd_per_correct", "flops", "flops_per_correct")] == [
        None
    ] * 4
    assert (got["free"]["usd"], got["free"]["usd_per_correct"]["value"], got["free"]["flops"]) == (0, 0, None)


def test_an_arm_that_solves_nothing_has_no_cost_per_correct_and_no_diversity_per_solved(
    ledger: Ledger,
) -> None:
    arm, problems = draw(ledger, "cheap", [["-", "-"]] * 5)
    got = measure(ledger, {"cheap": arm}, problems)["models"]["cheap"]
    assert got["usd_per_correct"] is None
    assert got["diversity"]["2"]["per_solved"] is None
    assert got["coverage"]["2"]["low"] == 0
    assert 0.3 < got["coverage"]["2"]["high"] < 0.6  # Wilson: 0 of 5 problems


def test_no_problems_is_the_users_mistake(ledger: Ledger) -> None:
    with pytest.raises(InputError, match="no problem with a gold"):
        measure(ledger, {}, [])
