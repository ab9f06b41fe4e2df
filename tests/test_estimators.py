import math
import time
from itertools import combinations, product

import numpy as np
import pytest

from toolkit import estimators
from toolkit.estimators import (
    bounded_mean,
    coverage,
    effective_size,
    expected_correct,
    expected_distinct,
    interval,
    mean_estimate,
    mixed_coverage,
    mixed_distinct,
    paired_difference,
    ratio_estimate,
    resampled_means,
    wilson,
)


def ints(*values: int) -> estimators.Ints:
    return np.array(values, np.int64)


def subsets_with_any(marked: list[bool], k: int) -> float:
    """By brute force: the share of k-subsets of the draws that hold a marked one."""
    chosen = list(combinations(marked, k))
    return sum(any(subset) for subset in chosen) / len(chosen)


@pytest.mark.parametrize("m", range(1, 8))
def test_coverage_is_the_share_of_all_subsets_with_a_correct_draw(m: int) -> None:
    for c in range(m + 1):
        marked = [i < c for i in range(m)]
        for k in range(1, m + 1):
            assert coverage(ints(m), ints(c), k)[0] == pytest.approx(subsets_with_any(marked, k), abs=1e-12)


def test_coverage_equals_the_human_eval_formula_at_large_m() -> None:
    m, k = 400, 37
    for c in (0, 1, 5, 200, 363, 364, 400):
        theirs = 1.0 if m - c < k else 1.0 - float(np.prod(1.0 - k / np.arange(m - c + 1, m + 1)))
        assert coverage(ints(m), ints(c), k)[0] == pytest.approx(theirs, abs=1e-12)


def test_coverage_is_not_one_of_the_biased_formulas() -> None:
    m, c, k = ints(4, 4), ints(1, 3), 2
    ours = coverage(m, c, k).mean()
    assert ours == pytest.approx((1 / 2 + 1) / 2)
    plugged_in = (1 - (1 - c / m) ** k).mean()
    pooled = coverage(ints(8), ints(4), k)[0]
    assert abs(ours - plugged_in) > 0.05
    assert abs(ours - pooled) > 0.03


def test_coverage_is_unbiased_over_repeated_draws() -> None:
    rng = np.random.default_rng(1)
    p, m, k, runs = 0.15, 6, 3, 40_000
    correct = rng.binomial(m, p, runs)
    truth = 1 - (1 - p) ** k
    ours = coverage(np.full(runs, m), correct, k)
    assert ours.mean() == pytest.approx(truth, abs=4 * ours.std() / math.sqrt(runs))
    plugged_in = 1 - (1 - correct / m) ** k
    assert abs(plugged_in.mean() - truth) > 10 * ours.std() / math.sqrt(runs)


def test_problems_with_unequal_draws_each_use_their_own_number() -> None:
    got = coverage(ints(3, 7), ints(1, 1), 2)
    assert got == pytest.approx([2 / 3, 2 / 7])


@pytest.mark.parametrize("k", [0, 4])
def test_a_k_above_the_fewest_draws_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match="draws of every problem"):
        coverage(ints(3, 9), ints(1, 1), k)


@pytest.mark.parametrize("multiplicities", [(1,), (2, 1), (1, 1, 1), (3, 2), ()])
def test_distinct_solutions_match_brute_force(multiplicities: tuple[int, ...]) -> None:
    m = 6
    labels: list[int | None] = [u for u, times in enumerate(multiplicities) for _ in range(times)]
    labels += [None] * (m - len(labels))
    for k in range(1, m + 1):
        chosen = list(combinations(labels, k))
        brute = sum(len({u for u in subset if u is not None}) for subset in chosen) / len(chosen)
        got = expected_distinct(ints(m), np.zeros(len(multiplicities), np.int64), ints(*multiplicities), k)
        assert got == pytest.approx([brute], abs=1e-12)


Labels = list[int | None]  # of draws: which solution it is; None is not correct


def chosen(parts: list[Labels], ks: tuple[int, ...]) -> list[set[int]]:
    """By brute force: the correct solutions in every choice of k_j draws of each part."""
    choices = product(*(combinations(labels, k) for labels, k in zip(parts, ks, strict=True)))
    return [{u for draws in choice for u in draws if u is not None} for choice in choices]


MIXTURES: list[list[Labels]] = [
    [[0, 0, 1, None], [1, 2, None]],
    [[None, None, None], [0, 0]],
    [[0, 1, 2, 3, None], [0, None, None], [3, 3]],
]


@pytest.mark.parametrize("parts", MIXTURES)
def test_a_mixture_matches_brute_force_over_all_choices_from_its_parts(parts: list[Labels]) -> None:
    sizes = [ints(len(labels)) for labels in parts]
    correct = [ints(sum(u is not None for u in labels)) for labels in parts]
    solutions = sorted({u for labels in parts for u in labels if u is not None})
    times = np.array([[labels.count(u) for labels in parts] for u in solutions])
    for ks in product(*(range(len(labels) + 1) for labels in parts)):
        sets = chosen(parts, ks)
        got = mixed_coverage(sizes, correct, ks)
        assert got == pytest.approx([sum(map(bool, sets)) / len(sets)], abs=1e-12)
        got = mixed_distinct(sizes, np.zeros(len(solutions), np.int64), times, ks)
        assert got == pytest.approx([sum(map(len, sets)) / len(sets)], abs=1e-12)


def test_a_mixture_of_one_part_is_that_part() -> None:
    draws, correct = ints(5, 7, 7), ints(0, 3, 7)
    assert mixed_coverage([draws], [correct], (4,)).tolist() == coverage(draws, correct, 4).tolist()


def test_equal_entries_may_be_counted_instead_of_repeated() -> None:
    problem, times = ints(0, 0, 1, 0), ints(2, 2, 3, 1)
    listed = expected_distinct(ints(8, 9), problem, times, 3)
    packed = expected_distinct(ints(8, 9), ints(0, 0, 1), ints(2, 1, 3), 3, ints(2, 1, 1))
    assert packed == pytest.approx(listed)


def test_distinct_solutions_are_counted_for_the_problem_they_belong_to() -> None:
    got = expected_distinct(ints(2, 2, 2), ints(2, 0, 2), ints(1, 2, 1), 2)
    assert got == pytest.approx([1, 0, 2])


def test_expected_correct_is_linear_in_k() -> None:
    assert expected_correct(ints(4, 10), ints(2, 10), 3) == pytest.approx([1.5, 3])


def test_wilson_agrees_with_published_values() -> None:
    got = wilson(12, 50)  # 24 % of 50: 14 % to 37 %
    assert (got.value, got.low, got.high) == pytest.approx((0.24, 0.1430, 0.3741), abs=1e-4)
    assert wilson(0, 50).low == 0
    assert wilson(50, 50).high == 1
    with pytest.raises(ValueError, match="positive"):
        wilson(0, 0)


@pytest.mark.parametrize(("value", "low_is", "high_is"), [(0.0, True, False), (1.0, False, True)])
def test_an_interval_at_the_boundary_is_not_a_point(value: float, low_is: bool, high_is: bool) -> None:
    values = np.full(20, value)
    got = mean_estimate(values, resampled_means(values[:, None], 200, 0)[:, 0])
    assert (got.low == value, got.high == value) == (low_is, high_is)
    assert got.high - got.low == pytest.approx(wilson(0, 20).high)


@pytest.mark.parametrize("successes", [0, 1, 7, 100, 193, 200])
def test_yes_or_no_values_have_wilsons_interval(successes: int) -> None:
    values = np.array([1.0] * successes + [0.0] * (200 - successes))
    got, expected = bounded_mean(values), wilson(successes, 200)
    assert (got.value, got.low, got.high) == pytest.approx(
        (expected.value, expected.low, expected.high), abs=1e-12
    )


def test_values_that_vary_less_are_known_more_exactly_and_never_outside_their_range() -> None:
    rng = np.random.default_rng(0)
    smooth = 0.9 + 0.1 * rng.random(100)
    assert effective_size(smooth) > 500
    got = bounded_mean(30 * smooth, 30)
    assert 0 <= got.low < got.value < got.high <= 30
    assert got.high - got.low < 30 * 0.06


@pytest.mark.parametrize("n", [200, 7500])
@pytest.mark.parametrize("p", [0.05, 0.3, 0.8, 0.97])
def test_score_intervals_hold_the_truth_93_to_97_times_in_100_also_near_the_ends(n: int, p: float) -> None:
    # every number of successes there may be, weighed by its binomial chance: exact, so no luck is in it
    successes = np.arange(n + 1)
    logs = np.cumsum(np.log((n - successes[:-1]) / (successes[:-1] + 1) * p / (1 - p)))
    chance = np.exp(n * math.log1p(-p) + np.concatenate(([0.0], logs)))
    likely = successes[chance > 1e-7]
    held = 0.0
    for c in likely:
        got = wilson(int(c), n)
        held += chance[c] * (got.low <= p <= got.high)
    assert 0.93 <= held <= 0.97


def test_means_near_one_keep_their_intervals_where_the_bootstrap_loses_them() -> None:
    rng = np.random.default_rng(2)
    a, b, m, k, problems, worlds = 0.36, 0.04, 30, 30, 200, 400
    truth = 1 - math.prod((b + i) / (a + b + i) for i in range(k))
    ours = bootstrap = 0
    for world in range(worlds):
        values = coverage(np.full(problems, m), rng.binomial(m, rng.beta(a, b, problems)), k)
        got = bounded_mean(values)
        ours += got.low <= truth <= got.high
        low, high = interval(resampled_means(values[:, None], 300, world)[:, 0])
        bootstrap += low <= truth <= high
    assert truth > 0.97
    assert 0.92 <= ours / worlds <= 0.985
    assert bootstrap / worlds < 0.93
    assert ours - bootstrap >= 0.01 * worlds


def test_bootstrap_intervals_hold_the_truth_about_95_times_in_100() -> None:
    rng = np.random.default_rng(7)
    a, b, m, k, problems, worlds = 0.3, 0.8, 6, 3, 150, 300
    truth = 1 - math.prod((b + i) / (a + b + i) for i in range(k))  # of Beta(a, b) problems
    held = 0
    for world in range(worlds):
        correct = rng.binomial(m, rng.beta(a, b, problems))
        values = coverage(np.full(problems, m), correct, k)
        got = mean_estimate(values, resampled_means(values[:, None], 300, world)[:, 0])
        held += got.low <= truth <= got.high
    assert 0.91 <= held / worlds <= 0.985


def test_resampling_draws_instead_of_problems_would_be_far_too_narrow() -> None:
    values = np.repeat([0.0, 1.0], 20)  # 40 problems that are all or nothing
    low, high = interval(resampled_means(values[:, None], 2000, 0)[:, 0])
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(0.25 / 40), rel=0.1)


def test_the_same_seed_gives_the_same_resamples_to_all_columns() -> None:
    values = np.random.default_rng(0).random((50, 1))
    both = resampled_means(np.hstack([values, 2 * values]), 300, 3)
    assert both[:, 1] == pytest.approx(2 * both[:, 0])
    assert both[:, :1] == pytest.approx(resampled_means(values, 300, 3))
    assert both[:, :1] != pytest.approx(resampled_means(values, 300, 4))


def test_a_ratio_without_a_denominator_is_none_and_resamples_without_one_count_as_infinite() -> None:
    above, below = np.ones(40), np.array([0.0] * 20 + [1.0] * 20)
    assert ratio_estimate((1.0, 0.0), (above, below)) is None
    got = ratio_estimate((1.0, 0.5), (above, below))
    assert got is not None
    assert (got.value, got.low, got.high) == (2, 1, math.inf)


def test_a_paired_difference_is_narrower_than_two_intervals() -> None:
    rng = np.random.default_rng(5)
    hard = rng.random(300)
    a, b = hard + 0.05 + 0.01 * rng.random(300), hard
    got = paired_difference(a, b, seed=1)
    assert got.low <= got.value <= got.high
    assert got.low > 0
    assert got.high - got.low < 0.01


def test_arms_that_never_differ_still_leave_room_for_a_difference() -> None:
    got = paired_difference([1.0, 0.0, 1.0], [1.0, 0.0, 1.0])
    assert got.value == 0
    assert got.high == -got.low == wilson(0, 3).high
    with pytest.raises(ValueError, match="same problems"):
        paired_difference([1.0], [1.0, 0.0])


def test_a_thousand_resamples_of_7500_problems_stay_in_array_code() -> None:
    values = np.random.default_rng(0).random((7500, 30))
    started = time.process_time()
    resampled_means(values, 1000, 0)
    assert time.process_time() - started < 5  # about 0.2 s alone; a Python loop over problems takes minutes
