"""What the draws show, from verdicts alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from toolkit import bills, metrics, planning
from toolkit.errors import InputError
from toolkit.job import AUDIT, METRICS, PLAN, ROUNDS, Job
from toolkit.ledger import Reader
from toolkit.pipeline.verifying import verifier_of
from toolkit.repricing import REPRICED, Repricing


def measure(job: Job, other: Repricing | None = None) -> dict[str, Any]:
    """metrics.json from the ledger's verdicts; nothing is asked or judged.

    At `other` prices the same draws make metrics.repriced.json; metrics.json stays as it is.
    """
    with job.reader() as reader:
        ids = [i for i in reader.problem_ids(job.problems) if i is not None]
        measured = metrics.measure(
            reader,
            measured_parts(job, reader),
            ids,
            ks=job.run.metrics.k,
            verifier=verifier_of(job.run),
            resamples=job.run.metrics.resamples,
            seed=job.run.seed,
            pico=None if other is None else _repriced(job, reader, other, ids),
        )
    for arm, found in (job.read(AUDIT) or {"models": {}})["models"].items():
        if arm in measured["models"]:
            measured["models"][arm]["false_positive_rate"] = found["false_positive_rate"]
    if other is not None:
        measured["repriced"] = other.as_json()
    job.write(METRICS if other is None else REPRICED, measured)
    return measured


def _repriced(
    job: Job, reader: Reader, other: Repricing, ids: Sequence[int]
) -> Mapping[int, bills.Ints | None]:
    rows = known_rows(job, reader)
    return bills.repriced(reader, {rows[a.name]: other.prices[a.key] for a in job.arms()}, ids)


def measured_parts(job: Job, reader: Reader) -> dict[str, list[metrics.Part]]:
    """Arm -> its ledger rows, with what each was to draw. Raises InputError where one has no draws."""
    made = (job.read(PLAN) or {"models": {}})["models"]
    rounds = (job.read(ROUNDS) or {"arms": {}})["arms"]
    rows, found = known_rows(job, reader), {arm: list[metrics.Part]() for arm in job.run.members()}
    for part in job.arms():
        design = made.get(part.whole, {})
        planned = design.get("members", {}).get(part.key, design).get("draws_per_problem")
        uneven = job.run.policy_of(part.whole).name != "uniform"
        found[part.whole].append(
            metrics.Part(
                rows[part.name],
                planned if planned and not uneven else _most_draws(reader, rows[part.name]),
                planning.compute(job, part),
                rounds.get(part.whole, {}).get("prefix", {}).get(part.name, 0) if uneven else None,
            )
        )
    return found


def known_rows(job: Job, reader: Reader) -> dict[str, int]:
    """Ledger ids of the run's arms and parts, as the run file now stands."""
    rows = {a.name: reader.arm_id(a.name, a.payload_sha) for a in job.arms()}
    if absent := [name for name, row in rows.items() if row is None]:
        raise InputError(
            f"{reader.path}: no draws of arm {absent[0]!r} as the run file now stands: run `pricematch sample` first"
        )
    return {name: row for name, row in rows.items() if row is not None}


def _most_draws(reader: Reader, row: int) -> int:
    (top,) = next(reader.rows("SELECT MAX(idx) FROM draw WHERE arm=?", (row,)))
    return 0 if top is None else int(top) + 1
