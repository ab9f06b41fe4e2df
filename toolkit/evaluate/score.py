"""evaluation.json: pass@1, greedy answers and majority votes of every student, and the gains between datasets.

Every gain stands with both its kinds, points and relative, and says what was held equal (`matching`): the same
students look different matched by number than by cost.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import InputError
from toolkit.evaluate.contestants import BASE, Contestant, found, seeds
from toolkit.evaluate.gains import Resampled, resample
from toolkit.evaluate.votes import Ballot, ballot, majority_at
from toolkit.ledger import Reader
from toolkit.spec import Problems, Run
from toolkit.types import Outcome, Problem

TEST = "test"  # the name of evaluate.problems among the test sets
ONE_SEED = (
    "each dataset was trained once: the intervals hold the spread over problems, not over training seeds"
)
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TestSet:
    """Problems that nothing was chosen or trained on."""

    source: Problems
    problems: Sequence[Problem]

    __test__ = False  # for pytest: a noun, no test


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What scoring reads."""

    reader: Reader
    run: Run
    sets: Mapping[str, TestSet]
    verifier: tuple[str, str]
    matching: Mapping[str, str]  # dataset -> what its rows were matched by

    def resampled(self, values: Mapping[str, Sequence[Floats]]) -> Resampled:
        return resample(values, self.run.metrics.resamples, self.run.seed)


def score(evaluation: Evaluation, directory: Path, template: Template) -> dict[str, Any]:
    """The content of evaluation.json; the first test set's figures also stand at the top of each student."""
    run, test = evaluation.run, evaluation.sets[TEST]
    assert run.evaluate is not None
    everyone = found(run, directory, template)
    return {
        "problems": len(test.problems),
        "source": test.source.source,
        "split": test.source.split,
        "draws": run.evaluate.sampled,
        "seeds": seeds(run),
        "matching": matching(run),
        "sets": {
            name: {"source": s.source.source, "split": s.source.split, "problems": len(s.problems)}
            for name, s in evaluation.sets.items()
        },
        "students": {
            student: _student(evaluation, student, [c for c in everyone if c.student == student])
            for student in run.students
        },
    }


def matching(run: Run) -> dict[str, Any]:
    """What is held equal between datasets: what their draws cost, at which budget, and how long students train."""
    asked = run.budget
    sizes = {"usd": asked.usd and float(asked.usd), "flops": asked.flops, "draws": asked.draws}
    return {
        "draws": asked.match,
        "budget": {unit: size for unit, size in sizes.items() if size is not None},
        "training": run.finetune.match if run.finetune else "steps",
    }


def _student(evaluation: Evaluation, student: str, versions: Sequence[Contestant]) -> dict[str, Any]:
    run = evaluation.run
    sets = {name: _on(evaluation, versions, name) for name in evaluation.sets}
    trained = [d for d in run.datasets() if any(c.version == d for c in versions)]
    test = sets[TEST]
    scores = test["pass@1"]
    return {
        "setup": run.students[student].setup,
        "base": scores.get(BASE),
        "arms": {d: scores[d] for d in trained},
        "seeds": {d: sorted({c.seed for c in versions if c.version == d}) for d in trained},
        "differences": [g for g in test["gains"] if g["metric"] == "pass@1"],
        "sets": sets,
        "notes": _notes(run, trained, scores),
    }


def _notes(run: Run, trained: Sequence[str], scores: Mapping[str, Any]) -> list[str]:
    notes = [f"{d}: not finetuned: it has no row to learn from" for d in run.datasets() if d not in trained]
    if trained and seeds(run) == 1:
        notes.append(ONE_SEED)
    if scores and all(s["value"] == 0 for s in scores.values()):
        notes.append(
            "every version of this student scores 0: a tiny student can do nothing on problems far from what it was trained on"
        )
    return notes


def _on(evaluation: Evaluation, versions: Sequence[Contestant], name: str) -> dict[str, Any]:
    """Every metric of a student's versions on one test set, and every gain between two datasets."""
    assert evaluation.run.evaluate is not None
    problems = evaluation.sets[name].problems
    metrics = _metrics(evaluation, versions, problems)
    compared = {metric: evaluation.resampled(values) for metric, values in metrics.items()}
    told: dict[str, Any] = {
        metric: {version: r.estimate(version).as_json() for version in r.values}
        for metric, r in compared.items()
    }
    told["gains"] = [
        {"metric": metric, **r.gain(a, b), "matching": _matched(evaluation, a, b)}
        for metric, r in compared.items()
        for a, b in combinations([v for v in r.values if v != BASE], 2)
    ]
    return told


def _matched(evaluation: Evaluation, a: str, b: str) -> dict[str, Any]:
    """What a gain of a over b held equal."""
    whole = matching(evaluation.run)
    own = {name: evaluation.matching[name] for name in (a, b) if name in evaluation.matching}
    return whole | ({"datasets": own} if own else {})


def _metrics(
    evaluation: Evaluation, versions: Sequence[Contestant], problems: Sequence[Problem]
) -> dict[str, dict[str, list[Floats]]]:
    """Metric -> version -> per-problem values, one array for each seed."""
    asked = evaluation.run.evaluate
    assert asked is not None
    found: dict[str, dict[str, list[Floats]]] = {}
    for one in versions:
        ballots = _ballots(evaluation, one, problems, 1 if one.greedy else asked.sampled)
        shares = np.array([b.correct / b.draws for b in ballots])
        named = {"greedy pass@1": shares} if one.greedy else {"pass@1": shares}
        if not one.greedy:
            named |= {f"maj@{k}": np.array([majority_at(b, k) for b in ballots]) for k in asked.maj_k}
        for metric, values in named.items():
            found.setdefault(metric, {}).setdefault(one.version, []).append(values)
    return found


def _ballots(
    evaluation: Evaluation, one: Contestant, problems: Sequence[Problem], draws: int
) -> list[Ballot]:
    """The first `draws` draws of each problem, in the problems' order. Raises InputError where some are missing."""
    row = evaluation.reader.arm_id(one.arm.name, one.arm.payload_sha)
    drawn: dict[int, list[tuple[Outcome, str | None]]] = {}
    for problem, outcome, extracted in _verdicts(evaluation, row, draws) if row is not None else ():
        drawn.setdefault(problem, []).append((outcome, extracted))
    ids = evaluation.reader.problem_ids(problems)
    missing = [i for i in ids if i is None or len(drawn.get(i, ())) < draws]
    if missing:
        raise InputError(
            f"evaluation: {len(missing)} problems have no answer of {one.arm.name} yet: run `pricematch evaluate` again"
        )
    return [ballot(drawn[i]) for i in ids if i is not None]


def _verdicts(evaluation: Evaluation, row: int, draws: int) -> Iterator[tuple[int, Outcome, str | None]]:
    rows = evaluation.reader.rows(
        "SELECT d.problem, v.outcome, v.extracted FROM draw d JOIN verdict v ON v.draw=d.id AND v.verifier=? "
        "AND v.version=? WHERE d.arm=? AND d.idx<? ORDER BY d.problem, d.idx",
        (*evaluation.verifier, row, draws),
    )
    for problem, outcome, extracted in rows:
        yield problem, Outcome(outcome), extracted
