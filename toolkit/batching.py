"""`sample --batch`: what the plan lacks, through the providers' batch APIs."""

import asyncio
from collections.abc import Mapping, Sequence

from toolkit import arms, batch, planning
from toolkit.arms import Arm
from toolkit.batch import Lane, Pace
from toolkit.errors import InputError
from toolkit.job import Connect, Endpoint, Job
from toolkit.ledger import Ledger
from toolkit.plan import Plan
from toolkit.sample import Progress, Result
from toolkit.types import Problem, Reply, Request
from toolkit.wire import Wire


async def draw(job: Job, connect: Connect, *, stop: asyncio.Event, progress: Progress) -> Result:
    """Collect the batches of this run that are out, and submit what is missing."""
    made, sampling = planning.save_plan(job), job.run.sampling
    asked = job.arms(imported=False, batched=True)
    for arm in asked:
        if made.parts[arm.name].expected_draws is not None:
            raise InputError(
                f"sampling.batch: {arm.name}: its policy looks at outcomes between draws, and a batch takes up to "
                "a day: sample without --batch, or give it a policy that does not"
            )
    with job.open() as ledger:
        ids = ledger.add_problems(job.problems)
        async with (
            connect({a.name: a.model for a in asked}, job.run.problems) as endpoints,
            Wire(timeout=sampling.timeout) as wire,
        ):
            return await batch.run(
                _lanes(asked, endpoints, ledger, job.problems, made),
                ids,
                ledger,
                keys=[q.id for q in job.problems],
                send=wire.send,
                seed=job.run.seed,
                pace=Pace(
                    requests=sampling.batch_requests, attempts=sampling.attempts, poll=sampling.batch_poll
                ),
                stop=stop,
                progress=progress,
            )


def _lanes(
    asked: Sequence[Arm],
    endpoints: Mapping[str, Endpoint],
    ledger: Ledger,
    questions: Sequence[Problem],
    made: Plan,
) -> list[Lane]:
    lanes = []
    for arm in asked:
        endpoint, design = endpoints[arm.name], made.parts[arm.name]
        if endpoint.batcher is None:
            raise InputError(
                f"sampling.batch: {arm.name}: provider {arm.model.provider!r} has no batch API: sample without --batch"
            )
        stream = arms.stream(
            arm,
            ledger,
            questions,
            _never_alone,
            endpoint.provider.capabilities(arm.model.model),
            k=design.draws_per_problem if design.targets is None else design.targets,
            n=design.draws_per_request,
            endpoint=endpoint.address,
        )
        lanes.append(Lane(stream, endpoint.batcher))
    return lanes


async def _never_alone(request: Request) -> Reply:
    raise AssertionError("a lane's requests leave in batches")
