"""Gains between datasets: paired over problems, resampled over seeds, absolute and relative by name."""

import numpy as np
import pytest

from toolkit.evaluate.gains import Floats, resample


def figures(means: dict[str, list[float]], n: int = 400, seed: int = 0) -> dict[str, list[Floats]]:
    """0 or 1 for each problem, one row for each seed's mean."""
    rng = np.random.default_rng(seed)
    hard = rng.random(n)
    return {name: [(hard < m).astype(float) for m in seeds] for name, seeds in means.items()}


def test_points_and_relative_gains_are_both_given_and_named() -> None:
    values = {"wc": [np.repeat([1.0, 0.0], [164, 336])], "se": [np.repeat([1.0, 0.0], [155, 345])]}
    gain = resample(values, 500, 0).gain("wc", "se")
    assert gain["points"]["value"] == pytest.approx(0.018)  # the paper's 32.8 against 31.0
    assert gain["relative"]["value"] == pytest.approx(0.058, abs=5e-4)  # which it prints as +5.8 %
    assert (gain["a"], gain["b"]) == ("wc", "se")


@pytest.mark.parametrize(
    ("wc", "se", "printed"),
    [
        (0.282, 0.266, 0.060),
        (0.382, 0.368, 0.038),
        (0.436, 0.412, 0.058),
        (0.400, 0.392, 0.020),
        (0.81, 0.81, 0.0),
    ],
)
def test_the_papers_relative_gains_follow_from_its_absolute_scores(
    wc: float, se: float, printed: float
) -> None:
    found = resample({"wc": [np.full(10, wc)], "se": [np.full(10, se)]}, 100, 0)
    relative = found.relative("wc", "se")
    assert relative is not None
    assert relative.value == pytest.approx(printed, abs=6e-4)


def test_a_relative_gain_over_nothing_is_none() -> None:
    found = resample({"a": [np.ones(9)], "b": [np.zeros(9)]}, 100, 0)
    assert found.relative("a", "b") is None


def test_pairs_of_problems_stay_together() -> None:
    """Two students that fail the same problems differ by little, however much problems differ."""
    values = figures({"a": [0.52], "b": [0.50]})
    paired = resample(values, 1000, 0).points("a", "b")
    values["b"] = [np.random.default_rng(1).permutation(values["b"][0])]
    unpaired = resample(values, 1000, 0).points("a", "b")
    assert paired.value == pytest.approx(unpaired.value)
    assert paired.high - paired.low < 0.4 * (unpaired.high - unpaired.low)


def test_seeds_that_disagree_widen_the_interval() -> None:
    calm = resample(figures({"a": [0.5, 0.5, 0.5], "b": [0.4, 0.4, 0.4]}), 1000, 0).points("a", "b")
    wild = resample(figures({"a": [0.2, 0.5, 0.8], "b": [0.1, 0.4, 0.7]}), 1000, 0).points("a", "b")
    assert calm.low > 0
    assert wild.low < 0 < wild.value


def test_the_interval_covers_the_truth_over_problems_and_seeds() -> None:
    """Students of mean ability 0.5, each seed off by sd 0.05, on problems of uneven difficulty."""
    rng, held, repeats = np.random.default_rng(5), 0, 300
    for _ in range(repeats):
        ease = rng.normal(0, 0.15, 200)
        values = {
            name: [
                (rng.random(200) < np.clip(0.5 + ease + shift, 0, 1)).astype(float)
                for shift in rng.normal(0, 0.05, 6)
            ]
            for name in ("a", "b")
        }
        points = resample(values, 300, 1).points("a", "b")
        held += points.low <= 0 <= points.high
    assert 0.90 <= held / repeats <= 0.99


def test_no_difference_at_all_is_not_certainty() -> None:
    found = resample({"a": [np.ones(50)], "b": [np.ones(50)]}, 100, 0).points("a", "b")
    assert found.low < 0 < found.high
    assert found.value == 0
