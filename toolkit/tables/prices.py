"""What models cost and which they are."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from decimal import Decimal
from typing import Any

from toolkit import catalog as models
from toolkit.checks import Finding
from toolkit.price_check import Difference
from toolkit.report import figures
from toolkit.spec import Model, Price
from toolkit.tables.console import console, print_json, table_of
from toolkit.types import PICO

HIDDEN = ("per request", "terms", "source")  # in JSON alone: a terminal is too narrow for them


def finding(model: Model, found: Finding) -> str:
    """A checked model in one line."""
    said = found.answer or {}
    price = (
        f"${model.price.input} in, ${model.price.output} out per million tokens"
        if model.price
        else "unpriced"
    )
    dated = f" ({', '.join(filter(None, (model.price.source, model.price.date)))})" if model.price else ""
    cost = "" if said.get("cost_pico") is None else f", {figures.usd(said['cost_pico'] / PICO)}"
    thought = f" + {said['thinking']} thinking" if said.get("thinking") else ""
    honours = ", ".join(sorted(found.abilities.honours - {"extra"}))
    return (
        f"{model.shown} answers as {said.get('model_version') or 'it does not say what'}; "
        f"{said.get('prompt')} + {said.get('output')}{thought} tokens{cost}; {price}{dated}; "
        f"honours {honours}; up to {found.abilities.max_n} draws per request; limits: {found.limits}"
    )


def catalog(model: str | None, on: date | None = None, *, as_json: bool) -> None:
    """Every row of the catalog, or of one model; of a day the rows that held."""
    entries = models.load() if model is None else {model: models.require(model)}
    rows = [row for entry in entries.values() for row in _price_rows(entry, on)]
    if as_json:
        print_json(rows)
        return
    if not rows:
        console.print(f"no price of {on} is known: leave --on out to see which are")
        return
    columns = [c for c in rows[0] if c not in HIDDEN]
    table = table_of("Catalog (dollars per million tokens)", *columns)
    for row in rows:
        table.add_row(*("" if row[c] is None else str(row[c]) for c in columns))
    console.print(table)
    for row in rows if model else ():
        console.print(f"{row['date'] or 'parameters'}: {row['source']}", markup=False)


def _price_rows(entry: models.Entry, on: date | None) -> list[dict[str, Any]]:
    params = entry.params
    known = {
        "model": entry.name,
        "parameters": params.total if params else None,
        "active": params.active if params else None,
    }
    held = entry.prices if on is None else [p for p in (entry.price(on),) if p]
    if not held and params:
        unpriced = dict.fromkeys(
            ("input", "cached", "output", "long prompts", "per request", "batch", "date")
        )
        return [known | unpriced | {"terms": entry.terms_url, "source": entry.params_source}]
    return [known | _price_row(p) | {"terms": entry.terms_url, "source": p.source} for p in held]


def _price_row(price: Price) -> dict[str, Any]:
    def dollars(amount: Decimal | None) -> float | None:
        return None if amount is None else float(amount)

    return {
        "input": dollars(price.input),
        "cached": dollars(price.cached_input),
        "output": dollars(price.output),
        "long prompts": ", ".join(f">{t}: {r.input:f}/{r.output:f}" for t, r in sorted(price.above.items()))
        or None,
        "per request": dollars(price.per_request) or None,
        "batch": dollars(price.batch),
        "date": price.date,
    }


def price_differences(found: Sequence[Difference], on: date, *, as_json: bool) -> None:
    """Where the catalog and genai-prices disagree."""
    if as_json:
        print_json([asdict(one) for one in found])
        return
    if not found:
        console.print(f"on {on} the catalog and genai-prices agree")
        return
    table = table_of(
        f"Prices on {on} (dollars per million tokens)", "model", "field", "catalog", "genai-prices"
    )
    for one in found:
        table.add_row(one.model, one.field, one.ours or "-", one.theirs or "-")
    console.print(table)
