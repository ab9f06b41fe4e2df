"""Sampling under policies that look at outcomes: draw, judge, decide who is asked next, until they are done.

What the policies did is kept in `rounds.json`: how many rounds, and how many draws every problem was given
whatever came out (the only draws from which coverage at k may be estimated without bias).
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from toolkit import pipeline, planning
from toolkit.allocation import Layout
from toolkit.job import ROUNDS, Connect, Endpoint, Job
from toolkit.metrics import tally
from toolkit.planning import MOST_PER_REQUEST
from toolkit.policies import Known, State, Targets, nothing_known
from toolkit.sample import Progress, Result
from toolkit.spec import Model, Problems

Entry = dict[str, Any]


async def draw(job: Job, connect: Connect, *, stop: asyncio.Event, progress: Progress) -> Result:
    """All draws of the run: those whose number stands already, then round by round what policies ask for."""
    result = await pipeline.draw(job, connect, stop=stop, progress=progress)
    made = planning.make_plan(job)
    layouts = planning.layouts(job, made)
    if not layouts:
        return result
    entries = {name: _entry(job, found) for name, found in layouts.items()}
    following = {name: found for name, found in layouts.items() if found.policy.adaptive}
    if following and not _ended(result):
        with job.open() as ledger:  # every problem, also those no pilot has touched
            ledger.add_problems(job.problems)
        async with _kept(job, connect, following) as connected:
            while following and not _ended(result):
                targets = _decide(job, following, entries)
                _keep(job, entries)
                following = {name: found for name, found in following.items() if name in targets}
                if following:
                    now = await _round(job, connected, following, targets, stop, progress)
                    result = _joined(result, now)
    _keep(job, entries)
    return result


@asynccontextmanager
async def _kept(job: Job, connect: Connect, following: Mapping[str, Layout]) -> AsyncIterator[Connect]:
    """A connect whose endpoints stay open over all rounds: starting a server for each would take longer."""
    names = {part for found in following.values() for part in found.parts}
    models = {a.name: a.model for a in job.arms(imported=False) if a.name in names}
    async with connect(models, job.run.problems) as endpoints:

        @asynccontextmanager
        async def connected(
            models: Mapping[str, Model], problems: Problems
        ) -> AsyncIterator[Mapping[str, Endpoint]]:
            yield endpoints

        yield connected


def _ended(result: Result) -> bool:
    return result.capped or result.interrupted or any(result.missing.values())


def _joined(before: Result, now: Result) -> Result:
    return Result(before.missing | now.missing, now.capped, now.interrupted, [*before.notes, *now.notes])


def _entry(job: Job, found: Layout) -> Entry:
    """What is kept of an arm: from before this process, or new."""
    known: Mapping[str, Entry] = (job.read(ROUNDS) or {}).get("arms", {})
    entry = known.get(found.arm)
    if entry is not None and entry["policy"] == found.spec.model_dump(mode="json"):
        return entry | {"done": False}
    return {
        "policy": found.spec.model_dump(mode="json"),
        "adaptive": found.policy.adaptive,
        "rounds": 0,
        "done": not found.policy.adaptive,
        "prefix": found.prefix(found.first()),
    }


def _keep(job: Job, entries: Mapping[str, Entry]) -> None:
    job.write(ROUNDS, {"arms": entries})


def _decide(job: Job, following: Mapping[str, Layout], entries: Mapping[str, Entry]) -> dict[str, Targets]:
    """What each arm asks for next; arms that are done are absent."""
    pipeline.judge_only(job, {part for found in following.values() for part in found.parts})
    targets = {}
    for name, found in following.items():
        entry = entries[name]
        counts, spent = _known(job, found)
        state = State(counts, max(found.share - spent, 0.0), entry["rounds"])
        wanted = found.policy.next_targets(found.book, state)
        if wanted is None:
            entry["done"] = True
        else:
            entry["rounds"] += 1
            targets[name] = wanted
    return targets


def _known(job: Job, found: Layout) -> tuple[Known, float]:
    """What an arm's draws have shown so far, and what they cost (picodollars, uncertain ones included)."""
    shas = {a.name: a.payload_sha for a in job.arms(imported=False)}
    with job.reader() as reader:
        ids = [i for i in reader.problem_ids(job.problems) if i is not None]
        rows = [reader.arm_id(part, shas[part]) for part in found.parts]
        drawn = [row for row in rows if row is not None]
        counts = tally.count(reader, dict.fromkeys(drawn), ids, pipeline.verifier_of(job.run))
        spent = sum(reader.committed(row) for row in drawn)
    known = nothing_known(len(rows), len(ids))
    for j, row in enumerate(rows):
        if row is not None:
            one = counts[row].all
            known.draws[j], known.correct[j] = one.judged, one.correct
            if distinct := tally.distinct([one], "normalised"):
                known.distinct[j] = distinct.per_problem(len(ids))
    return known, float(spent)


async def _round(
    job: Job,
    connect: Connect,
    following: Mapping[str, Layout],
    targets: Mapping[str, Targets],
    stop: asyncio.Event,
    progress: Progress,
) -> Result:
    wanted = {
        part: targets[name][j].tolist()
        for name, found in following.items()
        for j, part in enumerate(found.parts)
    }
    asked = [a for a in job.arms(imported=False) if a.name in wanted]
    return await pipeline.ask(
        job,
        connect,
        asked,
        job.run.problems,
        job.problems,
        k=wanted,
        n={a.name: a.model.draws_per_request or MOST_PER_REQUEST for a in asked},
        purpose="sample",
        stop=stop,
        progress=progress,
    )
