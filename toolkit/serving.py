"""`serve`: which app a user asked for."""

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path

from starlette.applications import Starlette
from starlette.routing import Mount

from toolkit import problems as questions
from toolkit.errors import InputError
from toolkit.serve.openai_format import Tally
from toolkit.serve.process import run
from toolkit.spec import Problems

__all__ = ["app", "run"]


def app(
    simulate: Path | None,
    checkpoints: Sequence[Path],
    *,
    problems: str | None,
    split: str | None,
    offset: int,
    limit: int | None,
    problem_seed: int | None,
    price: str,
    journal: Path | None,
) -> Starlette:
    """The app for one of a world file and checkpoint folders."""
    if (simulate is None) == (not checkpoints):
        raise InputError("serve: give one of --simulate WORLD.yaml and --checkpoint DIR")
    tally = Tally(journal)
    if simulate is not None:
        return _simulated(simulate, tally, problems, split, offset, limit, problem_seed)
    return _checkpoints(checkpoints, tally, price)


def _simulated(
    world: Path,
    tally: Tally,
    source: str | None,
    split: str | None,
    offset: int,
    limit: int | None,
    seed: int | None,
) -> Starlette:
    from toolkit.serve import simulate
    from toolkit.serve.world import World, load_world

    spec = load_world(world)
    given = {"source": source, "split": split, "offset": offset or None, "limit": limit, "seed": seed}
    own = {} if source else dict(spec.problems)
    known = Problems.model_validate(own | {k: v for k, v in given.items() if v is not None})
    return simulate.create_app(World(spec, questions.load(known).problems), tally)


def _checkpoints(folders: Sequence[Path], tally: Tally, price: str) -> Starlette:
    for folder in folders:
        if not (folder / "config.json").is_file():
            raise InputError(f"{folder}: no config.json in it: give the folder of a saved checkpoint")
    try:
        per_input, per_output = (int(Decimal(p) * 10**6) for p in price.split(","))
    except (InvalidOperation, ValueError):
        raise InputError(
            f"--price {price}: write input,output in dollars per million tokens, e.g. 0.1,0.4"
        ) from None
    from toolkit.serve import checkpoint

    names = [folder.resolve().name for folder in folders]
    apps = [
        checkpoint.create_app({name: folder}, tally, {name: (per_input, per_output)})
        for name, folder in zip(names, folders, strict=True)
    ]
    if len(apps) == 1:
        return apps[0]
    return Starlette(routes=[Mount(f"/{place}", one) for place, one in enumerate(apps)])
