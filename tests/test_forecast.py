"""What a pilot says: fits, intervals, duplicates, break-even ratios."""

import math

import numpy as np
import pytest

from toolkit import forecast
from toolkit.forecast import Beta
from toolkit.forecast.ability import CHANCES, Floats, Ints, binomials, covered, mixtures
from toolkit.forecast.duplicates import new_kinds

MATH = {"weak": Beta(0.302, 0.832), "strong": Beta(0.318, 0.659)}
GSM8K = {"weak": Beta(0.847, 0.435), "strong": Beta(0.893, 0.272)}


def pilot(
    problems: int = 200, draws: int = 4, seed: int = 0, a: float = 0.6, b: float = 1.4
) -> tuple[Floats, Ints, Ints]:
    """Chances, draws and correct draws of problems whose chances are Beta."""
    rng = np.random.default_rng(seed)
    chances = rng.beta(a, b, problems)
    trials = np.full(problems, draws)
    return chances, trials, rng.binomial(trials, chances)


# --- break-even ratios -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pair", "k", "ratio"),
    [
        (MATH, 1, 1.49),
        (MATH, 10, 1.65),
        (MATH, 100, 1.86),
        (GSM8K, 1, 1.76),
        (GSM8K, 10, 1.95),
        (GSM8K, 100, 2.21),
    ],
)
def test_break_even_ratios_are_those_of_the_papers_curves(
    pair: dict[str, Beta], k: int, ratio: float
) -> None:
    assert forecast.break_even(pair["weak"].coverage, pair["strong"].coverage, k) == pytest.approx(
        ratio, abs=0.01
    )


def test_a_model_breaks_even_with_itself_at_one() -> None:
    assert forecast.break_even(MATH["weak"].coverage, MATH["weak"].coverage, 7) == pytest.approx(1.0)


def test_a_weak_model_that_never_gets_there_breaks_even_nowhere() -> None:
    assert forecast.break_even(lambda k: 0.5 * (1 - 0.5**k), MATH["strong"].coverage, 100) == math.inf


def test_a_ratio_of_draws_is_never_rounded() -> None:
    """8.75 draws stay 8.75 here: whole draws are the plan's business, and it floors."""
    ratio = forecast.break_even(lambda k: 1 - 0.9**k, lambda k: 1 - 0.9 ** (8.75 * k), 4)
    assert ratio == pytest.approx(8.75)


# --- the grid --------------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [*MATH.values(), *GSM8K.values(), Beta(0.05, 0.3), Beta(12.0, 30.0)])
@pytest.mark.parametrize("k", [1, 10, 1000])
def test_the_grid_gives_a_betas_coverage(beta: Beta, k: int) -> None:
    logit, size = math.log(beta.a / beta.b), math.log(beta.a + beta.b)
    row = mixtures(np.array([[logit, size, 0.0, 0.0, -30.0, -30.0]]))[0]
    assert row.sum() == pytest.approx(1.0)
    assert float(row @ covered(k)) == pytest.approx(beta.coverage(k), abs=5e-4)


def test_binomials_are_chances_with_the_rest_in_the_last_column() -> None:
    whole, cut = binomials(12, 12), binomials(12, 3)
    assert whole.sum(axis=1) == pytest.approx(1.0)
    assert whole @ np.arange(13) == pytest.approx(12 * CHANCES)
    assert cut[:, :3] == pytest.approx(whole[:, :3])
    assert cut[:, 3] == pytest.approx(whole[:, 3:].sum(axis=1), abs=1e-9)


# --- fits ------------------------------------------------------------------------------------------


def test_many_draws_of_many_problems_give_the_true_curve_back() -> None:
    _, draws, correct = pilot(problems=4000, draws=32)
    fitted = forecast.fit(draws, correct)
    for k in (1, 8, 32, 128):
        assert fitted.coverage(k) == pytest.approx(Beta(0.6, 1.4).coverage(k), abs=0.02)
    assert fitted.beta().mean == pytest.approx(0.3, abs=0.02)


def test_the_same_pilot_gives_the_same_forecast() -> None:
    _, draws, correct = pilot()
    first, again = (forecast.coverage(forecast.fit(draws, correct), 32) for _ in range(2))
    assert first == again


def test_the_order_of_problems_does_not_matter() -> None:
    _, draws, correct = pilot()
    turned = forecast.fit(draws[::-1], correct[::-1])
    assert forecast.coverage(turned, 32) == forecast.coverage(forecast.fit(draws, correct), 32)


def test_more_draws_narrow_the_interval() -> None:
    def width(draws_each: int) -> float:
        _, draws, correct = pilot(draws=draws_each)
        found = forecast.coverage(forecast.fit(draws, correct), 32, problems=200)
        return found.high - found.low

    assert width(64) < 0.5 * width(4)


@pytest.mark.parametrize("share", [0, 1])
def test_all_wrong_and_all_right_leave_room_for_doubt(share: int) -> None:
    draws = np.full(200, 4)
    found = forecast.coverage(forecast.fit(draws, share * draws), 32)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.high - found.low > 1e-4
    assert (found.value > 0.9) if share else (found.value < 0.3)


@pytest.mark.parametrize("problems", [0, 1, 2])
def test_next_to_nothing_is_forecast_next_to_nothing(problems: int) -> None:
    draws = np.full(problems, 4)
    found = forecast.coverage(forecast.fit(draws, np.minimum(draws, 2)), 8)
    assert found.high - found.low > 0.25


def test_problems_without_draws_say_nothing() -> None:
    _, draws, correct = pilot()
    more = np.concatenate((draws, np.zeros(500, dtype=np.int64)))
    padded = forecast.fit(more, np.concatenate((correct, np.zeros(500, dtype=np.int64))))
    bare = forecast.fit(draws, correct)
    assert padded.coverage(32) == pytest.approx(bare.coverage(32), abs=1e-9)


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="0 <= correct <= draws"):
        forecast.fit(np.array([4, 4]), np.array([5, 0]))


def test_a_weight_of_two_is_the_problem_twice() -> None:
    _, draws, correct = pilot(problems=50)
    weighed = forecast.fit(draws, correct, np.full(50, 2.0))
    doubled = forecast.fit(np.tile(draws, 2), np.tile(correct, 2))
    assert weighed.coverage(16) == pytest.approx(doubled.coverage(16), abs=1e-9)


def test_intervals_hold_where_abilities_are_beta() -> None:
    hits = []
    for seed in range(20):
        chances, draws, correct = pilot(seed=seed)
        found = forecast.coverage(forecast.fit(draws, correct), 32, problems=200)
        hits.append(found.low <= np.mean(1 - (1 - chances) ** 32) <= found.high)
    assert np.mean(hits) >= 0.9


def test_pooling_chances_before_averaging_is_not_what_a_forecast_does() -> None:
    """Trap 1, Jensen: half the problems sure and half out of reach are not covered by more draws."""
    draws = np.full(200, 16)
    fitted = forecast.fit(draws, np.where(np.arange(200) < 100, 16, 0))
    assert fitted.coverage(4) == pytest.approx(0.5, abs=0.05)


def test_the_pilots_own_problems_are_known_better_than_new_ones() -> None:
    _, draws, correct = pilot(draws=32)
    fitted = forecast.fit(draws, correct)
    own, endless = (forecast.coverage(fitted, 8, problems=n) for n in (200, None))
    assert own.high - own.low < 0.7 * (endless.high - endless.low)


def test_a_set_smaller_than_its_pilot_is_refused() -> None:
    _, draws, correct = pilot()
    with pytest.raises(ValueError, match="cannot hold"):
        forecast.coverage(forecast.fit(draws, correct), 8, problems=100)


def test_levels_are_fitted_apart_and_add_up() -> None:
    _, draws, easy = pilot(a=8.0, b=2.0)
    _, _, hard = pilot(a=1.0, b=9.0, seed=1)
    level = np.repeat([0, 1], 200)
    fits = forecast.fit_levels(np.tile(draws, 2), np.concatenate((easy, hard)), level)
    assert fits[0].beta().mean == pytest.approx(0.8, abs=0.05)
    assert fits[1].beta().mean == pytest.approx(0.1, abs=0.05)
    both = forecast.pooled([(fits[0], 200), (fits[1], 600)], covered(4))
    parts = [forecast.coverage(fits[i], 4, problems=n).value for i, n in ((0, 200), (1, 600))]
    assert both.value == pytest.approx((200 * parts[0] + 600 * parts[1]) / 800)


def test_a_level_too_small_shares_the_fit_of_all() -> None:
    _, draws, correct = pilot()
    fits = forecast.fit_levels(draws, correct, (np.arange(200) < 5).astype(np.int64))
    assert np.array_equal(fits[1].mean, forecast.fit(draws, correct).mean)
    assert fits[1].problems == 5


def test_a_problems_ability_follows_its_own_draws() -> None:
    _, draws, correct = pilot()
    found = forecast.abilities(forecast.fit(draws, correct), np.array([4, 4, 0, 64]), np.array([0, 4, 0, 32]))
    assert found[0] < found[2] < found[1]
    assert found[3] == pytest.approx(0.5, abs=0.05)


# --- distinct correct draws ------------------------------------------------------------------------


def test_duplicates_are_found_again() -> None:
    rng = np.random.default_rng(0)
    correct = rng.integers(0, 20, 2000)
    distinct = np.zeros(2000, dtype=np.int64)
    for i in range(20):
        distinct += (correct > i) & (rng.random(2000) < 5 / (5 + i))
    found = forecast.fit_duplicates(correct, distinct)
    assert found.theta[len(found.theta) // 2] == pytest.approx(5.0, rel=0.1)


def test_without_duplicates_distinct_is_correct() -> None:
    _, draws, correct = pilot()
    fitted = forecast.fit(draws, correct)
    distinct = forecast.expected_distinct(fitted, forecast.no_duplicates(), 16)
    assert distinct.value == pytest.approx(forecast.expected_correct(fitted, 16).value, rel=1e-6)


def test_distinct_draws_capped_at_one_are_coverage() -> None:
    _, draws, correct = pilot()
    fitted = forecast.fit(draws, correct)
    repeats = forecast.fit_duplicates(correct, np.minimum(correct, 1))
    capped = forecast.expected_distinct(fitted, repeats, 16, cap=1)
    assert capped.value == pytest.approx(forecast.coverage(fitted, 16).value, abs=1e-6)


def test_a_model_that_repeats_itself_yields_fewer_distinct_draws() -> None:
    _, draws, correct = pilot(draws=8)
    fitted = forecast.fit(draws, correct)
    same, fresh = (
        forecast.expected_distinct(fitted, forecast.fit_duplicates(correct, d), 64, cap=4).value
        for d in (np.minimum(correct, 1), correct)
    )
    assert same < 0.6 * fresh


def test_new_kinds_are_chances_that_agree_with_their_mean() -> None:
    model = forecast.Duplicates((3.0,))
    kinds = new_kinds(model, 2, 6, 6)
    assert kinds.sum(axis=1) == pytest.approx(1.0)
    assert kinds @ np.arange(7) == pytest.approx(
        np.concatenate(([0.0], np.cumsum(model.new(np.arange(2.0, 8.0)))))
    )


def test_impossible_numbers_of_distinct_draws_are_refused() -> None:
    with pytest.raises(ValueError, match="distinct correct draws"):
        forecast.fit_duplicates(np.array([3]), np.array([0]))
