"""Does each model of a run answer, under this key, at this price, with these parameters?

One draw of at most 16 tokens per model, sent with the run's own decoding, so that a parameter the provider
refuses is refused here; reserved, priced and recorded like any other draw.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from toolkit import catalog
from toolkit.arms import Arm
from toolkit.job import Connect, Endpoint, Job
from toolkit.limits import Limiter
from toolkit.pipeline import ask
from toolkit.provider import Capabilities
from toolkit.sample import Progress, Result
from toolkit.spec import Limits, Model, Problems

LONGEST = 16  # tokens of the answer
COLUMNS = ("model_version", "prompt", "output", "thinking", "cost_pico", "effective_json", "http_status")


@dataclass(frozen=True, slots=True)
class Finding:
    """What one model said. The answer's columns are the ledger's; None where no answer came."""

    result: Result
    abilities: Capabilities
    answer: Mapping[str, Any] | None
    limits: str  # those that hold, and where each comes from


async def check(job: Job, connect: Connect, *, arm: str, stop: asyncio.Event, progress: Progress) -> Finding:
    """Ask one arm's model. Raises Refused with the provider's own words, InputError for a missing key."""
    (asked,) = (_short(a) for a in job.arms(imported=False) if a.name == arm)
    abilities: list[Capabilities] = []

    @asynccontextmanager
    async def watched(
        models: Mapping[str, Model], problems: Problems
    ) -> AsyncIterator[Mapping[str, Endpoint]]:
        async with connect(models, problems) as endpoints:
            abilities.extend(e.provider.capabilities(asked.model.model) for e in endpoints.values())
            yield endpoints

    first = job.problems[:1]
    drawn = {asked.name: _drawn(job, asked)}
    result = await ask(
        job,
        watched,
        [asked],
        job.run.problems,
        first,
        k={asked.name: drawn[asked.name] + 1},
        n={asked.name: 1},
        purpose="check",
        stop=stop,
        progress=progress,
    )
    return Finding(result, abilities[0], _answer(job, asked), limits(asked.model, job.limiter(asked.model)))


def limits(model: Model, limiter: Limiter) -> str:
    """What holds a model back: stated by the run file, by the account's tier, or learned from the server."""
    own = model.limits or Limits()
    known = entry.tiers if (entry := catalog.of(model)) else {}
    tier = known.get(own.tier or "")

    def origin(key: str, learned: bool) -> str:
        if learned:
            return "said by the server"
        theirs = tier and getattr(tier.limits, key) == getattr(own, key)
        return f"tier {own.tier}, read {tier.date}" if tier and theirs else "run file"

    held = [f"{limit} ({origin(key, learned)})" for key, limit, learned in limiter.gauges.holding()]
    held.append(
        f"{own.concurrency} in flight" if own.concurrency else "as many in flight as it keeps up with"
    )
    if known and tier is None:
        held.append(f"the catalog knows those of tiers {', '.join(known)}: set limits.tier to your account's")
    return ", ".join(held)


def _short(arm: Arm) -> Arm:
    """The arm with a short answer, under a name of its own."""
    length = min(arm.decoding.max_tokens or LONGEST, LONGEST)
    return replace(
        arm, name=f"check/{arm.name}", decoding=arm.decoding.model_copy(update={"max_tokens": length})
    )


def _drawn(job: Job, arm: Arm) -> int:
    """Draws of earlier checks: each check asks anew."""
    with job.open() as ledger:
        (problem,) = ledger.add_problems(job.problems[:1])
        row = ledger.arm_id(arm.name, arm.payload_sha)
        return (
            0
            if row is None
            else sum(1 for _ in ledger.rows("SELECT 1 FROM draw WHERE arm=? AND problem=?", (row, problem)))
        )


def _answer(job: Job, arm: Arm) -> dict[str, Any] | None:
    with job.reader() as reader:
        row = reader.arm_id(arm.name, arm.payload_sha)
        found = next(
            reader.rows(
                f"SELECT {', '.join(COLUMNS)} FROM attempt WHERE arm=? AND state='settled' ORDER BY id DESC LIMIT 1",
                (row,),
            ),
            None,
        )
    return None if found is None else dict(zip(COLUMNS, found, strict=True))
