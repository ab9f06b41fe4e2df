"""The learning rate: chosen once per student and dataset, on a seed that is never reported, by the validation problems.

Every dataset gets the same grid, the same checkpoints and the same problems to choose on; a rate found on one
dataset is never used for another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from toolkit import spec
from toolkit.finetune.jobs import Job
from toolkit.spec import SEARCH_SEED

Record = Mapping[str, Any]


def trials(job: Job, folder: Path) -> list[Job]:
    """One training for each rate of the grid, of which only the record is kept."""
    seed = job.spec.seed + SEARCH_SEED
    return [
        replace(job, directory=folder / f"rate-{rate:g}", spec=_with(job.spec, rate, seed), keep=False)
        for rate in job.spec.learning_rates
    ]


def settled(job: Job, directory: Path, seed: int, records: Sequence[Record] = ()) -> Job:
    """The job with the best rate of its trials, for one of the reported seeds (0 is the run file's own)."""
    told = outcome(records)
    rate = told["learning_rate"] if told else job.spec.learning_rate
    return replace(job, directory=directory, spec=_with(job.spec, rate, job.spec.seed + seed), search=told)


def outcome(records: Sequence[Record]) -> dict[str, Any] | None:
    """What the trials of one student and dataset came to; None where there were none, or no row to learn from.

    The best score wins, the smaller rate of equals; a training whose loss was not finite comes last.
    """
    tried = [r for r in records if not r.get("skipped")]
    if not tried:
        return None
    by = tried[0]["select_by"]
    best = min(tried, key=lambda r: (r["diverged"], _loss(r, by), r["learning_rate"]))
    return {
        "learning_rate": best["learning_rate"],
        "select_by": by,
        "seed": best["seed"],
        "trials": [
            {"learning_rate": r["learning_rate"], "diverged": r["diverged"], **r["chosen"]} for r in tried
        ],
    }


def _loss(record: Record, by: str) -> float:
    """Lower is better."""
    score = record["chosen"].get(by)
    if score is None:
        return float("inf")
    return float(score if by == "loss" else -score)


def _with(settings: spec.Finetune, rate: float, seed: int) -> spec.Finetune:
    return settings.model_copy(update={"learning_rates": (), "learning_rate": rate, "seed": seed})
