"""The command line: one verb per stage, each re-runnable alone on a run file or a run directory.

Heavy imports stay inside the verbs: `--help` costs next to nothing.
"""

import errno
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from toolkit.errors import PricematchError, Unfinished

if TYPE_CHECKING:
    from toolkit.job import Job

app = typer.Typer(
    name="pricematch",
    help="Which model's solutions teach most for the same money? Sample, verify, measure, finetune, compare.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

RunArg = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run file (examples/*.yaml) or a run directory.")
]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override a key of the run file.")
]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Run directory; default runs/NAME.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


INTERRUPTED = 130  # typer's own code for Ctrl-C
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
SHUT = frozenset(
    {errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST}
)


def main() -> NoReturn:
    """Entry point: errors people can act on become one line and an exit code."""
    try:
        code = app(standalone_mode=False)
    except PricematchError as error:
        typer.echo(f"pricematch: {error}", err=True)
        code = error.exit_code
    except OSError as error:
        code = _disk_error(error)
    except Exception as error:
        code = _usage_error(error)
    if code == INTERRUPTED:
        typer.echo("pricematch: interrupted; everything paid for is kept: rerun to go on", err=True)
    sys.exit(code if isinstance(code, int) else 0)


def _disk_error(error: OSError) -> int:
    """A full or forbidden place is no bug: a line and exit code 3."""
    if error.errno not in FULL | SHUT:
        raise error
    mend = "free space" if error.errno in FULL else "give --out a folder that can be written"
    where = error.filename or "the run directory"
    typer.echo(f"pricematch: {where}: {error.strerror}: {mend}, then rerun", err=True)
    return Unfinished.exit_code


def _usage_error(error: Exception) -> int:
    """Wrong options are the user's input: a line and exit code 2. Anything else is our bug."""
    show: Callable[[], None] | None = getattr(error, "show", None)
    if show is None:
        raise error
    show()
    return int(getattr(error, "exit_code", 2))


# -- verbs, in the order of a run


@app.command()
def check(run: RunArg, set_: Set = None, out: Out = None) -> None:
    """Ask each model of a run for one short draw: key, model, price."""
    from toolkit import stages

    job = _job(run, set_, out)
    stages.check(job)


@app.command()
def estimate(
    run: RunArg,
    usd: Annotated[float | None, typer.Option(help="Another budget in dollars.")] = None,
    set_: Set = None,
    as_json: AsJson = False,
) -> None:
    """What a budget buys, from the catalog alone: no model is asked, nothing is downloaded or written."""
    from toolkit import planning, tables

    budget = [f"budget={{usd: {usd}, match: price}}"] if usd is not None else []
    made = planning.make_plan(replace(_job(run, [*(set_ or []), *budget], None), offline=True))
    tables.plan(
        made, as_json=as_json, heading="Estimate (from prices and expected lengths; nothing was measured)"
    )


@app.command()
def plan(
    run: RunArg,
    pilot: Annotated[
        int | None,
        typer.Option(metavar="N", help="First measure: N draws per problem and model, under a cap."),
    ] = None,
    set_: Set = None,
    out: Out = None,
    as_json: AsJson = False,
    dry_run: bool = False,
) -> None:
    """From the budget to draws per problem for each arm."""
    from toolkit import config, stages, tables

    asked = [] if pilot is None else [f"budget.pilot.draws={pilot}"]
    job = _job(run, [*(set_ or []), *asked], out)
    if dry_run:
        typer.echo(config.dump(job.run), nl=False)
        return
    _keep(job)
    if pilot is not None:
        job = stages.pilot(job)
    tables.plan(stages.plan(job), as_json=as_json)


@app.command()
def sample(
    run: RunArg,
    set_: Set = None,
    out: Out = None,
    batch: Annotated[
        bool, typer.Option("--batch", help="Through the batch APIs: half the price, within a day.")
    ] = False,
) -> None:
    """Ask for the draws the plan lacks, under the cap."""
    from toolkit import stages

    job = _job(run, [*(set_ or []), *(["sampling.batch=true"] if batch else [])], out)
    _keep(job)
    stages.finish(stages.sample(job))


@app.command()
def verify(
    run: RunArg,
    diff: Annotated[
        bool, typer.Option("--diff", help="Then show the verdicts that differ from an older verifier's.")
    ] = False,
    against: Annotated[str | None, typer.Option(metavar="VERSION", help="That older version.")] = None,
    set_: Set = None,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Judge every draw that has no verdict of this verifier yet; nothing is paid."""
    from toolkit import stages, tables

    job = _job(run, set_, out)
    stages.verify(job)
    if diff or against:
        tables.differences(stages.differences(job, against), as_json=as_json)


@app.command()
def judge(run: RunArg, set_: Set = None, out: Out = None) -> None:
    """Ask the run's judge about the reasoning of a sample of correct draws."""
    from toolkit import stages

    job = _job(run, set_, out)
    _keep(job)
    stages.finish(stages.judge(job))


@app.command()
def audit(
    run: RunArg,
    sheet: Annotated[
        Path | None, typer.Option("--sheet", metavar="CSV", help="Write a blind sheet to label.")
    ] = None,
    labelled: Annotated[
        Path | None, typer.Option("--labels", metavar="CSV", help="Read the labels of a sheet.")
    ] = None,
    size: Annotated[int | None, typer.Option(metavar="N", help="Draws of each arm on the sheet.")] = None,
    set_: Set = None,
    out: Out = None,
) -> None:
    """How many correct draws reason wrongly: by people's labels, a judge's, or both."""
    from toolkit import stages

    stages.audit(_job(run, set_, out), sheet, labelled, size)


@app.command()
def measure(
    run: RunArg,
    reprice: Annotated[
        str | None,
        typer.Option(metavar="DATE|FILE", help="Also what these draws cost at a day's or a file's prices."),
    ] = None,
    set_: Set = None,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Coverage, diversity and cost per correct draw, with intervals."""
    from toolkit import stages, tables

    measured = stages.measure(_job(run, set_, out), reprice=reprice)
    tables.measures(measured, as_json=as_json)
    if "repriced" in measured and not as_json:
        tables.repriced(measured)


@app.command()
def dataset(run: RunArg, set_: Set = None, out: Out = None) -> None:
    """One Hugging Face dataset per arm from its correct draws."""
    from toolkit import stages

    stages.dataset(_job(run, set_, out))


@app.command()
def finetune(run: RunArg, set_: Set = None, out: Out = None) -> None:
    """Finetune every student once per arm, the same number of steps each."""
    from toolkit import stages

    stages.finetune(_job(run, set_, out))


@app.command()
def evaluate(run: RunArg, set_: Set = None, out: Out = None) -> None:
    """pass@1 of the base and of each student on held-out problems."""
    from toolkit import stages

    job = _job(run, set_, out)
    stages.finish(stages.evaluate(job))


@app.command()
def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="A run's page; of several, one that compares them.")
    ],
    set_: Set = None,
    out: Out = None,
) -> None:
    """Write the page of a run, or one that compares several."""
    from toolkit import stages

    page = stages.report(_job(runs[0], set_, out)) if len(runs) == 1 else stages.compare(runs, out)
    typer.echo(f"page: {page}")


@app.command(name="run")
def run_(
    run: RunArg,
    set_: Set = None,
    out: Out = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved run and stop.")] = False,
) -> None:
    """All stages in order; what is already there is not done again."""
    from toolkit import config, stages

    job = _job(run, set_, out)
    if dry_run:
        typer.echo(config.dump(job.run), nl=False)
        return
    _keep(job)
    stages.everything(job)


@app.command()
def status(
    run: RunArg,
    as_json: AsJson = False,
    uncertain: Annotated[
        str | None, typer.Option(metavar="paid|unpaid", help="Resolve attempts of unknown fate.")
    ] = None,
    attempt: Annotated[int | None, typer.Argument(metavar="[ATTEMPT]", help="Only this one.")] = None,
    out: Out = None,
) -> None:
    """What was asked, paid and is missing; works beside a running sampler."""
    from toolkit import stages, tables

    job = _job(run, None, out)
    if uncertain is not None:
        stages.resolve(job, uncertain, attempt)
    tables.status(stages.status(job), as_json=as_json)


@app.command(name="import")
def import_(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="Our JSONL, an OpenAI batch's output, samples of lm-eval, a log of inspect."
        ),
    ],
    arm: Annotated[str, typer.Option("--arm", metavar="NAME", help="The arm these generations belong to.")],
    run: Annotated[
        Path | None, typer.Option("--run", metavar="RUN", help="Add to this run; else a new one is made.")
    ] = None,
    problems: Annotated[str | None, typer.Option(help="Problem source of a new run.")] = None,
    format: Annotated[
        str | None,
        typer.Option(help="jsonl, openai-batch, lm-eval or inspect; else the content tells."),
    ] = None,
    where: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Only rows that say so, such as model=m.")
    ] = None,
    set_: Set = None,
    out: Out = None,
) -> None:
    """Bring in generations you already have, unpriced."""
    from toolkit import stages

    job = _job(run, set_, out) if run else stages.new_run(file, arm, problems, set_ or [], out)
    stages.bring_in(job, file, arm, format, where or [])


@app.command()
def prices(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL | diff [MODEL]]", help="Only this model; diff compares with genai-prices."
        ),
    ] = None,
    compared: Annotated[str | None, typer.Argument(hidden=True, metavar="")] = None,
    on: Annotated[str | None, typer.Option(metavar="DATE", help="As they were on a day.")] = None,
    as_json: AsJson = False,
) -> None:
    """The catalog: dated prices, parameters, terms of use."""
    from toolkit import stages, tables

    if model == "diff":
        stages.compare_prices(compared, stages.day(on), as_json=as_json)
        return
    if compared is not None:
        raise typer.BadParameter(f"{compared}: give one model, or `diff` before it")
    tables.catalog(model, stages.day(on), as_json=as_json)


@app.command()
def serve(
    simulate: Annotated[
        Path | None, typer.Option(metavar="WORLD", help="Serve the models of a world file.")
    ] = None,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR", help="Serve a local checkpoint; the N-th of several under /N/v1, from 0."
        ),
    ] = None,
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 8000,
    host: str = "127.0.0.1",
    problems: Annotated[
        str | None, typer.Option(help="Problem source of the world, instead of its own.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split of the problem source.")] = None,
    offset: Annotated[int, typer.Option(help="Problems passed over before the first.")] = 0,
    limit: Annotated[int | None, typer.Option(help="The first N problems after those.")] = None,
    problem_seed: Annotated[int | None, typer.Option(help="Seed of the built-in problems.")] = None,
    price: Annotated[
        str, typer.Option(metavar="IN,OUT", help="Dollars per million tokens of the checkpoint.")
    ] = "0,0",
    journal: Annotated[Path | None, typer.Option(help="Append every answer's bill to this file.")] = None,
    until_eof: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """A local OpenAI-compatible server: simulated models, or checkpoints."""
    if until_eof:
        from toolkit.children import end_with_parent

        end_with_parent()
    from toolkit import serving

    served = serving.app(
        simulate,
        checkpoint or [],
        problems=problems,
        split=split,
        offset=offset,
        limit=limit,
        problem_seed=problem_seed,
        price=price,
        journal=journal,
    )
    serving.run(served, host=host, port=port)


def _job(source: Path, overrides: list[str] | None, out: Path | None) -> "Job":
    from toolkit import stages

    return stages.open_run(source, overrides or [], out)


def _keep(job: "Job") -> None:
    from toolkit import stages

    stages.keep(job)


def version(wanted: bool) -> None:
    if wanted:
        from toolkit import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass
