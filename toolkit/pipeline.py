"""The stages of a run, each re-runnable alone on its directory: plan, sample, verify, measure, and on.

Each stage reads what lies to its left (the ledger, JSON files) and writes what lies to its right.
"""

import asyncio
import importlib.metadata
import platform
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

from toolkit import arms, bills, catalog, cost, evaluate, metrics, planning, sample, students, verify
from toolkit import pilot as pilots
from toolkit.arms import Arm
from toolkit.errors import InputError
from toolkit.job import AUDIT, EVALUATION, METRICS, PILOT, PLAN, ROUNDS, Connect, Job
from toolkit.ledger import Ledger, Purpose, Reader
from toolkit.planning import MOST_PER_REQUEST
from toolkit.repricing import REPRICED, Repricing
from toolkit.sample import Progress, Result
from toolkit.spec import Pilot, Problems, Run
from toolkit.types import PICO, Outcome, Problem
from toolkit.verifiers.code import VERSION as CODE_VERSION
from toolkit.verifiers.code import CodeVerifier
from toolkit.verifiers.math import MathVerifier
from toolkit.wire import Wire

KEEPS_UP = (
    "accelerate",
    "datasets",
    "math-verify",
    "torch",
    "transformers",
    "trl",
)  # versions that matter to results


# -- pilot


async def pilot(job: Job, connect: Connect, *, stop: asyncio.Event, progress: Progress) -> Result:
    """The first draws of every model to the first problems, under a cap of their own.

    Raises InputError where they would cost more than the pilot's share of the budget.
    """
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
        cap_pico=_pilot_cap(job, wanted, len(questions)),
    )


def _pilot_cap(job: Job, wanted: Pilot, problems: int) -> int | None:
    """What the run may have spent when its pilot is done, in picodollars; None without a budget in dollars."""
    budget = job.run.budget
    if budget.usd is None:
        return None
    share = int(cost.to_pico(budget.usd) * Fraction(wanted.share))
    expected = sum(c.usd_pico(wanted.draws, 1) or 0 for c in planning.candidates(job)) * problems
    if expected > share:
        raise InputError(
            f"budget.pilot: {wanted.draws} draws of every model to {problems} problems cost about "
            f"${float(expected / PICO):.3g}, the pilot's share of the budget ({wanted.share:.0%}) is ${share / PICO:.3g}: "
            "set pilot.draws or pilot.problems lower, or pilot.share higher"
        )
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


# -- sample


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
            progress.planned |= {a.name: _total(k[a.name], len(ids)) for a in asked}
            progress.done.update(progress.planned)
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


# -- verify, measure


def judge_only(job: Job, names: Collection[str]) -> Counter[Outcome]:
    """A verdict for every draw of these arms that has none."""
    with job.open() as ledger, _verifier(job) as verifier:
        return _judge(ledger, [a for a in job.arms() if a.name in names], job.problems, verifier, None)


def judge(job: Job, on_progress: Callable[[int, int], None] | None = None) -> Counter[Outcome]:
    """A verdict for every draw that has none: the run's arms, and the students' where evaluated."""
    with job.open() as ledger, _verifier(job) as verifier:
        outcomes = _judge(ledger, job.arms(), job.problems, verifier, on_progress)
        if job.run.evaluate is not None:
            outcomes += _judge(
                ledger,
                evaluate.contestants(job.run, job.directory, job.template),
                students.tested(job),
                verifier,
                on_progress,
            )
    return outcomes


def _judge(
    ledger: Ledger,
    judged: Sequence[Arm],
    questions: Sequence[Problem],
    verifier: verify.Verifier,
    on_progress: Callable[[int, int], None] | None,
) -> Counter[Outcome]:
    rows = [row for a in judged if (row := ledger.arm_id(a.name, a.payload_sha)) is not None]
    golds = {
        i: q.answer for i, q in zip(ledger.problem_ids(questions), questions, strict=True) if i is not None
    }
    return verify.run(ledger, rows, golds, verifier, on_progress) if rows else Counter()


@contextmanager
def _verifier(job: Job) -> Iterator[verify.Verifier]:
    spec = job.run.verify
    if spec.verifier == "code":
        with CodeVerifier(timeout=spec.timeout, workers=spec.workers, unsafe=spec.unsafe) as code:
            yield code
    else:
        with MathVerifier(timeout=spec.timeout, workers=spec.workers) as math:
            yield math


def verifier_of(run: Run) -> tuple[str, str]:
    """(name, version) of the verdicts that count for a run."""
    if run.verify.verifier == "code":
        return CodeVerifier.name, CODE_VERSION + ("+unsafe" if run.verify.unsafe else "")
    return MathVerifier.name, MathVerifier.version


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
    rows = _known_rows(job, reader)
    return bills.repriced(reader, {rows[a.name]: other.prices[a.key] for a in job.arms()}, ids)


def measured_parts(job: Job, reader: Reader) -> dict[str, list[metrics.Part]]:
    """Arm -> its ledger rows, with what each was to draw. Raises InputError where one has no draws."""
    made = (job.read(PLAN) or {"models": {}})["models"]
    rounds = (job.read(ROUNDS) or {"arms": {}})["arms"]
    rows, found = _known_rows(job, reader), {arm: list[metrics.Part]() for arm in job.run.members()}
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


def _known_rows(job: Job, reader: Reader) -> dict[str, int]:
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


# -- dataset, finetune, evaluate


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
        rows = _known_rows(job, reader)
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


def train(
    job: Job,
    on_step: Callable[[str, int, int, float], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> list[dict[str, Any]]:
    """Every student finetuned on every dataset that has rows, once per seed, all in the same way."""
    return students.train(job, on_step, on_note)


async def examine(job: Job, connect: Connect, *, stop: asyncio.Event, progress: Progress) -> Result:
    """Ask the base and every finetuned student the test problems, through the same port, a few at a time."""
    source, questions = job.run.held_out, students.tested(job)
    assert source is not None
    whole = Result({}, False, False, [])
    for some in students.groups(job):
        draws = {a.name: students.draws(job, a) for a in some}
        part = await ask(
            job,
            connect,
            some,
            source,
            questions,
            k=draws,
            n=draws,
            purpose="evaluate",
            stop=stop,
            progress=progress,
        )
        missing, notes = whole.missing | part.missing, [*whole.notes, *part.notes]
        whole = Result(missing, part.capped, part.interrupted, notes)
        if part.interrupted or part.capped:
            break
    return whole


def score(job: Job) -> dict[str, Any]:
    """evaluation.json from the students' verdicts."""
    with job.reader() as reader:
        scored = students.score(job, reader, verifier_of(job.run))
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
