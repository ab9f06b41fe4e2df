"""Dated facts about models: price history, parameters, terms of use. The data is `catalog.toml`."""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any

from toolkit.errors import InputError
from toolkit.spec import Limits, Model, Params, Price

RESOLD = ("openai/", "gemini/")  # litellm's names of vendors whose prices are in the catalog


@dataclass(frozen=True, slots=True)
class Tier:
    """What an account of one usage tier may ask of a model."""

    limits: Limits
    date: str  # ISO date on which it was read
    source: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One model. `prices` is ordered by date, announced ones included; open models have none."""

    name: str
    vendor: str
    terms_url: str
    prices: tuple[Price, ...]
    params: Params | None
    params_source: str = ""  # where the counts were read, and when
    tiers: Mapping[str, Tier] = field(default_factory=dict)  # by the vendor's name for them

    def price(self, on: date | None = None) -> Price | None:
        """The price that held on a day, None before the first; today's where no day is given.

        Today's is never None: a clock that runs behind the catalog gets the first price.
        """
        day = (on or date.today()).isoformat()
        held = [p for p in self.prices if p.date <= day]
        if not held and on is None:
            return next(iter(self.prices), None)
        return held[-1] if held else None


def find(model: str) -> Entry | None:
    """The entry of a model by the vendor's own name for it."""
    return load().get(model.removeprefix("models/"))


def of(model: Model) -> Entry | None:
    """The entry of a run's model. litellm puts the vendor first; other vendors' prices of a model may differ."""
    return find(listed(model))


def listed(model: Model) -> str:
    """The name under which the catalog would know a run's model."""
    own = model.provider == "litellm" and model.model.startswith(RESOLD)
    return model.model.partition("/")[2] if own else model.model


def require(model: str) -> Entry:
    """The entry of a model. Raises InputError with the nearest name the catalog knows."""
    if found := find(model):
        return found
    near = nearest(model)
    mend = f"did you mean {near!r}?" if near else "`pricematch prices` lists what it knows"
    raise InputError(f"{model}: not in the catalog: {mend} (a run file's own price always wins)")


def nearest(model: str, *, priced: bool = False) -> str | None:
    """The known name most like this one; `priced` asks for a model with a price."""
    known = [name for name, entry in load().items() if entry.prices or not priced]
    asked = model.removeprefix("models/")
    found = (
        difflib.get_close_matches(asked, known, n=1, cutoff=0.95)  # a slip of the finger
        or sorted((name for name in known if asked.startswith(name)), key=len)[-1:]  # a snapshot or a preview
        or difflib.get_close_matches(asked, known, n=1)
        or [name for name in known if name.rpartition("/")[2].lower() == asked.rpartition("/")[2].lower()]
    )
    return found[0] if found else None


def told_nearest(model: str) -> str:
    """For the end of an error's line: the name that was perhaps meant; empty where this one is known."""
    near = None if find(model) else nearest(model, priced=True)
    return f"; the catalog has none of {model}: did you mean {near!r}?" if near else ""


@cache
def load() -> dict[str, Entry]:
    """Every entry, by name."""
    data = tomllib.loads(files("toolkit").joinpath("catalog.toml").read_text(encoding="utf-8"))
    return {name: _entry(name, row, data["vendors"], data["tiers"]) for name, row in data["models"].items()}


def _entry(name: str, row: Mapping[str, Any], vendors: Mapping[str, Any], tiers: Mapping[str, Any]) -> Entry:
    prices = sorted((Price.model_validate(p) for p in row.get("prices", ())), key=lambda p: p.date)
    return Entry(
        name,
        row["vendor"],
        row.get("terms_url") or vendors[row["vendor"]]["terms_url"],
        tuple(prices),
        Params(**row["params"]) if "params" in row else None,
        row.get("params_source", ""),
        _tiers((tiers.get(row["vendor"], {}) if prices else {}) | row.get("limits", {})),
    )


def _tiers(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Tier]:
    about = ("date", "source")
    return {
        name: Tier(
            Limits.model_validate({k: v for k, v in row.items() if k not in about}),
            str(row["date"]),
            row["source"],
        )
        for name, row in rows.items()
    }
