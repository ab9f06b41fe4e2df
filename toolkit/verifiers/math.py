"""Mathematical answers: is this answer the gold answer?

Most pairs are decided here and at once, because the strings are equal or both are plain rational
numbers. The rest goes to Math-Verify (https://github.com/huggingface/Math-Verify) in killable processes,
its own timeouts switched off: they need the main thread, take whole seconds only and report a timeout as
"wrong".

Policies for plain rationals: exact (0.333 is not 1/3), thousands commas are read (1,234 is 1234), and a
percentage equals both its number and its hundredth (50% is 50 and 0.5) unless both sides are percentages.
Words after a number are its unit and ignored (18 dollars is 18), unless they change its value (3 dozen).
"""

import re
import threading
from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache

from toolkit.answers import tidy
from toolkit.types import Outcome
from toolkit.verifiers.notation import skeleton
from toolkit.verifiers.workers import Pair, Workers

_NUMBER = r"(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?"
_DECIMAL = re.compile(rf"([+-]?)\s*(?=[\d.])({_NUMBER})\.?\s*(\\?%)?")
_RATIO = re.compile(r"([+-]?)\s*(\d+)\s*/\s*(\d+)|([+-]?)\s*\\[dt]?frac\{(-?\d+)\}\{(-?\d+)\}")
_UNIT = re.compile(r"(.*[\d.])\s+([A-Za-z]{2,}(?: [A-Za-z]{2,}){0,3})")
_NOT_UNITS = re.compile(
    r"(?i)\b(?:(?:hundred|thousand|million|billion|trillion|dozen|half|quarter|third|fourth|fifth)s?|score|halves"
    r"|and|or|if|to|of|by|pi|sqrt|base|mod|times|plus|minus|over)\b"
)
_tidy = lru_cache(maxsize=65536)(tidy)
_LONGEST = 300  # characters: above it Python's own integers get slow, then refuse


class MathVerifier:
    """Judges pairs of gold and answer; a context manager, because it may hold processes.

    Safe to call from any thread; calls take turns. Nothing is started until a pair needs it.
    """

    name = "math"
    version = "1+math-verify-0.9.0"

    def __init__(self, *, timeout: float = 5.0, workers: int = 2) -> None:
        """`timeout`: seconds of wall clock for one symbolic comparison."""
        self._workers = Workers("toolkit.verifiers.symbolic:compare", count=workers, timeout=timeout)
        self._known: dict[Pair, Outcome] = {}
        self._turn = threading.Lock()

    def __enter__(self) -> "MathVerifier":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes, if any were started."""
        with self._turn:
            self._workers.close()

    def check_many(self, pairs: Iterable[Pair]) -> list[Outcome]:
        """One outcome per (gold, answer), in order: CORRECT, INCORRECT, UNPARSABLE, TIMEOUT or ERROR."""
        pairs = [(_tidy(gold), _tidy(answer)) for gold, answer in pairs]
        outcomes = [quick(gold, answer) for gold, answer in pairs]
        with self._turn:
            hard = {pair for pair, outcome in zip(pairs, outcomes, strict=True) if outcome is None}
            new = sorted(hard - self._known.keys())
            if new:
                self._known.update(zip(new, self._workers.compare(new), strict=True))
            return [
                self._known[pair] if outcome is None else outcome
                for pair, outcome in zip(pairs, outcomes, strict=True)
            ]


def quick(gold: str, answer: str) -> Outcome | None:
    """The outcome where no algebra is needed, else None."""
    gold, answer = _tidy(gold), _tidy(answer)
    if gold == answer:
        return Outcome.CORRECT
    left, right = _rational(gold), _rational(answer)
    if left is None or right is None:
        return Outcome.CORRECT if skeleton(gold) == skeleton(answer) else None
    return Outcome.CORRECT if _equal(*left, *right) else Outcome.INCORRECT


def _equal(left: Fraction, left_percent: bool, right: Fraction, right_percent: bool) -> bool:
    if left == right:
        return True
    if left_percent == right_percent:
        return False
    return left == right / 100 if right_percent else left / 100 == right


@lru_cache(maxsize=65536)
def _rational(text: str) -> tuple[Fraction, bool] | None:
    """The exact value of a plain number, and whether it is a percentage; None for anything else."""
    if len(text) > _LONGEST:
        return None
    text = _bare(text)
    if decimal := _DECIMAL.fullmatch(text):
        sign, digits, percent = decimal.groups()
        return Fraction(sign + digits.replace(",", "")), percent is not None
    if ratio := _RATIO.fullmatch(text):
        sign, top, bottom = ratio.groups()[:3] if ratio[2] else ratio.groups()[3:]
        if int(bottom):
            return Fraction(int(top), int(bottom)) * (-1 if sign == "-" else 1), False
    return None


def _bare(text: str) -> str:
    """The number without its unit, minus signs and percent as ASCII."""
    text = text.replace("\N{MINUS SIGN}", "-")
    if text.endswith(" percent"):
        return text.removesuffix(" percent") + "%"
    unit = _UNIT.fullmatch(text)
    if unit is None or _NOT_UNITS.search(unit[2]):
        return text
    return unit[1]
