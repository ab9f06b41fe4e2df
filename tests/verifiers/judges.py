"""Comparisons for the tests of `workers`: run in a child, some of them deadly."""

import os

from toolkit.types import Outcome


def by_string(gold: str, answer: str) -> Outcome:
    print("a library that prints")
    if answer == "spin":
        while True:
            pass
    if answer == "die":
        os._exit(7)
    return Outcome.CORRECT if gold == answer else Outcome.INCORRECT


def check_in_another_process(pairs: list[tuple[str, str]]) -> list[Outcome]:
    """A fresh verifier's outcomes; for pools, which need a function of a module."""
    from toolkit.verifiers.math import MathVerifier

    with MathVerifier(timeout=20, workers=1) as verifier:
        return verifier.check_many(pairs)
