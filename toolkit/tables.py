"""Tables on stdout, or the same as JSON."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from toolkit import catalog as models
from toolkit import report
from toolkit.checks import Finding
from toolkit.errors import InputError
from toolkit.plan import Plan
from toolkit.report import figures
from toolkit.spec import Model
from toolkit.types import PICO

WIDTH = 140  # where the output is not a terminal
console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)


def plan(made: Plan, *, as_json: bool = False, heading: str = "Plan") -> None:
    content = made.as_json()
    if as_json:
        _json(content)
        return
    table = _table(
        f"{heading}: {made.problems} problems, matched by {made.match}",
        "arm",
        "model",
        "draws/problem",
        "per request",
        "expected spend",
        "FLOPs",
        "per draw",
    )
    for arm, row in content["models"].items():
        table.add_row(
            arm,
            row["model"],
            str(row["draws_per_problem"]),
            str(row["draws_per_request"]),
            figures.usd(row["usd"]),
            figures.flops(row["flops"]),
            figures.usd(row["usd_per_draw"]),
        )
    console.print(table)
    residual = content["residual"]
    left = (
        figures.usd(residual["amount"])
        if residual["unit"] == "usd"
        else f"{residual['amount']:.4g} {residual['unit']}"
    )
    console.print(
        f"left unspent by rounding down: {left}; worst case: {figures.usd(content['worst_case_usd'])}"
    )
    for note in made.notes:
        console.print(f"note: {note}", markup=False)


def measures(measured: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        _json(measured)
        return
    table = _table(
        "Measured (95 % intervals over problems)",
        "arm",
        "problems",
        "draws",
        "spend",
        "coverage",
        "correct/solved",
        "distinct/solved",
    )
    for arm, m in measured["models"].items():
        k = max(m["coverage"], key=int, default=None)
        diversity = m["diversity"].get(k, {}) if k else {}
        table.add_row(
            arm,
            str(m["problems"]),
            str(m["draws"]),
            figures.usd(m["usd"]),
            f"{figures.share(m['coverage'][k])} @{k}" if k else "-",
            figures.quantity(diversity.get("per_solved")),
            figures.quantity(diversity.get("unique_per_solved")),
        )
    console.print(table)


def comparison(directory: Path) -> None:
    rows = report.comparison(directory)
    if not rows:
        return
    table = _table("Comparison (95 % intervals)", *rows[0])
    for row in rows:
        table.add_row(*row.values())
    console.print(table)


def status(content: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        _json(content)
        return
    attempts = ", ".join(f"{n} {state}" for state, n in content["attempts"].items())
    console.print(f"draws {content['draws']}, missing {content['missing']}; attempts: {attempts or 'none'}")
    money = {k: figures.usd(content[f"{k}_usd"]) for k in ("spent", "reserved", "uncertain")}
    cap = "none" if content["cap_usd"] is None else figures.usd(content["cap_usd"])
    console.print(
        f"spent {money['spent']}, reserved {money['reserved']}, uncertain {money['uncertain']}, cap {cap}"
    )
    if content["uncertain_usd"]:
        console.print(
            "uncertain attempts count against the cap until you resolve them: status RUN --uncertain paid|unpaid",
            markup=False,
        )


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
        f"honours {honours}; up to {found.abilities.max_n} draws per request"
    )


def catalog(model: str | None, *, as_json: bool) -> None:
    entries = models.load()
    if model is not None:
        if (found := models.find(model)) is None:
            raise InputError(
                f"{model}: not in the catalog: it knows {', '.join(entries)}; a run file's own price always wins"
            )
        entries = {model: found}
    rows = [row for entry in entries.values() for row in _price_rows(entry)]
    if as_json:
        _json(rows)
        return
    table = _table("Catalog (dollars per million tokens)", *rows[0])
    for row in rows:
        table.add_row(*("" if v is None else str(v) for v in row.values()))
    console.print(table)


def _price_rows(entry: models.Entry) -> list[dict[str, Any]]:
    facts = {"model": entry.name, "parameters": entry.params.total if entry.params else None}
    if not entry.prices:
        return [
            facts | {"input": None, "cached": None, "output": None, "date": None, "terms": entry.terms_url}
        ]
    return [
        facts
        | {
            "input": float(p.input),
            "cached": None if p.cached_input is None else float(p.cached_input),
            "output": float(p.output),
            "date": p.date,
            "terms": entry.terms_url,
        }
        for p in entry.prices
    ]


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _json(content: Any) -> None:
    print(json.dumps(content, indent=1))
