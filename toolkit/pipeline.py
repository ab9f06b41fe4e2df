"""The stages of a run, each re-runnable alone on its directory: plan, sample, verify, measure, and on.

Each stage reads what lies to its left (the ledger, JSON files) and writes what lies to its right.
"""

import asyncio
import importlib.metadata
import platform
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import prompts
from toolkit import arms, catalog, cost, evaluate, metrics, plan, sample, tokens, verify
from toolkit.arms import Arm
from toolkit.errors import InputError
from toolkit.job import EVALUATION, METRICS, PLAN, Connect, Job
from toolkit.ledger import Ledger, Purpose, Reader
from toolkit.plan import Candidate, Plan
from toolkit.sample import Progress, Result
from toolkit.spec import Problems
from toolkit.types import Outcome, Problem
from toolkit.verifiers.math import MathVerifier
from toolkit.wire import Wire

PROMPTS_COUNTED = 200  # prompts whose tokens are counted for the plan
KEEPS_UP = (
    "accelerate",
    "datasets",
    "math-verify",
    "torch",
    "transformers",
    "trl",
)  # versions that matter to results


# -- plan


def make_plan(job: Job) -> Plan:
    """The matched plan of the run; nothing is asked of any model."""
    planned = job.arms(imported=False, batched=job.run.sampling.batch)
    if not planned:
        raise InputError("models: nothing to sample: every arm was imported")
    asked = {
        a.name: [prompts.render(job.template, question=p.question) for p in job.problems] for a in planned[:1]
    }
    texts = next(iter(asked.values()))
    prompt_tokens, counted_by = tokens.mean_tokens(texts[:PROMPTS_COUNTED])
    candidates = [_candidate(a, job.run.arm_models()[a.name], prompt_tokens) for a in planned]
    made = plan.make(candidates, len(job.problems), job.run.budget, rounds=job.run.sampling.rounds)
    worst = _worst_case(made, planned, job.problems)
    notes = [*job.loaded.notes, *made.notes]
    if counted_by == "estimate" and any(a.model.price for a in planned):
        notes.append("prompt tokens are estimated as characters / 4; the bill follows the server's own count")
    return replace(made, worst_case_pico=worst, notes=[*notes, *_cap_notes(made, worst, planned, job)])


def _candidate(arm: Arm, key: str, prompt_tokens: float) -> Candidate:
    expect, spec = arm.model.expect, arm.model
    known = expect.output if expect and expect.output else None
    return Candidate(
        name=arm.name,
        key=key,
        model=spec.shown,
        price=cost.price(spec.price) if spec.price else None,
        active_params=spec.active_params,
        prompt_tokens=expect.prompt if expect and expect.prompt is not None else prompt_tokens,
        output_tokens=known or arms.ASSUMED_OUTPUT,
        thinking_tokens=expect.thinking if expect else 0.0,
        max_n=spec.draws_per_request or 128,
        expect_source="expect" if known else "assumed",
    )


def _worst_case(made: Plan, planned: Sequence[Arm], problems: Sequence[Problem]) -> int | None:
    """The sum of every request's upper bound, if each were answered once."""
    total = 0
    for arm in planned:
        if arm.model.price is None:
            return None
        if arm.decoding.max_tokens is None:
            raise InputError(
                f"decoding.max_tokens is missing for {arm.name}: a priced run needs it, so that its cost has an upper bound"
            )
        price, design = cost.price(arm.model.price), made.arms[arm.name]
        requests = -(-design.draws_per_problem // design.draws_per_request)
        prompt = sum(cost.prompt_bound(r) for r in arm.requests(problems)) * max(price.input, price.cached)
        output = (
            len(problems)
            * design.draws_per_problem
            * arm.decoding.max_tokens
            * max(price.output, price.thinking)
        )
        total += requests * prompt + output
    return total


def _cap_notes(made: Plan, worst: int | None, planned: Sequence[Arm], job: Job) -> list[str]:
    cap = job.run.budget.cap
    if cap is None or worst is None:
        return []
    expected = sum(a.usd_pico or 0 for a in made.arms.values())
    largest = max(
        cost.price(a.model.price).bound(
            replace(a.requests(job.problems[:1])[0], n=made.arms[a.name].draws_per_request)
        )
        for a in planned
        if a.model.price
    )
    if expected + largest <= cost.to_pico(cap):
        return []
    return [
        f"the cap of ${cap} leaves no room for the last requests' worst case (${largest / 10**12:.3g} each): "
        "the run may stop a few draws short; set budget.cap_usd a little above budget.usd, or lower max_tokens"
    ]


def save_plan(job: Job) -> Plan:
    made = make_plan(job)
    job.write(PLAN, made.as_json())
    return made


# -- sample


async def draw(job: Job, connect: Connect, *, stop: asyncio.Event, progress: Progress) -> Result:
    """Sample what the plan lacks. Nothing is started or asked when nothing is missing."""
    made = save_plan(job)
    wanted = {a.name: made.arms[a.name] for a in job.arms(imported=False)}
    return await ask(
        job,
        connect,
        job.arms(imported=False),
        job.run.problems,
        job.problems,
        k={n: a.draws_per_problem for n, a in wanted.items()},
        n={n: a.draws_per_request for n, a in wanted.items()},
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
    k: Mapping[str, int],
    n: Mapping[str, int],
    purpose: Purpose,
    stop: asyncio.Event,
    progress: Progress,
) -> Result:
    """k draws per problem of each arm, all arms at once."""
    with job.open() as ledger:
        ids = ledger.add_problems(questions)
        if _complete(ledger, asked, ids, k):
            progress.planned |= {a.name: k[a.name] * len(ids) for a in asked}
            progress.done.update(progress.planned)
            return Result({a.name: 0 for a in asked}, False, False, [])
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
                    limiter=job.limiter(a.model),
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


def _complete(ledger: Ledger, asked: Sequence[Arm], ids: Sequence[int], k: Mapping[str, int]) -> bool:
    known = {a.name: ledger.arm_id(a.name, a.payload_sha) for a in asked}
    return all(row is not None and not any(ledger.missing(row, ids, k[name])) for name, row in known.items())


# -- verify, measure


def judge(job: Job, on_progress: Callable[[int, int], None] | None = None) -> Counter[Outcome]:
    """A verdict for every draw that has none: the run's arms, and the students' where evaluated."""
    with job.open() as ledger, _verifier(job) as verifier:
        outcomes = _judge(ledger, job.arms(), job.problems, verifier, on_progress)
        if job.run.evaluate is not None:
            outcomes += _judge(
                ledger,
                evaluate.contestants(job.run, job.directory, job.template),
                job.held_out.problems,
                verifier,
                on_progress,
            )
    return outcomes


def _judge(
    ledger: Ledger,
    judged: Sequence[Arm],
    questions: Sequence[Problem],
    verifier: MathVerifier,
    on_progress: Callable[[int, int], None] | None,
) -> Counter[Outcome]:
    rows = [row for a in judged if (row := ledger.arm_id(a.name, a.payload_sha)) is not None]
    golds = {
        i: q.answer for i, q in zip(ledger.problem_ids(questions), questions, strict=True) if i is not None
    }
    return verify.run(ledger, rows, golds, verifier, on_progress) if rows else Counter()


def _verifier(job: Job) -> MathVerifier:
    return MathVerifier(timeout=job.run.verify.timeout, workers=job.run.verify.workers)


VERIFIER = (MathVerifier.name, MathVerifier.version)


def measure(job: Job) -> dict[str, Any]:
    """metrics.json from the ledger's verdicts; nothing is asked or judged."""
    made = job.read(PLAN) or {"models": {}}
    with job.reader() as reader:
        rows = _known_rows(job, reader)
        ids = [i for i in reader.problem_ids(job.problems) if i is not None]
        planned = {
            name: made["models"].get(name, {}).get("draws_per_problem") or _most_draws(reader, row)
            for name, row in rows.items()
        }
        active = {a.name: a.model.active_params for a in job.arms()}
        measured = metrics.measure(
            reader,
            rows,
            ids,
            planned=planned,
            ks=job.run.metrics.k,
            verifier=VERIFIER,
            flops_per_token={n: None if active[n] is None else 2 * (active[n] or 0) for n in rows},
            resamples=job.run.metrics.resamples,
            seed=job.run.seed,
        )
    job.write(METRICS, measured)
    return measured


def _known_rows(job: Job, reader: Reader) -> dict[str, int]:
    """Ledger ids of the run's arms, as the run file now stands."""
    rows = {a.name: reader.arm_id(a.name, a.payload_sha) for a in job.arms()}
    if absent := [name for name, row in rows.items() if row is None]:
        raise InputError(
            f"{reader.path}: no draws of arm {absent[0]!r} as the run file now stands: run `pricematch sample` first"
        )
    return {name: row for name, row in rows.items() if row is not None}


def _most_draws(reader: Reader, row: int) -> int:
    (top,) = next(reader.rows("SELECT MAX(idx) FROM draw WHERE arm=?", (row,)))
    return 0 if top is None else int(top) + 1


# -- dataset, finetune, evaluate


def export(job: Job) -> list[dict[str, Any]]:
    """One dataset per arm from its correct draws."""
    from toolkit import dataset

    made, measured = job.read(PLAN) or {}, job.read(METRICS) or {}
    summaries = []
    with job.reader() as reader:
        for name, row in _known_rows(job, reader).items():
            by_row = {
                i: p
                for i, p in zip(reader.problem_ids(job.problems), job.problems, strict=True)
                if i is not None
            }
            design = made.get("models", {}).get(name, {})
            built = dataset.build(
                reader,
                name,
                row,
                by_row,
                job.template,
                verifier=VERIFIER,
                spec=job.run.dataset,
                directory=job.directory / "dataset" / name,
                facts=_card_facts(job, name, made, measured),
                draws=design.get("draws_per_problem"),
            )
            summaries.append(
                {"arm": built.arm, "rows": built.rows, "problems": built.problems, "skipped": built.skipped}
            )
    return summaries


def _card_facts(job: Job, name: str, made: Mapping[str, Any], measured: Mapping[str, Any]) -> dict[str, Any]:
    model = job.run.models[job.run.arm_models()[name]]
    entry = catalog.find(model.model)
    return {
        "run": job.run.name,
        "match": made.get("match"),
        "source": f"{job.run.problems.source} ({job.run.problems.split})",
        "prompt": Path(job.run.prompt).stem,
        "terms": entry.terms_url if entry else None,
        "metrics": measured.get("models", {}).get(name),
    }


def train(job: Job, on_step: Callable[[str, int, int, float], None] | None = None) -> list[dict[str, Any]]:
    """Every student finetuned once per arm that has rows, the same number of steps each."""
    from toolkit import finetune

    if job.run.finetune is None or not job.run.students:
        return []
    jobs = [
        finetune.Job(
            student.model,
            job.directory / "dataset" / arm,
            evaluate.checkpoint(job.directory, name, arm),
            job.run.finetune,
            name,
        )
        for name, student in job.run.students.items()
        for arm in job.run.arm_models()
    ]
    absent = [j.dataset for j in jobs if not j.dataset.is_dir()]
    if absent:
        raise InputError(f"{absent[0]}: no dataset here: run `pricematch dataset` first")

    def told(done: finetune.Job, step: int, steps: int, loss: float) -> None:
        if on_step:
            on_step(f"{done.name} on {done.dataset.name}", step, steps, loss)

    return finetune.train_many(jobs, parallel=2, on_step=told)


async def examine(job: Job, connect: Connect, *, stop: asyncio.Event, progress: Progress) -> Result:
    """Ask the base and every finetuned student the held-out problems, through the same port."""
    source = job.run.held_out
    assert source is not None
    assert job.run.evaluate is not None
    students = evaluate.contestants(job.run, job.directory, job.template)
    draws = {a.name: job.run.evaluate.draws for a in students}
    return await ask(
        job,
        connect,
        students,
        source,
        job.held_out.problems,
        k=draws,
        n=draws,
        purpose="evaluate",
        stop=stop,
        progress=progress,
    )


def score(job: Job) -> dict[str, Any]:
    """evaluation.json from the students' verdicts."""
    with job.reader() as reader:
        scored = evaluate.score(reader, job.run, job.directory, job.template, job.held_out.problems, VERIFIER)
    job.write(EVALUATION, scored)
    return scored


def versions() -> dict[str, str]:
    """What ran: interpreter and the packages whose version can change a result."""
    found = {"pricematch": importlib.metadata.version("pricematch"), "python": platform.python_version()}
    for package in KEEPS_UP:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
