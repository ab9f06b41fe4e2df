"""Datasets from verified draws."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from toolkit import catalog, students
from toolkit.arms import Arm
from toolkit.job import METRICS, PLAN, Job
from toolkit.pipeline.measuring import known_rows
from toolkit.pipeline.verifying import verifier_of


def export(job: Job, judge_version: str | None = None) -> list[dict[str, Any]]:
    """Every dataset of the run: one per arm from the draws its filter keeps, then the controls."""
    from toolkit import dataset

    made, measured = job.read(PLAN) or {}, job.read(METRICS) or {}
    with job.reader() as reader:
        by_row = zip(reader.problem_ids(job.problems), job.problems, strict=True)
        material = dataset.Material(
            reader,
            {row: problem for row, problem in by_row if row is not None},
            job.template,
            verifier_of(job.run),
            job.run.dataset,
            seed=job.run.seed,
            judge_version=judge_version,
            held_out=_held_out(job),
        )
        parts: dict[str, list[dataset.Part]] = {name: [] for name in job.run.members()}
        rows = known_rows(job, reader)
        for arm in job.arms():
            parts[arm.whole].append(dataset.Drawn(rows[arm.name], _planned_draws(made, arm)))
        built = dataset.build(
            material, parts, job.directory / "dataset", lambda arms: _card_facts(job, arms, made, measured)
        )
    return [{"arm": b.arm, "rows": b.rows, "problems": b.problems, "skipped": b.skipped} for b in built]


def _planned_draws(made: Mapping[str, Any], arm: Arm) -> int | None:
    """Draws per problem that the plan gave this part; None where they differ by problem, or nothing was planned."""
    design = made.get("models", {}).get(arm.whole, {})
    planned = design.get("members", {}).get(arm.key, design).get("draws_per_problem")
    return planned if isinstance(planned, int) else None


def _held_out(job: Job) -> dict[str, frozenset[str]]:
    """What is never trained on: the problems that students are chosen and tested by. They refuse what overlaps."""
    if not job.run.students:
        return {}
    found = {"finetune.validation": students.validation(job)}
    if job.run.evaluate is not None:
        found["evaluate"] = students.tested(job)
    return {name: frozenset(p.sha for p in listed) for name, listed in found.items()}


def _card_facts(
    job: Job, arms: Sequence[str], made: Mapping[str, Any], measured: Mapping[str, Any]
) -> dict[str, Any]:
    models = [job.run.models[key] for arm in arms for key in job.run.members()[arm]]
    entries = [entry for model in models if (entry := catalog.find(model.model)) is not None]
    return {
        "run": job.run.name,
        "match": made.get("match"),
        "source": f"{job.run.problems.source} ({job.run.problems.split})",
        "prompt": Path(job.run.prompt).stem,
        "terms": ", ".join(dict.fromkeys(e.terms_url for e in entries if e.terms_url)) or None,
        "metrics": {arm: measured.get("models", {}).get(arm) for arm in arms},
    }
