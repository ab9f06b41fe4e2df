"""The pilot: a few draws of every model before the plan is made."""

import asyncio
from dataclasses import replace
from fractions import Fraction
from typing import Any

from toolkit import cost, planning
from toolkit import pilot as pilots
from toolkit.errors import InputError
from toolkit.job import PILOT, Connect, Job
from toolkit.pipeline.sampling import ask
from toolkit.pipeline.verifying import verifier_of
from toolkit.planning import MOST_PER_REQUEST
from toolkit.sample import Progress, Result
from toolkit.types import PICO

LEAST = 20  # problems: fewer say too little of a model
FILLED = Fraction(9, 10)  # of its share: room for the last requests' worst case


def fitted(job: Job) -> Job:
    """The job with a pilot that its share of the budget pays for: of fewer problems, where all cost more.

    Raises InputError where not even a few problems fit.
    """
    wanted, share = job.run.budget.pilot, _share(job)
    if wanted is None or share is None:
        return job
    problems = min(wanted.problems, len(job.problems))
    each = sum(c.usd_pico(wanted.draws, 1) or 0 for c in planning.candidates(job))
    if each * problems <= share:
        return job
    if (fits := int(FILLED * share / each)) < min(LEAST, problems):
        raise InputError(
            f"budget.pilot: {wanted.draws} draws of every model to {min(LEAST, problems)} problems cost about "
            f"${float(each * min(LEAST, problems) / PICO):.3g}, the pilot's share of the budget "
            f"({wanted.share:.0%}) is ${share / PICO:.3g}: set pilot.draws lower or pilot.share higher, or "
            "leave out the dearest model"
        )
    smaller = wanted.model_copy(update={"problems": fits})
    budget = job.run.budget.model_copy(update={"pilot": smaller})
    return replace(job, run=job.run.model_copy(update={"budget": budget}))


async def pilot(job: Job, connect: Connect, *, stop: asyncio.Event, progress: Progress) -> Result:
    """The first draws of every model to the first problems, under a cap of their own."""
    wanted = job.run.budget.pilot
    assert wanted is not None
    asked, questions = job.arms(imported=False), job.problems[: wanted.problems]
    return await ask(
        job,
        connect,
        asked,
        job.run.problems,
        questions,
        k={a.name: wanted.draws for a in asked},
        n={a.name: a.model.draws_per_request or MOST_PER_REQUEST for a in asked},
        purpose="pilot",
        stop=stop,
        progress=progress,
        cap_pico=_cap(job),
    )


def _share(job: Job) -> int | None:
    """Picodollars the pilot may cost; None without a budget in dollars."""
    budget = job.run.budget
    if budget.usd is None or budget.pilot is None:
        return None
    return int(cost.to_pico(budget.usd) * Fraction(budget.pilot.share))


def _cap(job: Job) -> int | None:
    """What the run may have spent when its pilot is done, in picodollars."""
    share = _share(job)
    if share is None:
        return None
    with job.open() as ledger:
        return ledger.spend().committed + share


def piloted(job: Job) -> bool:
    """Whether pilot.json holds the pilot that this run asks for."""
    wanted, content = job.run.budget.pilot, job.read(PILOT)
    if wanted is None or content is None or content["draws"] < wanted.draws:
        return False
    known = pilots.load(content)
    return all(
        a.name in known and known[a.name].payload_sha == a.payload_sha for a in job.arms(imported=False)
    )


def keep_pilot(job: Job) -> dict[str, Any]:
    """pilot.json from the pilot's verdicts: what every plan of this run is made from."""
    wanted = job.run.budget.pilot
    assert wanted is not None
    with job.reader() as reader:
        ids = [i for i in reader.problem_ids(job.problems[: wanted.problems]) if i is not None]
        parts = {
            a.name: pilots.read(reader, row, a.payload_sha, ids, wanted.draws, verifier_of(job.run)).as_json()
            for a in job.arms(imported=False)
            if (row := reader.arm_id(a.name, a.payload_sha)) is not None
        }
    content = {"draws": wanted.draws, "problems": len(ids), "parts": parts}
    job.write(PILOT, content)
    return content
