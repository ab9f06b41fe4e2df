"""Dated facts about models: prices, parameters, terms of use. The data is `catalog.toml`."""

import tomllib
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any

from toolkit.spec import Params, Price


@dataclass(frozen=True, slots=True)
class Entry:
    """One model. `prices` is ordered by date; open models have none."""

    name: str
    vendor: str
    terms_url: str
    prices: tuple[Price, ...]
    params: Params | None

    def price(self, on: date | None = None) -> Price | None:
        """The newest price, or the one that held on a day."""
        held = [p for p in self.prices if on is None or p.date <= on.isoformat()]
        return held[-1] if held else None


def find(model: str) -> Entry | None:
    """The entry of a model by the vendor's own name for it."""
    return load().get(model.removeprefix("models/"))


@cache
def load() -> dict[str, Entry]:
    """Every entry, by name."""
    data = tomllib.loads(files("toolkit").joinpath("catalog.toml").read_text(encoding="utf-8"))
    return {name: _entry(name, row) for name, row in data["models"].items()}


def _entry(name: str, row: dict[str, Any]) -> Entry:
    prices = [Price.model_validate(p) for p in row.get("prices", ())]
    params = Params(**row["params"]) if "params" in row else None
    return Entry(name, row["vendor"], row["terms_url"], tuple(sorted(prices, key=lambda p: p.date)), params)
