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
