"""The verbs as a person sees them: each stage with its progress, its one-line findings and its exit code."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from toolkit import (
    auditing,
    batching,
    catalog,
    checks,
    config,
    cost,
    endpoints,
    importing,
    judging,
    outlook,
    pipeline,
    planning,
    price_check,
    repricing,
    rounds,
    screen,
    students,
    tables,
)
from toolkit import report as page
from toolkit import verify as verifying
from toolkit.errors import InputError, PricematchError, Refused, Unfinished
from toolkit.job import AUDIT, EVALUATION, METRICS, PLAN, Job
from toolkit.plan import Plan
from toolkit.sample import Progress, Result


def open_run(source: Path | str, overrides: Sequence[str] = (), out: Path | None = None) -> Job:
    """The resolved run behind a run file or directory."""
    run, directory = config.load(Path(source), overrides, out)
    return Job(endpoints.resolve(run), directory, endpoints.secrets(run))


def keep(job: Job) -> None:
    """Write the resolved run into its directory."""
    job.directory.mkdir(parents=True, exist_ok=True)
    (job.directory / config.RESOLVED).write_text(config.dump(job.run), encoding="utf-8")


# -- one stage each


def check(job: Job) -> None:
    """Every model, one after the other. Raises the last refusal once all were asked."""
    refusal: PricematchError | None = None
    for arm in job.arms(imported=False):
        try:
            found = asyncio.run(
                _watched(job, f"check {arm.name}", partial(checks.check, arm=arm.name), Progress())
            )
            if any(found.result.missing.values()):
                raise Unfinished(f"no answer came: {'; '.join(found.result.notes) or 'try again'}")
            screen.say(f"{arm.name}: {tables.finding(arm.model, found)}")
        except (Refused, InputError, Unfinished) as error:
            refusal = error
            screen.say(f"{arm.name}: {error}")
    if refusal is not None:
        raise type(refusal)("not every model of this run can be asked: see above")


def plan(job: Job) -> Plan:
    """The plan with what the pilot lets expect of it, kept in the run directory."""
    made = planning.make_plan(job)
    made = replace(made, forecast=outlook.answers(job, made))
    job.write(PLAN, made.as_json())
    return made


def pilot(job: Job) -> Job:
    """The run's pilot where there is none yet, its verdicts, and what it measured.

    Returns the job with its pilot. A pilot that stopped short is used as far as it came.
    """
    if job.run.budget.pilot is None or pipeline.piloted(job):
        return job
    job = _with_fitted_pilot(job)
    result = _asking(job, "pilot", pipeline.pilot)
    if result.interrupted:
        finish(result)
    for note in result.notes[:3]:
        screen.say(f"note: {note}")
    verify(job)
    tables.pilot(pipeline.keep_pilot(job))
    return job


def _with_fitted_pilot(job: Job) -> Job:
    fits = pipeline.fitted(job)
    if fits is not job and fits.run.budget.pilot:
        keep(fits)
        wanted = fits.run.budget.pilot
        screen.say(f"pilot: {wanted.problems} problems, as many as its {wanted.share:.0%} of the budget buy")
    return fits


def sample(job: Job) -> Result:
    job = pilot(job)
    return _asking(job, "sample", batching.draw if job.run.sampling.batch else rounds.draw)


def verify(job: Job) -> None:
    with screen.steps("verify") as told:
        outcomes = pipeline.judge(job, told)
    counts = ", ".join(f"{n} {outcome}" for outcome, n in sorted(outcomes.items()))
    screen.say(f"verify: {counts or 'nothing new to judge'}")


def differences(job: Job, old: str | None) -> list[dict[str, Any]]:
    """Draws on which the verdicts of this version and of an older one differ; by default the newest older one."""
    name, new = pipeline.verifier_of(job.run)
    with job.reader() as reader:
        known = [
            v
            for (v,) in reader.rows(
                "SELECT DISTINCT version FROM verdict WHERE verifier=? ORDER BY 1", (name,)
            )
        ]
        older = [v for v in known if v != new]
        if old is not None and old not in known:
            raise InputError(
                f"--diff {old}: no verdicts of that version: the ledger has {', '.join(known) or 'none'}"
            )
        if not older:
            raise InputError(f"--diff: the ledger has verdicts of {new} alone: there is nothing to compare")
        rows = {part.row: part for parts in pipeline.measured_parts(job, reader).values() for part in parts}
        names = {i: arm for i, arm, _, _ in reader.arms()}
        keys = dict(reader.rows("SELECT id, key FROM problem"))
        changed = verifying.changes(reader, [*rows], name, old or older[-1], new)
    return [
        {
            "arm": names[c.arm],
            "problem": keys[c.problem],
            "draw": c.idx,
            "gold": c.gold,
            "answer": c.extracted[1],
            "before": c.outcome[0].value,
            "now": c.outcome[1].value,
        }
        for c in changed
    ]


def judge(job: Job) -> Result:
    """The run's judge on its sample, and what its labels say."""
    result = _asking(job, "judge", auditing.judge)
    _concluded(job)
    return result


def audit(job: Job, sheet: Path | None, labelled: Path | None, size: int | None) -> None:
    """A blind sheet for people, or the labels of one."""
    if sheet is not None:
        page, key = auditing.export(job, sheet, size or auditing.SIZE)
        screen.say(
            f"sheet: {sheet}; label it there or in {page} (keys j, k, 1, 0), then `audit --labels`; keep {key.name} unread"
        )
    if labelled is not None:
        screen.say(f"audit: {auditing.bring_in(job, labelled)} labels")
    if sheet is None:
        _concluded(job)


def _concluded(job: Job) -> None:
    found = auditing.conclude(job)
    if found is None:
        screen.say(
            "audit: no labels yet: `pricematch audit RUN --sheet sheet.csv`, or a judge in the run file"
            if job.run.judge is None
            else "audit: no answer of the judge ends in a verdict, so it labels nothing: look at judge.prompt and judge.model"
        )
        return
    tables.audit(found)
    screen.say(f"audit: {job.directory / AUDIT}; `measure` and `report` show these rates from now on")


def measure(job: Job, *, reprice: str | None = None) -> dict[str, Any]:
    """The metrics; with `reprice` (a day, or a file of prices) also those of the same draws at other prices."""
    other = None if reprice is None else repricing.wanted(reprice, job.run.models)
    measured = pipeline.measure(job)
    screen.say(f"measure: {job.directory / METRICS}")
    if other is None:
        return measured
    at_other_prices = pipeline.measure(job, other)
    screen.say(f"measure: {job.directory / repricing.REPRICED}")
    return measured | {"repriced": at_other_prices}


def dataset(job: Job) -> None:
    judge = job.run.judge
    for built in pipeline.export(job, None if judge is None else judging.Panel.of(judge).verifier[1]):
        what = (
            f"skipped: {built['skipped']}"
            if built["skipped"]
            else f"{built['rows']} rows from {built['problems']} problems"
        )
        screen.say(f"dataset {built['arm']}: {what}")


def finetune(job: Job) -> None:
    with screen.steps("finetune") as told:
        trained = pipeline.train(
            job, lambda name, step, steps, loss: told(step, steps, f"{name}, loss {loss:.2f}"), screen.say
        )
    for one in trained:
        what = (
            f"skipped: {one['skipped']}"
            if one.get("skipped")
            else f"{one['steps']} steps on {one['rows']} rows, loss {one['loss_first']:.2f} to {one['loss_last']:.2f}, {one['seconds']:.0f} s"
        )
        seed = f", seed {one['seed']}" if one.get("seed") else ""
        screen.say(f"finetune {one['student']} on {one['arm']}{seed}: {what}")
    if not trained:
        screen.say("finetune: the run names no students")


def evaluate(job: Job) -> Result | None:
    if job.run.evaluate is None or not job.run.students:
        screen.say("evaluate: the run names no students, or no evaluation")
        return None
    result = _asking(job, "evaluate", pipeline.examine)
    if not any(result.missing.values()):
        verify(job)
        pipeline.score(job)
    return result


def report(job: Job) -> Path:
    """The page, with the questions of what was sampled and, where students were examined, of their tests."""
    tested = students.tested(job) if (job.directory / EVALUATION).is_file() else []
    return page.write(job.directory, {p.id: p for p in [*tested, *job.problems]}, pipeline.versions())


def compare(runs: Sequence[Path], out: Path | None = None) -> Path:
    """One page on several runs; by default in `compared` beside the first of them."""
    directories = [config.load(run)[1] for run in runs]
    return page.compare(directories, out or directories[0].resolve().parent / "compared")


def everything(job: Job) -> None:
    """All stages in order.

    An arm without correct rows is skipped with a line. A run that stopped at its cap, or lacks draws, is
    a smaller design, still matched: it goes on to its page and says so with its exit code.
    """
    students.check(job)
    job = pilot(job)
    tables.plan(plan(job))
    sampled = sample(job)
    if sampled.interrupted:
        finish(sampled)
    verify(job)
    judged = None if job.run.judge is None else judge(job)
    measure(job)
    dataset(job)
    finetune(job)
    evaluated = evaluate(job)
    written = report(job)
    tables.comparison(job.directory)
    screen.say(page.verdict(job.directory))
    screen.say(f"page: {written}")
    finish(sampled)
    finish(judged)
    finish(evaluated)


def finish(result: Result | None) -> None:
    """Say what is missing. Raises Unfinished (exit 3) or KeyboardInterrupt (exit 130) where it is so."""
    if result is None:
        return
    for note in result.notes[:10]:
        screen.say(f"note: {note}")
    if len(result.notes) > 10:
        screen.say(f"note: and {len(result.notes) - 10} more like these")
    missing = ", ".join(f"{n} of {arm}" for arm, n in result.missing.items() if n)
    if result.interrupted and missing:
        raise KeyboardInterrupt
    if result.capped:
        raise Unfinished(
            f"the cap is reached, draws missing: {missing}: raise budget.cap_usd and rerun, or go on with `verify` and `measure`"
        )
    if missing:
        raise Unfinished(f"draws missing: {missing}: rerun to ask for them again")


# -- prices


def day(given: str | None) -> date | None:
    """A day as it is written: 2024-09-01."""
    try:
        return None if given is None else date.fromisoformat(given)
    except ValueError:
        raise InputError(f"--on {given}: not a day: write it as 2024-09-01") from None


def compare_prices(model: str | None, on: date | None, *, as_json: bool) -> None:
    """The catalog against an installed genai-prices, today or on a day."""
    asked = on or date.today()
    entries = list(catalog.load().values()) if model is None else [catalog.require(model)]
    if not any(entry.price(asked) for entry in entries):
        raise InputError(
            f"{model or '--on'}: the catalog has no price of {asked} to compare: see `pricematch prices`"
        )
    found = price_check.differences(entries, price_check.genai_prices(asked), asked)
    tables.price_differences(found, asked, as_json=as_json)


# -- status and import


def status(job: Job) -> dict[str, Any]:
    made = job.read(PLAN) or {"models": {}}
    with job.reader() as reader:
        ids = reader.problem_ids(job.problems)
        known = [i for i in ids if i is not None]
        missing = 0
        for arm in job.arms():
            design = made["models"].get(arm.whole, {})
            design = design.get("members", {}).get(arm.key, design)
            row = reader.arm_id(arm.name, arm.payload_sha)
            if job.run.policy_of(arm.whole).name == "uniform":
                k = design.get("draws_per_problem", 0)
                have = 0 if row is None else k * len(known) - sum(map(len, reader.missing(row, known, k)))
                missing += k * len(ids) - have
            else:  # where outcomes decide (draws is null), nobody knows yet
                have = 0 if row is None else reader.count_draws(row)
                missing += max((design.get("draws") or 0) - have, 0)
        spend, cap = reader.spend(), job.run.budget.cap
        return {
            "attempts": reader.attempts(),
            "draws": reader.count_draws(),
            "missing": missing,
            "spent_usd": cost.to_usd(spend.settled),
            "reserved_usd": cost.to_usd(spend.reserved),
            "uncertain_usd": cost.to_usd(spend.uncertain),
            "cap_usd": None if cap is None else float(cap),
        }


def resolve(job: Job, verdict: str, attempt: int | None) -> None:
    """The user's word on attempts of unknown fate."""
    if verdict not in ("paid", "unpaid"):
        raise InputError(f"--uncertain {verdict}: say paid or unpaid")
    with job.open() as ledger:
        changed = ledger.resolve("paid" if verdict == "paid" else "unpaid", attempt)
    screen.say(f"{changed} uncertain attempts are now {verdict}")


def new_run(
    file: Path, arm: str, problems: str | None, overrides: Sequence[str] = (), out: Path | None = None
) -> Job:
    """A run made for imported generations alone."""
    base = importing.new_run(file, arm, problems)
    run = config.validated(Path("--problems"), base, overrides)
    return Job(run, out or Path("runs") / base["name"])


def bring_in(job: Job, file: Path, arm: str, format: str | None = None, where: Sequence[str] = ()) -> None:
    """Import generations into a run. `where` are conditions on a row, each KEY=VALUE."""
    target = importing.with_arm(job, arm)
    brought = importing.bring_in(target, file, arm, format=format, where=importing.conditions(where))
    keep(target)
    screen.say(f"import {arm}: {brought.told(target.run.problems.source)}")
    screen.say(f"run directory: {target.directory}")


# -- asking, with a progress line and Ctrl-C


T = TypeVar("T")
Stage = Callable[..., Awaitable[T]]


def _asking(job: Job, name: str, stage: Stage[Result]) -> Result:
    progress = Progress()
    return asyncio.run(_watched(job, name, stage, progress))


async def _watched(job: Job, name: str, stage: Stage[T], progress: Progress) -> T:
    stop = asyncio.Event()
    with _first_interrupt_drains(stop, name), screen.draws(name, progress):
        connect = endpoints.Connections(job.directory, job.run.sampling.timeout)
        return await stage(job, connect, stop=stop, progress=progress)


@contextlib.contextmanager
def _first_interrupt_drains(stop: asyncio.Event, name: str) -> Iterator[None]:
    """Ctrl-C once ends admission and keeps what is in flight; twice stops at once."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def interrupted() -> None:
        if stop.is_set() and task is not None:
            task.cancel()
            return
        stop.set()
        screen.say(f"{name}: stopping after the requests in flight; Ctrl-C again stops at once")

    try:
        loop.add_signal_handler(signal.SIGINT, interrupted)
    except (NotImplementedError, RuntimeError):  # not the main thread, or no signals here
        yield
        return
    try:
        yield
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        loop.remove_signal_handler(signal.SIGINT)
