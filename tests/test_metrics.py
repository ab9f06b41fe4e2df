import asyncio
import hashlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolkit import metrics
from toolkit.answers import norm_sha
from toolkit.errors import InputError
from toolkit.gpu import Flops
from toolkit.ledger import Intent, Ledger, Reader, Settlement
from toolkit.metrics import Part, tally
from toolkit.metrics.arm import Arm
from toolkit.metrics.tally import Counted, Tally
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


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def judge(ledger: Ledger, arm: int) -> None:
    """The calculations of a text are what stands after its "="; none is ""."""

    def verdict(text: str) -> Verdict:
        outcome = {"+": Outcome.CORRECT, "t": Outcome.TIMEOUT}.get(text[:1], Outcome.INCORRECT)
        _, said, calculations = text.partition("=")
        return Verdict(outcome, None, norm_sha(text), sha(calculations.strip()) if said else "")

    rows = [(d.id, "4", verdict(d.text)) for d in ledger.draws([arm]) if not d.text.startswith("?")]
    ledger.add_verdicts(*VERIFIER, rows)


def measure(ledger: Ledger, arms: dict[str, int], problems: list[int], **changes: Any) -> dict[str, Any]:
    """Arms of one part each, planned to have two draws unless told otherwise."""
    planned = changes.pop("planned", {})
    compute = changes.pop("compute", {})
    parts = {n: [Part(row, planned.get(n, 2), compute.get(n, Flops(9)))] for n, row in arms.items()}
    return measure_parts(ledger, parts, problems, **changes)


def measure_parts(
    ledger: Reader, arms: dict[str, list[Part]], problems: list[int], **changes: Any
) -> dict[str, Any]:
    settings: dict[str, Any] = {"ks": (), "verifier": VERIFIER, "resamples": 200, "seed": 0}
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
        {
            "per_problem": 5 / 4,
            "per_solved": 5 / 3,
            "unique_per_problem": 1.0,
            "unique_per_solved": 4 / 3,
            "exact_per_problem": 5 / 4,
            "exact_per_solved": 5 / 3,
            "equations_per_problem": 1.0,
            "equations_per_solved": 4 / 3,
        }
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
    assert len(estimates) == 18


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
    got = measure(ledger, arms, problems, compute={"free": None})["models"]
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


def diversity_at_2(ledger: Ledger, arm: int, problems: list[int]) -> dict[str, float]:
    got = measure(ledger, {"cheap": arm}, problems)["models"]["cheap"]["diversity"]["2"]
    return {key.removesuffix("_per_problem"): x["value"] for key, x in got.items() if "per_problem" in key}


def test_three_levels_of_the_same_solution_text_normalised_text_and_calculations(ledger: Ledger) -> None:
    spaced = draw(ledger, "spaced", [["+ a", "+a"]])
    assert diversity_at_2(ledger, *spaced) == {"per_problem": 2, "exact": 2, "unique": 1, "equations": 1}
    worded = draw(ledger, "worded", [["+so =2+2", "+thus =2+2"]])
    assert diversity_at_2(ledger, *worded) == {"per_problem": 2, "exact": 2, "unique": 2, "equations": 1}
    copied = draw(ledger, "copied", [["+so =2+2", "+so =2+2"]])
    assert diversity_at_2(ledger, *copied) == {"per_problem": 2, "exact": 1, "unique": 1, "equations": 1}


def test_solutions_without_calculations_are_not_the_same_list_of_calculations(ledger: Ledger) -> None:
    arm = draw(ledger, "cheap", [["+a", "+b"]])
    assert diversity_at_2(ledger, *arm)["equations"] == 2


def test_the_same_solution_of_two_problems_is_counted_for_each(ledger: Ledger) -> None:
    arm = draw(ledger, "cheap", [["+a", "+a"], ["+a", "+b"]])
    assert diversity_at_2(ledger, *arm)["unique"] == 1.5


@pytest.mark.parametrize("migrated", [True, False])
def test_a_ledger_judged_before_the_new_identities_still_measures_with_null_and_the_reason(
    tmp_path: Path, migrated: bool
) -> None:
    path = tmp_path / "old.sqlite"
    with Ledger(path) as ledger:
        arm, problems = draw(ledger, "cheap", [["+a", "+a"], ["-", "+b"]])
    with sqlite3.connect(path) as db:
        if migrated:
            db.execute("UPDATE verdict SET exact_sha=NULL, equations_sha=NULL")
        else:
            db.execute("ALTER TABLE verdict DROP COLUMN exact_sha")
            db.execute("ALTER TABLE verdict DROP COLUMN equations_sha")
    with Reader(path) as reader:
        got = measure_parts(reader, {"cheap": [Part(arm, 2)]}, problems)["models"]["cheap"]
    two = got["diversity"]["2"]
    assert (two["unique_per_problem"]["value"], two["per_problem"]["value"]) == (1, 1.5)
    absent = ("exact_per_problem", "exact_per_solved", "equations_per_problem", "equations_per_solved")
    assert [two[key] for key in absent] == [None] * 4
    assert set(got["not_computed"]) == {"exact", "equations"}
    assert "judge them again" in got["not_computed"]["exact"]


def mixture(ledger: Ledger) -> tuple[list[Part], list[int]]:
    weak, problems = draw(ledger, "weak", [["+a", "+b", "-", "-"], ["-", "-", "-", "+c"]])
    strong, _ = draw(ledger, "strong", [["+a", "-"], ["-", "+d"]])
    return [Part(weak, 3, Flops(9)), Part(strong, 1, Flops(27))], problems


def test_a_mixture_is_the_share_of_all_choices_of_its_parts_draws(ledger: Ledger) -> None:
    parts, problems = mixture(ledger)
    got = measure_parts(ledger, {"both": parts}, problems)["models"]["both"]
    chosen = [  # every 3 of the weak draws with every 1 of the strong ones, by hand
        [{*three, one} for three in combinations(weak, 3) for one in strong]
        for weak, strong in (
            (["a", "b", None, None], ["a", None]),
            ([None, None, None, "c"], [None, "d"]),
        )
    ]
    kept = [[x - {None} for x in each] for each in chosen]
    covered = [sum(bool(x) for x in each) / len(each) for each in kept]
    distinct = [sum(len(x) for x in each) / len(each) for each in kept]
    assert got["coverage"]["4"]["value"] == pytest.approx(sum(covered) / 2)
    assert got["diversity"]["4"]["unique_per_problem"]["value"] == pytest.approx(sum(distinct) / 2)
    assert got["planned"] == 4
    assert got["draws"] == 12


def test_a_mixture_is_estimated_only_where_k_splits_in_its_proportion(ledger: Ledger) -> None:
    parts, problems = mixture(ledger)
    wide = [Part(parts[0].row, 4), Part(parts[1].row, 2)]
    got = measure_parts(ledger, {"both": wide}, problems, ks=(2,))["models"]["both"]
    assert list(got["coverage"]) == ["3", "6"]
    assert got["not_estimated"] == {
        "1": "1 draws cannot be split 4:2 over the arm's parts",
        "2": "2 draws cannot be split 4:2 over the arm's parts",
    }


def test_a_mixtures_cost_is_the_sum_of_its_parts_and_its_curve_pays_each_part_its_own_rate(
    ledger: Ledger,
) -> None:
    cheap, problems = draw(ledger, "cheap", [["+a", "-"]], cost=1000)
    dear, _ = draw(ledger, "dear", [["+a"]], cost=9000)
    parts = [Part(cheap, 2, Flops(1)), Part(dear, 1, Flops(10))]
    got = measure_parts(ledger, {"both": parts}, problems)["models"]["both"]
    assert got["usd"] == 11_000 / 10**12
    (point,) = [p for p in got["curve"] if p["k"] == 3]
    assert point["usd"] == pytest.approx(11_000 / 10**12)
    assert point["flops"] == 2 * 25 * (2 + 10)
    assert point["coverage"] == got["coverage"]["3"]


def batch(ledger: Ledger, usages: Sequence[tuple[int, Usage]]) -> tuple[int, list[int]]:
    """An arm whose requests are given as (draws, tokens of them all), all for one problem."""
    row = ledger.add_arm("local", "local", "p", {}, "local")
    (problem,) = ledger.add_problems([Problem("p0", "question", "4")])

    async def ask() -> None:
        first = 0
        for n, usage in usages:
            attempt = await ledger.reserve(Intent(row, problem, first, n, 0))
            choices = [Choice("+a", Finish.STOP)] * n
            await ledger.settle(attempt, Settlement(choices, usage, 0))
            first += n

    asyncio.run(ask())
    judge(ledger, row)
    return row, [problem]


REQUESTS = ((2, Usage(prompt=100, output=30, thinking=10)), (1, Usage(prompt=120, output=7, cached=90)))


@pytest.mark.parametrize(
    ("compute", "flops"),
    [
        (Flops(50), 2 * 50 * 47),  # the paper's: what was generated
        (Flops(50, prefill=True), 2 * 50 * (47 + 100 + 30)),  # a cached prompt is not read again
        (
            Flops(50, attention=3),
            2 * 50 * 47 + 4 * 3 * (2 * (100 * 20 + 20 * 20 / 2) + 120 * 7 + 7 * 7 / 2),
        ),
        (
            Flops(50, prefill=True, attention=3),
            2 * 50 * (47 + 130)
            + 4 * 3 * (2 * (100 * 20 + 20 * 20 / 2) + 120 * 7 + 7 * 7 / 2)
            + 4 * 3 * (100 * 100 + 120 * 120 - 90 * 90) / 2,
        ),
    ],
)
def test_an_arms_flops_are_the_sum_of_its_requests_with_the_terms_asked_for(
    ledger: Ledger, compute: Flops, flops: float
) -> None:
    arm, problems = batch(ledger, REQUESTS)
    got = measure(ledger, {"local": arm}, problems, planned={"local": 3}, compute={"local": compute})
    found = got["models"]["local"]
    assert found["flops"] == pytest.approx(flops, rel=1e-12)
    assert found["flops_per_correct"]["value"] == pytest.approx(flops / 3)
    assert found["curve"][0]["flops"] == pytest.approx(flops / 3)
    assert found["parts"][0]["flops_terms"] == list(compute.terms)


def test_measured_flops_are_those_the_plan_expected_where_its_tokens_were_right(ledger: Ledger) -> None:
    compute = Flops(10**9, prefill=True, attention=26 * 2048)
    arm, problems = batch(ledger, [(4, Usage(prompt=700, output=4 * 250))] * 3)
    got = measure(ledger, {"local": arm}, problems, planned={"local": 12}, compute={"local": compute})
    planned = 3 * compute.prompt(700) + 12 * compute.draw(700, 250)
    assert got["models"]["local"]["flops"] == pytest.approx(planned, rel=1e-12)


def test_an_adaptive_arm_is_estimated_from_the_draws_every_problem_was_given(ledger: Ledger) -> None:
    # two draws each, then more only where none was correct
    arm, problems = draw(ledger, "cheap", [["+a", "-"], ["-", "-", "-", "+b"], ["-", "-", "+c"]])
    parts = {"cheap": [Part(arm, 8, prefix=2)]}
    got = measure_parts(ledger, parts, problems, ks=(3,))["models"]["cheap"]
    assert (got["adaptive"], got["estimator"], got["planned"]) == (True, "non-adaptive prefix", 2)
    assert {k: x["value"] for k, x in got["coverage"].items()} == pytest.approx({"1": 1 / 6, "2": 1 / 3})
    assert got["solved"]["value"] == 1
    assert got["draws"] == 9
    assert got["not_estimated"] == {"3": "only the first 2 draws of a problem were given whatever came out"}


def test_a_cascade_is_estimated_from_its_first_model_and_compared_by_what_it_solved(ledger: Ledger) -> None:
    weak, problems = draw(ledger, "weak", [["+a", "-"], ["-", "-"]])
    strong, _ = draw(ledger, "strong", [[], ["+b"]])  # asked only where the weak one failed
    alone, _ = draw(ledger, "alone", [["+a"], ["-"]])
    cascade = [Part(weak, 2, prefix=2), Part(strong, 1, prefix=0)]
    got = measure_parts(ledger, {"cascade": cascade, "alone": [Part(alone, 1)]}, problems)
    one = got["models"]["cascade"]
    assert {k: x["value"] for k, x in one["coverage"].items()} == {"1": 0.25, "2": 0.5}
    assert one["solved"]["value"] == 1
    (row,) = got["differences"]
    assert (row["k_a"], row["basis_a"], row["k_b"], row["basis_b"]) == (None, "solved", 1, "coverage")
    assert row["points"]["value"] == 0.5


def test_estimates_from_adaptive_draws_are_biased_and_those_from_the_prefix_are_not() -> None:
    rng = np.random.default_rng(3)
    problems, begun, most, worlds = 400, 2, 8, 300
    ability = rng.beta(0.6, 1.4, problems)
    truth = ability.mean()  # coverage at 1
    naive, ours = [], []
    for _ in range(worlds):
        hits = rng.random((problems, most)) < ability[:, None]
        first = np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, most)
        drawn = np.maximum(first, begun)  # at least two, then until one is correct
        correct = np.array([row[:n].sum() for row, n in zip(hits, drawn, strict=True)])
        everything = counted(drawn, correct)
        arm = Arm(
            (Part(1, most, prefix=begun),),
            [Counted(counted(begun, hits[:, :begun].sum(axis=1)), everything)],
            [],
        )
        ours.append(arm.coverage(1).mean())
        naive.append(Arm((Part(1, most),), [Counted(everything, everything)], []).coverage(1).mean())
    noise = np.std(ours) / np.sqrt(worlds)
    assert np.mean(ours) == pytest.approx(truth, abs=4 * noise)
    assert np.mean(naive) - truth > 10 * noise  # stopping at a success makes the last draw a success


def counted(drawn: Any, correct: Any) -> Tally:
    judged = np.broadcast_to(drawn, correct.shape)
    return Tally(judged, judged, correct, np.empty(0, np.int64), {}, {}, 0)


def test_prices_of_another_day_replace_the_ledgers_and_leave_the_rest(ledger: Ledger) -> None:
    arm, problems = draw(ledger, "cheap", [["+a"], ["-"]])
    parts = {"cheap": [Part(arm, 1)]}
    before = measure_parts(ledger, parts, problems)["models"]["cheap"]
    after = measure_parts(ledger, parts, problems, pico={arm: np.array([5000, 7000])})["models"]["cheap"]
    assert (before["usd"], after["usd"]) == (2000 / 10**12, 12_000 / 10**12)
    assert after["coverage"] == before["coverage"]
    unpriced = measure_parts(ledger, parts, problems, pico={arm: None})["models"]["cheap"]
    assert unpriced["usd"] is None


def test_levels_and_subjects_have_their_own_coverage_and_number_of_problems(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        arm, problems = draw(ledger, "cheap", [["+a", "-"], ["-", "-"], ["+a", "+b"]])
        with sqlite3.connect(ledger.path) as db:
            db.execute("UPDATE problem SET level=CASE id WHEN 1 THEN 'easy' ELSE 'hard' END")
            db.execute("UPDATE problem SET subject='algebra' WHERE id=3")
        got = measure(ledger, {"cheap": arm}, problems)["models"]["cheap"]
    easy, hard = got["by_level"]["easy"], got["by_level"]["hard"]
    assert (easy["problems"], easy["k"], easy["coverage"]["value"]) == (1, 2, 1)
    assert (hard["problems"], hard["coverage"]["value"], hard["unique_per_problem"]["value"]) == (2, 0.5, 1)
    assert hard["coverage"]["high"] - hard["coverage"]["low"] > 0.5  # two problems say little
    assert list(got["by_subject"]) == ["algebra"]


def test_dollars_per_distinct_correct_draw_pay_once_for_copies(ledger: Ledger) -> None:
    arm, problems = draw(ledger, "cheap", [["+a", "+ a", "+b", "-"], ["+a", "-", "-", "-"]])
    got = measure(ledger, {"cheap": arm}, problems)["models"]["cheap"]
    assert got["usd_per_correct"]["value"] == pytest.approx(8e-9 / 4)
    assert got["usd_per_distinct"]["value"] == pytest.approx(8e-9 / 3)


def test_an_arm_that_only_guesses_the_common_answer_is_worth_nothing_once_adjusted(ledger: Ledger) -> None:
    # every problem has the gold "4", so the one most common answer covers them all
    guesser, problems = draw(ledger, "guesser", [["+a"], ["+a"], ["+a"]])
    got = measure(ledger, {"guesser": guesser}, problems)["models"]["guesser"]["guess_baseline"]["1"]
    assert got["baseline"]["value"] == 1
    assert got["adjusted"] is None  # nothing is left that a guesser would not have


def test_coverage_that_guessing_alone_would_have_is_taken_out(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        arm, problems = draw(ledger, "cheap", [["+a"], ["+a"], ["+a"], ["-"]])
        with sqlite3.connect(ledger.path) as db:
            db.execute("UPDATE verdict SET gold=CASE WHEN draw=4 THEN '9' ELSE '7' END")
        got = measure(ledger, {"cheap": arm}, problems)["models"]["cheap"]
    assert got["coverage"]["1"]["value"] == 0.75
    assert got["guess_baseline"]["1"]["baseline"]["value"] == 0.75  # 7 is always tried first
    assert got["guess_baseline"]["1"]["adjusted"]["value"] == 0


def test_truncated_draws_count_whether_or_not_they_were_judged(ledger: Ledger) -> None:
    arm, problems = draw(ledger, "cheap", [["+a", "-...", "?...", "?"]])
    got = measure(ledger, {"cheap": arm}, problems)["models"]["cheap"]
    assert got["truncated"] == 2 / 4
    assert got["outcomes"]["unverified"] == 2


def test_a_ledger_read_in_many_blocks_gives_the_same_figures(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    cheap, problems = draw(ledger, "cheap", [["+a", "-", "+ a"], ["-", "+b", "?"], ["+c", "+d=1", "t"]])
    strong, _ = draw(ledger, "strong", [["+a", "-"], ["-", "+b"], ["+x", "+y=1"]])
    arms = {"cheap": cheap, "strong": strong}
    whole = measure(ledger, arms, problems)
    monkeypatch.setattr(tally, "BLOCK", 2)
    assert measure(ledger, arms, problems) == whole


def test_identities_that_are_no_hash_are_told_apart_like_any_other(ledger: Ledger) -> None:
    arm, problems = draw(ledger, "cheap", [["+a", "+b", "+c"]])
    odd = [(1, "n"), (2, "n"), (3, "m")]
    verdicts = [(d, "4", Verdict(Outcome.CORRECT, None, name)) for d, name in odd]
    ledger.add_verdicts("math", "odd", verdicts)
    got = measure(ledger, {"cheap": arm}, problems, planned={"cheap": 3}, verifier=("math", "odd"))
    assert got["models"]["cheap"]["diversity"]["3"]["unique_per_problem"]["value"] == 2


def test_no_problems_is_the_users_mistake(ledger: Ledger) -> None:
    with pytest.raises(InputError, match="no problem with a gold"):
        measure(ledger, {}, [])
