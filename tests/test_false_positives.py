import math

import numpy as np
import pytest

from toolkit.estimators import wilson
from toolkit.false_positives import Share, corrected, difference, sentence, share
from toolkit.types import Estimate


def alike(flawed: int, n: int) -> Share:
    """That many flawed among n draws of different problems, all of one weight."""
    return share(np.array([1.0] * flawed + [0.0] * (n - flawed)), np.ones(n), np.arange(n))


def test_fifty_labels_cannot_tell_17_percent_from_24_and_say_how_many_could() -> None:
    weak, strong = wilson(12, 50), wilson(8.5, 50)  # two raters averaged give halves
    found = difference(weak, strong, 50)
    assert found.points.value == pytest.approx(0.07)
    assert not found.shown
    assert found.needed is not None
    assert 400 < found.needed < 650
    said = sentence(("weak", "strong"), found)
    assert "cannot tell" in said
    assert "more false positives" not in said


def test_the_number_asked_for_shows_such_a_difference_about_eight_times_in_ten() -> None:
    needed = difference(wilson(12, 50), wilson(8.5, 50), 50).needed
    assert needed is not None
    rng = np.random.default_rng(0)
    a, b = rng.binomial(needed, 0.24, 2000), rng.binomial(needed, 0.17, 2000)
    shown = [
        difference(wilson(int(x), needed), wilson(int(y), needed), needed).shown
        for x, y in zip(a, b, strict=True)
    ]
    assert 0.75 < np.mean(shown) < 0.85


def test_equal_rates_are_called_different_at_most_one_time_in_twenty() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.binomial(50, 0.1, 4000), rng.binomial(50, 0.1, 4000)
    shown = [difference(wilson(int(x), 50), wilson(int(y), 50), 50).shown for x, y in zip(a, b, strict=True)]
    assert np.mean(shown) < 0.055


def test_a_large_difference_is_named() -> None:
    found = difference(wilson(150, 500), wilson(50, 500), 500)
    assert found.shown
    assert sentence(("weak", "strong"), found).endswith("weak has more false positives")


def test_no_difference_seen_asks_for_no_number_of_labels() -> None:
    found = difference(wilson(5, 50), wilson(5, 50), 50)
    assert (found.needed, found.shown) == (None, False)


def test_equal_weights_of_different_problems_give_wilsons_interval() -> None:
    got, expected = alike(7, 200).estimate, wilson(7, 200)
    assert got.value == 7 / 200
    assert (got.low, got.high) == pytest.approx((expected.low, expected.high), abs=0.003)


def test_no_flawed_one_seen_is_not_proof_of_none() -> None:
    got = alike(0, 50).estimate
    assert (got.value, got.low) == (0, 0)
    assert got.high == pytest.approx(wilson(0, 50).high)


def test_draws_of_one_problem_count_as_one_piece_of_evidence() -> None:
    flawed, weight = np.array([1.0] * 10 + [0.0] * 90), np.ones(100)
    apart = share(flawed, weight, np.arange(100)).estimate
    together = share(flawed, weight, np.arange(100) // 10).estimate
    assert together.high - together.low > 2 * (apart.high - apart.low)


def test_the_correction_turns_a_judges_share_back_into_the_true_one() -> None:
    for true, se, sp in ((0.1, 0.8, 0.9), (0.24, 0.6, 0.95), (0.5, 0.99, 0.7)):
        apparent = true * se + (1 - true) * (1 - sp)
        got = corrected(Share(apparent, 500), Share(se, 60), Share(sp, 60))
        assert got is not None
        assert got.value == pytest.approx(true)
        assert got.low < true < got.high


def test_the_interval_of_the_correction_is_the_published_one() -> None:
    # Lang and Reiczigel's formula worked by hand for 60 of 300, sensitivity 40/50, specificity 90/100
    got = corrected(Share(0.2, 300), Share(0.8, 50), Share(0.9, 100))
    z2 = 1.959963984540054**2
    p, se, sp = (60 + z2 / 2) / (300 + z2), 41 / 52, 91 / 102
    centre = (p + sp - 1) / (se + sp - 1)
    of_se, of_sp = se * (1 - se) / 52, sp * (1 - sp) / 102
    variance = p * (1 - p) / (300 + z2) + centre**2 * of_se + (1 - centre) ** 2 * of_sp
    half = math.sqrt(z2 * variance) / (se + sp - 1)
    middle = centre + 2 * z2 * (centre * of_se - (1 - centre) * of_sp)
    assert got is not None
    assert (got.low, got.high) == pytest.approx((middle - half, middle + half))


def test_doubt_about_the_judge_widens_the_interval() -> None:
    sure = corrected(Share(0.2, 500), Share(0.8, 5000), Share(0.95, 5000))
    unsure = corrected(Share(0.2, 500), Share(0.8, 15), Share(0.95, 85))
    assert sure is not None
    assert unsure is not None
    assert unsure.high - unsure.low > 1.3 * (sure.high - sure.low)


def test_a_judge_no_better_than_chance_corrects_nothing() -> None:
    assert corrected(Share(0.3, 500), Share(0.4, 50), Share(0.6, 50)) is None


def test_a_corrected_share_stays_in_its_range() -> None:
    got = corrected(Share(0.02, 500), Share(0.9, 50), Share(0.9, 50))
    assert got is not None
    assert (got.value, got.low) == (0, 0)
    assert isinstance(got, Estimate)


def test_no_labels_are_no_share() -> None:
    with pytest.raises(ValueError, match="at least one label"):
        share(np.empty(0), np.empty(0), np.empty(0, np.int64))
