"""The words of simulated solutions: many tellings of one worked solution, right and wrong ones.

A script is made once per problem; telling it again costs microseconds.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from string import Template

from toolkit.types import Problem

HOLE = "\x00"  # where the final answer stands, in the steps as in the tail
MOST_STEPS = 10
FEWEST_STEPS = (
    3  # below it, 12 openings x 12 plans x 12 links per step x 12 checks are too few to be distinct
)

OPENINGS = (
    "Let us work through this step by step.", "We go through it in order.", "Here is how it goes.",
    "Let's take this one piece at a time.", "We start from what is given.", "I will write out every step.",
    "We solve this directly.", "Let me set this up.", "To begin, read off what is given.",
    "Let's see what the question wants.", "We can do this in a few short steps.", "Consider what we know.",
)  # fmt: skip
PLANS = (
    "The quantity asked for comes last.", "Each line uses the one before it.", "Only simple steps are needed.",
    "The plan is to find the missing parts first.", "The known values lead to the unknown one.",
    "We keep the exact values throughout.", "Nothing needs to be guessed.", "We build up to what is asked.",
    "The given facts are enough.", "We use each fact once.", "First come the parts, then the whole.",
    "It helps to name each intermediate result.",
)  # fmt: skip
LINKS = (
    "", "Now: ", "Then: ", "Next: ", "So: ", "From this: ", "We get: ", "This means: ", "Going on: ",
    "Note: ", "Therefore: ", "We see: ",
)  # fmt: skip
CHECKS = (
    "That is what was asked.", "This settles it.", "Nothing else is left to find.", "That completes the work.",
    "This is the quantity we wanted.", "All conditions are used.", "The size of this looks reasonable.",
    "Reading the question again, this fits.", "That is all we need.", "The steps above agree with each other.",
    "With that we are done.", "No further step is needed.",
)  # fmt: skip
LEAD_IN = re.compile(r"^(?:(?:First|Then|Next|So|Finally|Now|Therefore|Thus|Hence),? )+")
SAYS_ANSWER = re.compile(r"^(?:#+ |(?:so |thus |hence |therefore,? )?(?:the )?(?:final )?answer\b)", re.I)
NUMBER = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?")
FRACTION = re.compile(
    r"(?P<sign>-?)(?P<frac>\\[dt]?frac)?\{?(?P<over>\d+?)\}?(?P<slash>/?)\{?(?P<under>\d+)\}?"
)


@dataclass(frozen=True, slots=True)
class Script:
    """One alternative of each slot, in order, then the tail: that is a telling."""

    slots: tuple[tuple[str, ...], ...]
    flaws: tuple[tuple[int, tuple[str, ...]], ...]  # (slot, its alternatives with a wrong number in the step)
    tail: str
    gold: str | None
    wrong: tuple[str, ...]  # never equal to the gold, by value either

    @property
    def sizes(self) -> list[int]:
        return [len(slot) for slot in self.slots]


def script(problem: Problem, tail: Template) -> Script:
    """The script of a problem, from its worked solution where it has one, else from its numbers."""
    gold = problem.answer
    steps = [_holed(step, gold) for step in _steps(problem.solution or "")]
    fillers = [_holed(step, gold) for step in _fillers(problem.question)]
    if any(map(_flaw, steps)):
        told, breakable = (fillers if len(steps) < FEWEST_STEPS else []) + steps, set(steps)
    else:
        told, breakable = fillers + steps, set(fillers)
    slots = [_spaced(OPENINGS), _spaced(PLANS)]
    flaws = []
    for step in told:
        flaw = _flaw(step) if step in breakable else None
        if flaw:
            flaws.append((len(slots), _linked(_holed(flaw, gold))))
        slots.append(_linked(step))
    slots.append(_spaced(CHECKS))
    return Script(tuple(slots), tuple(flaws), _tail(tail, gold), gold, wrong_answers(gold, problem.question))


def tell(script: Script, picks: Sequence[int], answer: str, flaw: int | None, kept: float | None) -> str:
    """The telling that takes alternative `picks[i]` of slot i. `flaw` puts that wrong step in.

    `kept` cuts it: of the body this share is left, in whole words up to the first that shows the answer.
    """
    pieces = [slot[pick] for slot, pick in zip(script.slots, picks, strict=True)]
    if flaw is not None:
        slot, alternatives = script.flaws[flaw % len(script.flaws)]
        pieces[slot] = alternatives[picks[slot]]
    body = "".join(pieces)
    if kept is not None:
        return body[: int(len(body) * kept)].partition(HOLE)[0].rpartition(" ")[0]
    return (body + script.tail).replace(HOLE, answer)


def wrong_answers(gold: str | None, question: str = "") -> tuple[str, ...]:
    """Answers a solver could have slipped to, nearest first; none equals the gold by value."""
    if gold is None:
        start = (
            100_003 + sum(question.encode()) % 800_000
        )  # six digits: no accidental hit on a gold nobody told
        return tuple(str(start + 7919 * i % 90_000) for i in range(8))
    if NUMBER.fullmatch(gold):
        return _near_numbers(gold)
    fraction = FRACTION.fullmatch(gold)
    if fraction and bool(fraction["frac"]) != bool(fraction["slash"]) and int(fraction["under"]):
        return _near_fractions(fraction)
    first = re.search(r"\d+", gold)
    if first:
        value = int(first[0])
        near = [n for n in (value + 1, value - 1, value + 2, value + 3, value + 10) if n > 0 and n != value]
        return tuple(gold[: first.start()] + str(n) + gold[first.end() :] for n in near)
    letter = re.fullmatch(r"(?:\\text(?:bf|rm)?\{)?\(?([A-E])\)?\}?", gold)
    if letter:
        return tuple(gold.replace(letter[1], other) for other in "ABCDE" if other != letter[1])
    return ("17", "23", "41", "57")


def _near_numbers(gold: str) -> tuple[str, ...]:
    value = Decimal(gold.replace(",", ""))
    near = [
        value + 1,
        value - 1,
        value + 2,
        value * 2,
        value + 10,
        value - 2,
        value + 5,
        value * 10,
        value / 2,
    ]
    usual = [n for n in near if n != value and (n >= 0) == (value >= 0) and _places(n) <= _places(value)]
    separator = "," if "," in gold else ""
    return tuple(dict.fromkeys(f"{n:{separator}.{_places(value)}f}" for n in usual))


def _places(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _near_fractions(gold: re.Match[str]) -> tuple[str, ...]:
    over, under = int(gold["over"]), int(gold["under"])
    near = [
        (over + 1, under),
        (over, under + 1),
        (over - 1, under),
        (under, over),
        (over + 2, under),
        (over, under + 2),
    ]
    usual = [(o, u) for o, u in near if o > 0 and u > 1 and Fraction(o, u) != Fraction(over, under)]
    form = (
        f"{gold['sign']}{gold['frac']}{{{{{{}}}}}}{{{{{{}}}}}}"
        if gold["frac"]
        else f"{gold['sign']}{{}}/{{}}"
    )
    return tuple(form.format(o, u) for o, u in usual) or ("2", "3")


def _steps(solution: str) -> list[str]:
    """The sentences of a worked solution, without markup and without the line that says the answer."""
    text = _unboxed(re.sub(r"<<.*?>>|\[asy\].*?\[/asy\]", "", solution, flags=re.S))
    latex = "\\" in text
    parts = re.split(
        r"(?<=[.!?])\s+(?=[A-Z$]|\\[\[(])|\n\s*\n" if latex else r"(?<=[.!?])\s+(?=[A-Z\d$])|\n", text
    )
    sentences = (LEAD_IN.sub("", " ".join(part.split())) for part in parts)
    steps = [s[0].upper() + s[1:] for s in sentences if s and not SAYS_ANSWER.match(s)]
    return steps if len(steps) <= MOST_STEPS else [*steps[: MOST_STEPS - 1], steps[-1]]


def _unboxed(text: str) -> str:
    r"""`\boxed{x}` becomes `x`: a step must not announce the answer the way the tail does."""
    while (found := re.search(r"\\f?box(?:ed)?\s*\{", text)) is not None:
        depth, end = 1, found.end()
        while end < len(text) and depth:
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        inner = text[found.end() : end - 1 if depth == 0 else end]
        text = text[: found.start()] + inner + text[end:]
    return re.sub(r"\\f?box(?:ed)?\b", "", text)


def _flaw(step: str) -> str | None:
    """The step with its last number off by a little; None where it has no number."""
    numbers = list(re.finditer(r"\d+", step))
    if not numbers:
        return None
    last = numbers[-1]
    return step[: last.start()] + str(int(last[0]) + 1 + len(step) % 3) + step[last.end() :]


def _fillers(question: str) -> list[str]:
    """Three steps of plain arithmetic on the question's first numbers, at least one of them unlike the gold."""
    found = [int(n) for n in re.findall(r"(?<![\w.^_{\\])[1-9]\d{0,3}(?![\w.,])", question)]
    one, two = [*found, len(question) % 7 + 2, 3][:2]
    return [
        f"The first two values to look at are {one} and {two}.",
        f"Together they make {one} + {two} = {one + two}.",
        f"They differ by {abs(one - two)}.",
    ]


def _holed(step: str, gold: str | None) -> str:
    """The step with the gold replaced by a hole, so that a wrong telling stays wrong throughout."""
    if not gold or gold.isalpha():  # a gold such as "a" is a word of every sentence
        return step
    before = r"(?<![\w.])(?<!\d,)" if gold[0].isalnum() else ""
    after = r"(?!\w|\.\d|,\d{3})" if gold[-1].isalnum() else ""
    return re.sub(before + re.escape(gold) + after, HOLE, step)


def _spaced(alternatives: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{alternative} " for alternative in alternatives)


def _linked(step: str) -> tuple[str, ...]:
    return tuple(f"{link}{step} " for link in LINKS)


def _tail(tail: Template, gold: str | None) -> str:
    """The closing sentence; LaTeX goes between dollars unless the sentence has them already."""
    bare = tail.substitute(answer=HOLE)
    is_latex = gold is not None and bool(re.search(r"[\\^_]", gold))
    return bare.replace(HOLE, f"${HOLE}$") if is_latex and "$" not in bare else bare
