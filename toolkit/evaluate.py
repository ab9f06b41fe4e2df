"""Students on held-out problems: who takes part, and pass@1 with paired differences between arms."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.arms import Arm, parameters
from toolkit.errors import InputError
from toolkit.estimators import mean_estimate, paired_difference, resampled_means
from toolkit.ledger import Reader
from toolkit.spec import Limits, Model, Run
from toolkit.types import Outcome, Problem

BASE = "base"
CONCURRENCY = 64  # requests in flight to our own server


def checkpoint(directory: Path, student: str, arm: str) -> Path:
    """Where a finetuned student lies."""
    return directory / "finetune" / student / arm


def contestants(run: Run, directory: Path, template: Template) -> list[Arm]:
    """The base of every student and each of its finetuned versions that exists."""
    assert run.evaluate is not None
    decoding = run.evaluate.decoding or run.decoding
    found = []
    for student, base in run.students.items():
        folders = {BASE: Path(base.model)} | {
            arm: path
            for arm in run.arm_models()
            if (path := checkpoint(directory, student, arm)).joinpath("config.json").is_file()
        }
        for arm, folder in folders.items():
            if not folder.is_dir():
                raise InputError(
                    f"students.{student}.model: {folder}: no such folder: evaluation serves local checkpoints"
                )
            model = Model(
                provider="checkpoint",
                model=str(folder),
                limits=Limits(concurrency=CONCURRENCY),
                params=parameters(folder),
            )
            found.append(Arm(_name(student, arm), model, decoding, template))
    return found


def score(
    reader: Reader,
    run: Run,
    directory: Path,
    template: Template,
    problems: Sequence[Problem],
    verifier: tuple[str, str],
) -> dict[str, Any]:
    """evaluation.json: pass@1 of base and students, and differences between arms paired by problem."""
    source = run.held_out
    assert source is not None
    assert run.evaluate is not None
    rows = {a.name: reader.arm_id(a.name, a.payload_sha) for a in contestants(run, directory, template)}
    ids = reader.problem_ids(problems)
    return {
        "problems": len(problems),
        "source": source.source,
        "split": source.split,
        "draws": run.evaluate.draws,
        "students": {
            student: _student(reader, run, student, rows, ids, verifier) for student in run.students
        },
    }


def _student(
    reader: Reader,
    run: Run,
    student: str,
    rows: dict[str, int | None],
    ids: Sequence[int | None],
    verifier: tuple[str, str],
) -> dict[str, Any]:
    passed = {
        arm: _pass_rates(reader, row, ids, verifier)
        for arm in (BASE, *run.arm_models())
        if (row := rows.get(_name(student, arm))) is not None
    }
    scores = {arm: _estimate(rates, run).as_json() for arm, rates in passed.items()}
    trained = [arm for arm in run.arm_models() if arm in passed]
    untrained = [arm for arm in run.arm_models() if arm not in passed]
    differences = [
        {
            "a": a,
            "b": b,
            "points": paired_difference(
                passed[a], passed[b], resamples=run.metrics.resamples, seed=run.seed
            ).as_json(),
        }
        for a, b in combinations(trained, 2)
    ]
    notes = [f"{arm}: not finetuned: it has no correct draw to learn from" for arm in untrained]
    if scores and all(s["value"] == 0 for s in scores.values()):
        notes.append(
            "every version of this student scores 0: a tiny student can do nothing on problems far from what it was trained on"
        )
    return {
        "base": scores.get(BASE),
        "arms": {a: scores[a] for a in trained},
        "differences": differences,
        "notes": notes,
    }


def _pass_rates(
    reader: Reader, row: int, ids: Sequence[int | None], verifier: tuple[str, str]
) -> NDArray[np.float64]:
    """Share of correct draws of each problem, in the problems' order."""
    right: dict[int, int] = {}
    asked: dict[int, int] = {}
    for _, problem, _, outcome, _, _ in reader.verdicts(row, *verifier):
        asked[problem] = asked.get(problem, 0) + 1
        right[problem] = right.get(problem, 0) + (outcome == Outcome.CORRECT)
    missing = [i for i in ids if i is None or i not in asked]
    if missing:
        raise InputError(
            f"evaluation: {len(missing)} problems have no draw yet: run `pricematch evaluate` again"
        )
    return np.array([right[i] / asked[i] for i in ids if i is not None])


def _estimate(rates: NDArray[np.float64], run: Run) -> Any:
    resampled = resampled_means(rates[:, None], run.metrics.resamples, run.seed)[:, 0]
    return mean_estimate(rates, resampled)


def _name(student: str, arm: str) -> str:
    return f"evaluate/{student}/{arm}"
