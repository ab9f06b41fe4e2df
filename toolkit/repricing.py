"""Other prices for a run's tokens: the catalog's of a day, or a file's. The ledger is only read.

The draws stay what they were. At other prices a budget would have bought others, so arms that were matched
no longer cost the same: the figures say what these draws cost, not what a plan at these prices would show.
"""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from toolkit import catalog, cost
from toolkit.errors import InputError
from toolkit.spec import Model, Price

REPRICED = "metrics.repriced.json"
NOTE = "the same draws at other prices: a plan made at these prices would have bought other ones"


@dataclass(frozen=True, slots=True)
class Repricing:
    """Other prices for a run's models, by their names in the run file; None is unpriced."""

    by: str  # where they come from, for people
    prices: Mapping[str, Price | None]

    def as_json(self) -> dict[str, Any]:
        """What metrics.repriced.json says of its prices, as they are quoted."""
        shown = {key: None if p is None else cost.price(p).as_json() for key, p in self.prices.items()}
        return {"by": self.by, "note": NOTE, "prices": shown}


def wanted(asked: str, models: Mapping[str, Model]) -> Repricing:
    """The prices of a day (2024-09-01) or of a file. Raises InputError where a priced model gets none."""
    try:
        day = date.fromisoformat(asked)
    except ValueError:
        return Repricing(asked, _of_file(Path(asked), models))
    return Repricing(f"the catalog on {day}", {key: _of_day(key, m, day) for key, m in models.items()})


def _of_day(key: str, model: Model, day: date) -> Price | None:
    entry = catalog.of(model)
    if entry is None or not entry.prices:
        if model.price is None:
            return None
        near = catalog.nearest(catalog.listed(model), priced=True)
        mend = f" (did you mean {near!r}?)" if near else ""
        raise InputError(
            f"--reprice {day}: models.{key}: the catalog has no price of {model.shown}{mend}: give a file with its prices"
        )
    if found := entry.price(day):
        return found
    raise InputError(
        f"--reprice {day}: models.{key}: the catalog's first price of {model.shown} is of {entry.prices[0].date}: "
        "give a later day, or a file with its prices"
    )


def _of_file(file: Path, models: Mapping[str, Model]) -> dict[str, Price | None]:
    """Prices by a model's name in the run file or at its provider; models the file leaves out keep the run's."""
    given = _read(file)
    names = {name: key for key, m in models.items() for name in (m.model, key)}
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(str(name), names, n=1)
            mend = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(models)}"
            raise InputError(f"{file}: {name}: no model of this run: {mend}")
    kept: dict[str, Price | None] = {key: m.price for key, m in models.items()}
    return kept | {key: _price(file, n, given[n]) for n, key in names.items() if n in given}


def _read(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
        data = tomllib.loads(text) if file.suffix == ".toml" else yaml.safe_load(text)
    except FileNotFoundError:
        raise InputError(
            f"--reprice {file}: neither a day such as 2024-09-01 nor a file of prices per model"
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{file}: cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict) or not data:
        raise InputError(f"{file}: not a mapping: write `MODEL: {{input: 0.3, output: 2.5}}` for each model")
    return data


def _price(file: Path, name: str, given: Any) -> Price:
    source = given | {"source": str(file)} if isinstance(given, dict) and "source" not in given else given
    try:
        return Price.model_validate(source)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in (name, *first["loc"]))
        raise InputError(f"{file}: {key}: {first['msg'].removeprefix('Value error, ')}") from None
