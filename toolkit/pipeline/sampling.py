"""Draws: what the plan lacks, or what a caller asks for."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

from toolkit import arms, planning, sample
from toolkit.arms import Arm
from toolkit.errors import InputError
from toolkit.job import Connect, Job
from toolkit.ledger import Ledger, Purpose
from toolkit.sample import Progress, Result
from toolkit.spec import Problems
from toolkit.types import Problem
from toolkit.wire import Wire


async def draw(job: Job, connect: Connect, *, stop: asyncio.Event, progress: Progress) -> Result:
    """Sample what the plan lacks, where it says how much. Nothing is asked when nothing is missing.

    Arms whose policy looks at outcomes while they draw are left to `toolkit.rounds`.
    """
    made = planning.save_plan(job)
    asked = [a for a in job.arms(imported=False) if made.parts[a.name].expected_draws is None]
    if not asked:
        return Result({}, False, False, [])
    wanted = {a.name: made.parts[a.name] for a in asked}
    return await ask(
        job,
        connect,
        asked,
        job.run.problems,
        job.problems,
        k={n: p.draws_per_problem if p.targets is None else p.targets for n, p in wanted.items()},
        n={n: p.draws_per_request for n, p in wanted.items()},
        purpose="sample",
        stop=stop,
        progress=progress,
    )


async def ask(
    job: Job,
    connect: Connect,
    asked: Sequence[Arm],
    source: Problems,
    questions: Sequence[Problem],
    *,
    k: Mapping[str, int | Sequence[int]],
    n: Mapping[str, int],
    purpose: Purpose,
    stop: asyncio.Event,
    progress: Progress,
    cap_pico: int | None = None,
) -> Result:
    """k draws per problem (or of each) of each arm, all arms at once."""
    with job.open(cap_pico=cap_pico) as ledger:
        ids = ledger.add_problems(questions)
        if _complete(ledger, asked, ids, k):
            there = {a.name: _total(k[a.name], len(ids)) for a in asked}
            progress.planned |= there
<<<<<<< HEAD
            progress.done |= Counter(there)  # the others' stand as they are
=======
            progress.done |= Counter(there)
>>>>>>> main
            return Result({a.name: 0 for a in asked}, False, False, [])
        if purpose == "sample":
            own = [ledger.arm_id(a.name, a.payload_sha) for a in job.arms(imported=False)]
            await ledger.strand_batches(own)
        if purpose == "sample" and ledger.live_batches():
            raise InputError(
                f"{job.directory}: batches of this run are still out: collect them with `pricematch sample --batch`"
            )
        sampling = job.run.sampling
        async with (
            connect({a.name: a.model for a in asked}, source) as endpoints,
            Wire(timeout=sampling.timeout) as wire,
        ):
            streams = [
                arms.stream(
                    a,
                    ledger,
                    questions,
                    sample.asker(endpoints[a.name].provider, wire.send),
                    endpoints[a.name].provider.capabilities(a.model.model),
                    k=k[a.name],
                    n=n[a.name],
                    purpose=purpose,
                    endpoint=endpoints[a.name].address,
                    others=endpoints[a.name].replicas(wire.send),
                    limiter=endpoints[a.name].gate(job.limiter(a.model)),
                )
                for a in asked
            ]
            arms.recall(ledger, streams)
            return await sample.run(
                streams,
                ids,
                ledger,
                keys=[q.id for q in questions],
                seed=job.run.seed,
                attempts=sampling.attempts,
                stop=stop,
                progress=progress,
            )


def _total(k: int | Sequence[int], problems: int) -> int:
    return k * problems if isinstance(k, int) else sum(k)


def _complete(
    ledger: Ledger, asked: Sequence[Arm], ids: Sequence[int], k: Mapping[str, int | Sequence[int]]
) -> bool:
    known = {a.name: ledger.arm_id(a.name, a.payload_sha) for a in asked}
    return all(row is not None and not any(ledger.missing(row, ids, k[name])) for name, row in known.items())
