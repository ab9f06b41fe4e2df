"""False positive rates from labels: per arm, and whether two arms can be told apart."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from toolkit import false_positives
from toolkit.audit.sample import Item, Key
from toolkit.estimators import Floats
from toolkit.false_positives import Share
from toolkit.types import Estimate

Json = dict[str, Any]
Labels = Mapping[int, bool]  # draw -> whether its reasoning is sound

PEOPLE, JUDGE, JUDGE_AND_PEOPLE = "people", "judge, corrected", "people and judge"
DEFINITION = (
    "share of retained solutions (right final answer) whose reasoning is wrong; labels are spread over levels by solved "
    "problems, one per problem before a second, and weighted by the solutions they stand for"
)


def conclude(key: Key, human: Labels, judge: Labels | None = None) -> Json:
    """Per arm the false positive rate with its 95 % interval, and the differences between arms.

    Where a judge labelled more draws than people did, the rate is that of both together. Of an arm that people
    did not label it is the judge's, corrected by its sensitivity and specificity on the draws of the other
    arms that both labelled. Labels of draws that are not of this audit are left out.
    """
    judge = judge or {}
    skill = _skill(key, human, judge)
    arms = {
        arm: _arm([i for i in key.items if i.arm == arm], key.strata[arm], human, judge, skill)
        for arm in key.strata
    }
    return {
        "models": arms,
        "differences": [_compared((a, b), arms[a], arms[b]) for a, b in combinations(arms, 2)],
        "judge": None if skill is None else {name: _share(s) for name, s in skill.items()},
        "definition": DEFINITION,
    }


def _arm(
    items: Sequence[Item],
    solutions: Mapping[str, int],
    human: Labels,
    judge: Labels,
    skill: Mapping[str, Share] | None,
) -> Json:
    by_people, by_judge = _rate(items, solutions, human), _rate(items, solutions, judge)
    mended, together = None, None
    if by_judge is not None and skill is not None:
        mended = false_positives.corrected(by_judge, skill["sensitivity"], skill["specificity"])
        together = _together(items, solutions, human, judge)
    counts = {"human": _count(items, human), "judge": _count(items, judge)}
    ways = (
        (JUDGE_AND_PEOPLE, None if together is None else together.estimate, "judge"),
        (PEOPLE, None if by_people is None else by_people.estimate, "human"),
        (JUDGE, mended, "judge"),
    )
    how, headline, counted = next((way for way in ways if way[1] is not None), (None, None, "human"))
    return {
        "false_positive_rate": _json(headline),
        "from": how,
        "labels": counts[counted]["labels"],
        "human": counts["human"] | {"rate": _share(by_people)},
        "judge": counts["judge"] | {"rate": _share(by_judge), "corrected": _json(mended)},
        "per_problem": _share(_rate(items, {}, human, per_problem=True)),
        "by_level": {
            level: _share(_rate([i for i in items if i.stratum == level], {level: n}, human))
            for level, n in solutions.items()
        },
        "solutions": dict(solutions),
    }


def _rate(
    items: Sequence[Item], solutions: Mapping[str, int], labels: Labels, *, per_problem: bool = False
) -> Share | None:
    """The share of flawed ones. Labels of a level stand for all its solutions, also where some are missing."""
    seen = [i for i in items if i.draw in labels]
    if not seen:
        return None
    weight = np.array([i.weight / i.solutions if per_problem else i.weight for i in seen])
    if not per_problem:
        weight *= _restored(seen, weight, solutions)
    return false_positives.share(_flawed(seen, labels), weight, np.array([i.problem for i in seen]))


def _together(
    items: Sequence[Item], solutions: Mapping[str, int], human: Labels, judge: Labels
) -> Share | None:
    """People and judge together; None unless people labelled draws of both kinds among a part of the judge's."""
    if not all(i.draw in judge for i in items if i.draw in human):
        return None  # people did not label a part of what the judge labelled
    kinds = [{d: x for d, x in human.items() if judge.get(d) is sound} for sound in (False, True)]
    rates = [_rate(items, {}, kind) for kind in kinds]
    people, apparent = _rate(items, solutions, human), _rate(items, solutions, judge)
    if people is None or apparent is None or rates[0] is None or rates[1] is None:
        return None
    return false_positives.combined(people, apparent, rates[0], rates[1])


def _restored(seen: Sequence[Item], weight: Floats, solutions: Mapping[str, int]) -> Floats:
    strata = np.array([i.stratum for i in seen])
    factor = np.ones(len(seen))
    for stratum in set(strata.tolist()):
        here = strata == stratum
        factor[here] = solutions[stratum] / weight[here].sum() if solutions else 1.0
    return factor


def _skill(key: Key, human: Labels, judge: Labels) -> dict[str, Share] | None:
    """How right the judge is on draws that people labelled too; None where some kind of draw has no label."""
    both = [i for i in key.items if i.draw in human and i.draw in judge]
    found = {}
    for name, sound in (("sensitivity", False), ("specificity", True)):
        kind = [i for i in both if human[i.draw] is sound]
        if not kind:
            return None
        right = np.array([float(judge[i.draw] is sound) for i in kind])
        weight = np.array([i.weight for i in kind])
        found[name] = false_positives.share(right, weight, np.array([i.problem for i in kind]))
    return found


def _flawed(items: Sequence[Item], labels: Labels) -> Floats:
    return np.array([float(not labels[i.draw]) for i in items])


def _count(items: Sequence[Item], labels: Labels) -> Json:
    seen = [i for i in items if i.draw in labels]
    return {"labels": len(seen), "flawed": sum(not labels[i.draw] for i in seen)}


def _compared(names: tuple[str, str], a: Json, b: Json) -> Json:
    x, y = a["false_positive_rate"], b["false_positive_rate"]
    if x is None or y is None:
        absent = names[0] if x is None else names[1]
        says = f"{absent} has no labels: nothing can be said"
        return {"a": names[0], "b": names[1], "points": None, "shown": False, "needed": None, "says": says}
    found = false_positives.difference(Estimate(**x), Estimate(**y), min(a["labels"], b["labels"]))
    return {
        "a": names[0],
        "b": names[1],
        "points": _json(found.points),
        "shown": found.shown,
        "needed": found.needed,
        "says": false_positives.sentence(names, found),
    }


def _share(found: Share | None) -> Json | None:
    return None if found is None else _json(found.estimate)


def _json(estimate: Estimate | None) -> Json | None:
    return None if estimate is None else {k: float(f"{v:.12g}") for k, v in estimate.as_json().items()}
