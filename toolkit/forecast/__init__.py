"""Forecasts from a pilot: how able a model is, how often it repeats itself, what k draws would buy."""

from toolkit.forecast.ability import Beta, break_even
from toolkit.forecast.duplicates import Duplicates, fit_duplicates, no_duplicates
from toolkit.forecast.fit import Fit, abilities, fit, fit_levels
from toolkit.forecast.outlooks import coverage, expected_correct, expected_distinct, expected_value, pooled

__all__ = [
    "Beta",
    "Duplicates",
    "Fit",
    "abilities",
    "break_even",
    "coverage",
    "expected_correct",
    "expected_distinct",
    "expected_value",
    "fit",
    "fit_duplicates",
    "fit_levels",
    "no_duplicates",
    "pooled",
]
