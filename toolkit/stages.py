"""The verbs as a person sees them: each stage with its progress, its one-line findings and its exit code."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from toolkit import batching, checks, config, cost, endpoints, importing, pipeline, screen, tables
from toolkit import report as page
from toolkit.errors import InputError, PricematchError, Refused, Unfinished
from toolkit.job import METRICS, PLAN, Job
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


def sample(job: Job) -> Result:
    return _asking(job, "sample", batching.draw if job.run.sampling.batch else pipeline.draw)


def verify(job: Job) -> None:
    with screen.steps("verify") as told:
        outcomes = pipeline.judge(job, told)
    counts = ", ".join(f"{n} {outcome}" for outcome, n in sorted(outcomes.items()))
    screen.say(f"verify: {counts or 'nothing new to judge'}")


def measure(job: Job) -> dict[str, Any]:
    measured = pipeline.measure(job)
    screen.say(f"measure: {job.directory / METRICS}")
    return measured


def dataset(job: Job) -> None:
    for built in pipeline.export(job):
        what = (
            f"skipped: {built['skipped']}"
            if built["skipped"]
            else f"{built['rows']} rows from {built['problems']} problems"
        )
        screen.say(f"dataset {built['arm']}: {what}")


def finetune(job: Job) -> None:
    with screen.steps("finetune") as told:
        trained = pipeline.train(
            job, lambda name, step, steps, loss: told(step, steps, f"{name}, loss {loss:.2f}")
        )
    for one in trained:
        what = (
            f"skipped: {one['skipped']}"
            if one.get("skipped")
            else f"{one['steps']} steps on {one['rows']} rows, loss {one['loss_first']:.2f} to {one['loss_last']:.2f}, {one['seconds']:.0f} s"
        )
        screen.say(f"finetune {one['student']} on {one['arm']}: {what}")
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
    questions = {p.id: p for p in job.problems}
    return page.write(job.directory, questions, pipeline.versions())


def everything(job: Job) -> None:
    """All stages in order.

    An arm without correct rows is skipped with a line. A run that stopped at its cap, or lacks draws, is
    a smaller design, still matched: it goes on to its page and says so with its exit code.
    """
    tables.plan(pipeline.save_plan(job))
    sampled = sample(job)
    if sampled.interrupted:
        finish(sampled)
    verify(job)
    measure(job)
    dataset(job)
    finetune(job)
    evaluated = evaluate(job)
    written = report(job)
    tables.comparison(job.directory)
    screen.say(page.verdict(job.directory))
    screen.say(f"page: {written}")
    finish(sampled)
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


# -- status and import


def status(job: Job) -> dict[str, Any]:
    made = job.read(PLAN) or {"models": {}}
    with job.reader() as reader:
        ids = reader.problem_ids(job.problems)
        known = [i for i in ids if i is not None]
        missing = 0
        for arm in job.arms():
            k = made["models"].get(arm.name, {}).get("draws_per_problem", 0)
            row = reader.arm_id(arm.name, arm.payload_sha)
            have = 0 if row is None else k * len(known) - sum(map(len, reader.missing(row, known, k)))
            missing += k * len(ids) - have
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


def bring_in(
    file: Path, arm: str, run: Path | None, problems: str | None, overrides: Sequence[str], out: Path | None
) -> None:
    """Import generations into a run, or into a new one made for them."""
    if run is None:
        base = importing.new_run(file, arm, problems)
        target = Job(
            config.validated(Path("--problems"), base, overrides), out or Path("runs") / base["name"]
        )
    else:
        target = open_run(run, overrides, out)
    target = importing.with_arm(target, arm)
    keep(target)
    brought = importing.bring_in(target, file, arm)
    screen.say(
        f"import {arm}: {brought.new} new draws to {brought.problems} problems, unpriced"
        + (f"; {brought.known} were already there" if brought.known else "")
        + (
            f"; {brought.unmatched} rows match no problem of {target.run.problems.source}"
            if brought.unmatched
            else ""
        )
    )
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
        connect = endpoints.Connections(job.directory)
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
