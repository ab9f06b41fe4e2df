"""From a run's policies to draws: what the pilot allows to expect, and who is asked next.

The pure decisions are in `toolkit.policies`; here they meet the run's arms, prices and pilot.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit import forecast, policies, spec
from toolkit.errors import InputError
from toolkit.pilot import Measured
from toolkit.plan import Candidate
from toolkit.policies import Book, Goal, Known, Member, Outlook, Policy, State, Targets
from toolkit.types import Estimate

UNKNOWN = np.zeros(1, dtype=np.int64)  # a problem nobody was asked: all that is believed then is the prior
BUDGETS = (0.25, 0.5, 1.0, 2.0, 4.0)  # times the budget, for how the verdict moves with it


@dataclass(frozen=True, slots=True)
class Fixed:
    """Targets that stand already, as a policy: to forecast what they reach."""

    targets: Targets
    name: str = "fixed"
    adaptive: bool = False

    def next_targets(self, book: Book, state: State) -> Targets | None:
        return None if state.round else np.maximum(self.targets[:, : state.known.problems], state.known.draws)


@dataclass(frozen=True, slots=True)
class Layout:
    """One arm under its policy. Money is in picodollars, as floats: expected costs, never bills."""

    arm: str
    spec: spec.Policy
    policy: Policy
    book: Book
    parts: tuple[str, ...]  # in the order of the book's members
    known: Known  # the arm's own pilot draws; all problems
    pilot_draws: int  # of each pilot problem, whatever came out
    pilot_problems: int
    share: float  # of the arm, for all problems
    left: float  # of it, after its own pilot draws

    def first(self) -> Targets | None:
        """What it asks for before any outcome but the pilot's is known."""
        return self.policy.next_targets(self.book, State(self.known, self.left))

    def prefix(self, targets: Targets | None) -> dict[str, int]:
        """Draws of each part that every problem is given whatever comes out, its first targets being these."""
        asked = self.known.draws if targets is None else targets
        later = asked[:, self.pilot_problems :]
        least = later.min(axis=1, initial=np.iinfo(np.int64).max)
        if self.pilot_problems:
            least = np.minimum(least, self.pilot_draws)
        return {part: int(k) for part, k in zip(self.parts, least, strict=True)}

    def outlook(self, factor: float = 1.0) -> Outlook:
        """What it is expected to reach, also with another budget."""
        left = max(self.left + self.share * (factor - 1.0), 0.0)
        return policies.expected(self.policy, self.book, State(self.known, left))


def member(candidate: Candidate, measured: Measured | None) -> Member:
    """A model as the policies see it. Without a pilot nothing but the prior is believed of its ability."""
    if candidate.price is None:
        raise InputError(f"models.{candidate.key}.price is missing: policies lay out money")
    tokens = (candidate.prompt_tokens, candidate.output_tokens, candidate.thinking_tokens)
    prompt = candidate.price.expected(tokens[0], 0, 0)
    draw = candidate.price.expected(*tokens) - prompt
    if measured is None:
        fit, repeats = forecast.fit(UNKNOWN, UNKNOWN), forecast.no_duplicates()
    else:
        correct = np.array(measured.correct, dtype=np.int64)
        fit = forecast.fit(np.array(measured.draws, dtype=np.int64), correct)
        repeats = forecast.fit_duplicates(
            correct, np.array([len(d) for d in measured.distinct], dtype=np.int64)
        )
    return Member(candidate.name, fit, float(draw), float(prompt), candidate.max_n, repeats)


def known(measured: Sequence[Measured | None], problems: int) -> Known:
    """The pilots of an arm's own parts, as counts over all problems of the run."""
    counts = policies.nothing_known(len(measured), problems)
    for j, one in enumerate(measured):
        if one is not None:
            here = slice(0, len(one.draws))
            counts.draws[j, here] = one.draws
            counts.correct[j, here] = one.correct
            counts.distinct[j, here] = [len(d) for d in one.distinct]
    return counts


def layout(
    arm: str,
    wanted: spec.Policy,
    members: Sequence[Member],
    own: Sequence[Measured | None],
    *,
    problems: int,
    share: float,
) -> Layout:
    """An arm ready to be forecast and followed. `share` is in picodollars, for all problems."""
    counts = known(own, problems)
    goal = Goal(wanted.per_problem if wanted.goal == "distinct" else 1)
    piloted = [m for m in own if m is not None]
    spent = sum(m.usd_pico or 0 for m in piloted)
    return Layout(
        arm,
        wanted,
        _policy(wanted, [m.name for m in members]),
        policies.book(members, counts, goal),
        tuple(m.name for m in members),
        counts,
        min((max(m.draws) for m in piloted), default=0),
        max((len(m.draws) for m in piloted), default=0),
        share,
        max(share - spent, 0.0),
    )


def _policy(wanted: spec.Policy, names: Sequence[str]) -> Policy:
    match wanted.name:
        case "until_correct":
            return policies.UntilCorrect(names[0], wanted.correct, wanted.max_draws)
        case "difficulty":
            return policies.Difficulty(names[0], wanted.rounds)
        case "cascade":
            return policies.Cascade(names[0], names[1], wanted.max_draws)
        case "mix":
            return policies.Mix(wanted.rounds)
        case "uniform":
            return policies.Uniform(names[0])


def uniform(
    members: Sequence[Member], draws: Sequence[int], problems: int, cap: int
) -> tuple[Estimate, Estimate]:
    """Expected coverage and distinct correct draws (at most `cap` counted) of the same draws for every problem."""
    if len(members) == 1:
        (one,), (k,) = members, draws
        return (
            forecast.coverage(one.fit, k, problems=_at_least(one, problems)),
            forecast.expected_distinct(
                one.fit, one.duplicates, k, cap=cap, problems=_at_least(one, problems)
            ),
        )
    nothing = policies.nothing_known(len(members), problems)
    targets = np.repeat(np.array(draws, dtype=np.int64)[:, None], problems, axis=1)
    book = policies.book(members, nothing, Goal(cap))
    found = policies.expected(Fixed(targets), book, State(nothing, float("inf")))
    return found.coverage, found.distinct


def _at_least(one: Member, problems: int) -> int:
    return max(problems, round(one.fit.problems))


def as_json(outlook: Outlook | tuple[Estimate, Estimate]) -> Mapping[str, Any]:
    coverage, distinct = (outlook.coverage, outlook.distinct) if isinstance(outlook, Outlook) else outlook
    return {"coverage": coverage.as_json(), "distinct": distinct.as_json()}
