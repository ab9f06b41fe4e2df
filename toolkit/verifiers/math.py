"""Mathematical answers: is this answer the gold answer?

Nearly every pair is decided here, without algebra: the strings are equal, or both were read whole
(`reader`) and compared by structure and by value, exactly or to sixty digits (`matching`). A quick no is
held to the evidence of a quick yes. What cannot be read goes to Math-Verify
(https://github.com/huggingface/Math-Verify) in processes that can be killed, its own timeouts switched off:
they need the main thread, take whole seconds only and report a timeout as "wrong".

Policies. They hold for either side, except where the gold is named.

| answer             | policy                                                                                   |
|--------------------|------------------------------------------------------------------------------------------|
| typing             | unicode look-alikes, bold and colours, `**42**`, a final period do not count             |
| numbers            | exact: 0.333 is not 1/3, 3.14 is not pi, 1/2004! is not 1/2005!; arithmetic is carried   |
|                    | out (1995^2); words (forty-two, 1.8 million) and 3 x 10^5 are numbers                    |
| long decimals      | from 10 significant digits on, the rounding of a value that does not end there (15       |
|                    | digits of 2/27), cut off, rounded, or off as floating point is (1e-14)                   |
| repeating decimals | marked by a bar, a dot, brackets, or dots after a period written out (0.333...,          |
|                    | 0.1212...)                                                                               |
| thousands          | 1,234 and 1 000 and 1{,}234 are numbers, outside brackets; 32, 349 with a space are two  |
| decimal comma      | 27,93 may be 27.93, and 0,111 is 0.111; a gold like 1,2 is two numbers                   |
| mixed numbers      | 6 1/5 and 6\\frac15 and "6 and 1/5" are 31/5                                             |
| percent            | 50% is 50 and 1/2, unless both sides are percentages; 50 is not 1/2                      |
| degrees            | the mark may be missing (72 is 72 degrees); against a number of radians it counts        |
| units, money       | words and symbols after a value are left out (18 dollars, 72 cm^3, 9.8 m/s^2, 5th), not  |
|                    | ones that change it (3 dozen), and so are remarks in brackets after it                   |
| formulas           | equal at random points, two positive and one negative; variables keep their names; a log |
|                    | without base is one to base 10 where the other side has a base                           |
| equations          | the same but for a constant factor (2x = 4y, x = 2y), or both name the same with one     |
|                    | value; x = 5 is not y = 5                                                                |
| named values       | x = 5, f(x) = 5, a + b = 4, Area = 5 state their right side; x + y = 0 does not state 0, |
|                    | and a gold equation with a sum on its left is met by an equation only                    |
| chains             | 18/90 = 1/5 ends in its value; 4 = 5 and x = 4 = 5 contradict themselves and are wrong;  |
|                    | after an approximately-sign nothing counts                                               |
| inequalities       | x >= 5, {x | x >= 5} are [5, oo), -x > -1 is x < 1, two that meet are what they share,   |
|                    | |x| > 5 and x != 5 are unions, as is R without points                                    |
| orders             | a gold a < b < c is met by the list a, b, c                                              |
| sets and lists     | in any order, each item once; {1,2} is not (1,2); a list without brackets may be a       |
|                    | tuple, not the interval [1,2]; "3^3 or 27" says one thing twice; x = 5 or x = 1 is not 5 |
| plus-minus         | both values: \\pm 3i is 3i, -3i                                                          |
| tuples, intervals  | in order, with their brackets: [0,1) is not [0,1], (1,2) not [1,2]; at infinity any      |
|                    | bracket; intervals with commas may be a union                                            |
| labelled tuples    | x = 5, p = 2 is (5, 2); one label for all, or x_1 and x_2, is a list                     |
| matrices           | entry by entry; a column is the tuple of its entries; [0 1; 1 0] and [[0,1],[1,0]] are   |
|                    | read                                                                                     |
| bases              | digits and base: 1011_2 is not 1011_3; a base that is left out is the gold's; 1011 base  |
|                    | 2                                                                                        |
| remainders         | 3 (mod 7) is 3; of two moduli that differ one is wrong                                   |
| ratios, times      | 2:3 is 2/3 and 4:6; times keep their parts: 12:30 is not 12:45; morning is not evening,  |
|                    | but the half of the day may be missing                                                   |
| choices            | the letter counts: (E) Hyperbola, E) ..., option E and \\text{(E)} are E; (E) 42 is also |
|                    | 42                                                                                       |
| text               | without case, articles and \\text{}; "all real numbers" is (-oo, oo); "Ann has the most" |
|                    | is Ann                                                                                   |
| restated questions | an unevaluated sum, product, integral or limit is no answer, unless the gold holds one;  |
|                    | what it is said to equal is                                                              |
| prose              | an answer that is a sentence counts by what it says that something is, else by its last  |
|                    | formula or number, if it names no alternatives; a solution must state its answer first   |
| several boxes      | the last one (MATH's convention), or all of them as a list if that is the gold           |
| refusals, length   | a refusal, and more than 300 characters, is UNPARSABLE and is never read as a number     |
"""

import re
import threading
from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import lru_cache

from toolkit.answers import LONGEST, final_answer, joined_boxes, loose_answer, norm_sha, refuses, tidy
from toolkit.equations import equations_sha
from toolkit.types import Outcome, Verdict
from toolkit.verifiers.forms import Form
from toolkit.verifiers.matching import same
from toolkit.verifiers.notation import skeleton
from toolkit.verifiers.reader import readings
from toolkit.verifiers.typography import plain
from toolkit.verifiers.variants import is_list
from toolkit.verifiers.workers import Pair, Workers

_STATED = re.compile(r"boxed|####|(?i:answer)")
_RESTATED = re.compile(r"\\(?:sum|prod|int|lim)(?![a-z])")
_MODULUS = re.compile(
    r"[,\s]*(?:\\[,; ]|~|\\q?quad)*(?:\\pmod\s*(?:\{(\w+)\}|(\w))"
    r"|\\?\(\s*(?:\\text\{\s*|\\b?)?mod\s*\}?\s*\{?(\w+)\}?\s*\\?\))\s*$"
)
_SMALL = re.compile(r"(?=.{1,10}$)-?\d+(?:\.\d+)?")  # too short to be the rounding of anything
_PROSE = re.compile(r"(?:^|\s)[A-Za-z]{2,}(?:\s|$)")


class MathVerifier:
    """Judges solutions, and pairs of gold and answer; a context manager, because it may hold processes.

    Safe to call from any thread; calls take turns. Nothing is started until a pair needs it.
    """

    name = "math"
    version = "2+math-verify-0.9.0"

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

    def judge(self, draws: Sequence[tuple[str, str]]) -> list[Verdict]:
        """One verdict per (gold, text of a solution), in order. Only an answer that the text states counts."""
        answers = [final_answer(text) for _, text in draws]
        outcomes = self._outcomes([gold for gold, _ in draws], answers)
        again = [i for i, outcome in enumerate(outcomes) if outcome is not Outcome.CORRECT]
        joined = [joined_boxes(draws[i][1]) for i in again]
        for i, answer, outcome in zip(
            again, joined, self._outcomes([draws[i][0] for i in again], joined), strict=True
        ):
            if outcome is Outcome.CORRECT:
                answers[i], outcomes[i] = answer, outcome
        return [
            Verdict(outcome, answer, norm_sha(text), equations_sha(text))
            for outcome, answer, (_, text) in zip(outcomes, answers, draws, strict=True)
        ]

    def _outcomes(self, golds: Sequence[str], answers: Sequence[str | None]) -> list[Outcome]:
        """One outcome per gold and answer; no answer is UNPARSABLE."""
        pairs = [(gold, answer) for gold, answer in zip(golds, answers, strict=True) if answer is not None]
        found = iter(self.check_many(pairs))
        return [Outcome.UNPARSABLE if answer is None else next(found) for answer in answers]

    def check_many(self, pairs: Iterable[Pair]) -> list[Outcome]:
        """One outcome per (gold, answer), in order: CORRECT, INCORRECT, UNPARSABLE, TIMEOUT or ERROR."""
        pairs = [(_stated(gold), _stated(answer)) for gold, answer in pairs]
        outcomes = [_decide(gold, answer) for gold, answer in pairs]
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
    return _decide(_stated(gold), _stated(answer))


@lru_cache(maxsize=65536)
def _decide(gold: str, answer: str) -> Outcome | None:
    if _SMALL.fullmatch(gold) and _SMALL.fullmatch(answer):
        return Outcome.CORRECT if Fraction(gold) == Fraction(answer) else Outcome.INCORRECT
    if len(gold) > LONGEST or len(answer) > LONGEST or refuses(answer):
        return Outcome.CORRECT if gold == answer else Outcome.UNPARSABLE
    if gold == answer or skeleton(gold) == skeleton(answer):
        return Outcome.CORRECT
    if _RESTATED.search(answer) and not _RESTATED.search(gold):
        answer = _concluded(answer)
        if not answer:
            return Outcome.INCORRECT
    moduli = _modulus(gold), _modulus(answer)
    if all(moduli) and moduli[0] != moduli[1]:
        return Outcome.INCORRECT
    verdict = _compared(_MODULUS.sub("", gold), _MODULUS.sub("", answer))
    return None if verdict is None else Outcome.CORRECT if verdict else Outcome.INCORRECT


def _modulus(answer: str) -> str | None:
    """The modulus that is named after an answer."""
    found = _MODULUS.search(answer) if "mod" in answer else None
    return next(filter(None, found.groups())) if found else None


def _concluded(answer: str) -> str:
    """What a sum, a limit or the like is said to equal; empty where it is left as it stands."""
    _, equals, value = answer.rpartition("=")
    whole = value.count("{") == value.count("}") and not _RESTATED.search(value)
    return value.strip() if equals and whole else ""


def _compared(gold: str, answer: str) -> bool | None:
    """Whether any reading of the answer is a reading of the gold; None where one is missing or unsure."""
    golds = _read(gold)
    if is_list(gold):
        golds = golds[-1:]
    verdicts = [same(left, right) for left in golds for right in _read(answer)]
    if True in verdicts:
        return True
    return None if not verdicts or None in verdicts else False


@lru_cache(maxsize=65536)
def _read(answer: str) -> tuple[Form, ...]:
    found = readings(answer)
    if (
        not found
        and _PROSE.search(answer)
        and (loose := loose_answer(answer)) is not None
        and loose != answer
    ):
        return readings(loose)
    return found


@lru_cache(maxsize=65536)
def _stated(text: str) -> str:
    """The answer in a text that may be a whole response; else the text itself, without its wrapping."""
    text = plain(text)
    if len(text) <= LONGEST and not _STATED.search(text):
        return tidy(text)
    return (
        joined_boxes(text) or final_answer(text) or (_PROSE.search(text) and loose_answer(text)) or tidy(text)
    )
