"""Tables on stdout, or the same as JSON."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from toolkit import catalog as models
from toolkit import report
from toolkit.checks import Finding
from toolkit.plan import Plan
from toolkit.price_check import Difference
from toolkit.report import figures
from toolkit.spec import Model, Price
from toolkit.types import PICO

WIDTH = 140  # where the output is not a terminal
HIDDEN = ("per request", "terms", "source")  # in JSON alone: a terminal is too narrow for them
console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)


def plan(made: Plan, *, as_json: bool = False, heading: str = "Plan") -> None:
    content = made.as_json()
    if as_json:
        _json(content)
        return
    gpus = any(row["gpu_usd"] is not None for row in content["models"].values())
    table = _table(
        f"{heading}: {made.problems} problems, matched by {made.match}",
        "arm",
        "model",
        "draws/problem",
        "per request",
        "expected spend",
        *(["of it GPU time"] if gpus else []),
        "FLOPs",
        "per draw",
    )
    for arm, row in content["models"].items():
        table.add_row(
            arm,
            row["model"],
            _draws(row),
            str(row["draws_per_request"] or "-"),
            figures.usd(row["usd"]),
            *([figures.usd(row["gpu_usd"])] if gpus else []),
            figures.flops(row["flops"]),
            figures.usd(row["usd_per_draw"]),
        )
    console.print(table)
    if content["forecast"]:
        _forecast(content["forecast"])
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


def _draws(row: Mapping[str, Any]) -> str:
    """Draws per problem; of a mixture each model's."""
    parts = row.get("members", {}).items()
    each = " + ".join(f"{m['draws_per_problem']:g} {key}" for key, m in parts)
    return each or ("about " if row["draws"] is None else "") + f"{row['draws_per_problem']:g}"


def _forecast(found: Mapping[str, Any]) -> None:
    """What the pilot lets expect: of the arms, of other policies, and where the verdict flips."""
    table = _table(
        "Forecast from the pilot (95 % intervals)",
        "arm",
        "policy",
        "coverage",
        "distinct correct",
        "expected spend",
    )
    for arm, b in found["arms"].items():
        table.add_row(
            arm,
            b["policy"],
            figures.share(b["coverage"]),
            figures.quantity(b["distinct"]),
            figures.usd(b["usd"]),
        )
    for b in found["alternatives"]:
        table.add_row(
            "instead",
            b["policy"],
            figures.share(b["coverage"]),
            figures.quantity(b["distinct"]),
            figures.usd(b["usd"]),
        )
    console.print(table)
    for flip in found["break_even"]:
        console.print(_flips(flip), markup=False)
    table = _table("Expected coverage at other budgets", "times", *found["arms"], "covers more")
    for row in found["budgets"]:
        reached = ["-" if c is None else figures.share(c) for c in row["coverage"].values()]
        table.add_row(f"x{row['times']:g}", *reached, row["verdict"] or "open")
    console.print(table)


def _flips(flip: Mapping[str, Any]) -> str:
    """Where the verdict between two models flips, in one sentence."""
    weak, strong, k = flip["weaker"], flip["stronger"], flip["stronger_draws"]
    now = "" if flip["now"] is None else f"; now {flip['now']:.2f} times"
    if flip["flips_at"] is None:
        return f"{weak} never covers as much as {k} draws of {strong}, however cheap it is{now}"
    flips = figures.usd(flip["weaker_usd_per_draw_at_flip"])
    return (
        f"{weak} covers more than {k} draws of {strong} while those cost more than {flip['flips_at']:.2f} times as much "
        f"per draw{now}: the verdict flips where a draw of {weak} costs {flips}, now {figures.usd(flip['weaker_usd_per_draw'])}"
    )


def pilot(content: Mapping[str, Any]) -> None:
    """What the pilot measured, per arm."""
    table = _table(
        f"Pilot: {content['draws']} draws to each of {content['problems']} problems",
        "arm",
        "prompt",
        "output",
        "thinking",
        "cut",
        "pass@1",
        "per draw",
        "tokens/s",
    )
    for arm, m in content["parts"].items():
        speed = m["tokens_per_second"]
        table.add_row(
            arm,
            f"{m['prompt']:.0f}",
            f"{m['output']:.0f}",
            f"{m['thinking']:.0f}",
            f"{m['truncated']:.1%}",
            f"{m['pass_at_1']:.1%}",
            figures.usd(m["usd_per_draw"]),
            "-" if speed is None else f"{speed:.0f}",
        )
    console.print(table)


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
            _covered(m, k),
            figures.quantity(diversity.get("per_solved")),
            figures.quantity(diversity.get("unique_per_solved")),
        )
    console.print(table)


def _covered(m: Mapping[str, Any], k: str | None) -> str:
    """Coverage at the largest k; of an arm whose draws followed outcomes, what it solved with what it spent."""
    if m.get("adaptive") and m.get("solved"):
        return f"{figures.share(m['solved'])} solved"
    return f"{figures.share(m['coverage'][k])} @{k}" if k else "-"


def differences(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    """Draws on which two versions of a verifier disagree."""
    if as_json:
        _json(rows)
        return
    if not rows:
        console.print("no verdict differs")
        return
    table = _table(f"{len(rows)} verdicts differ", *rows[0])
    for row in rows:
        table.add_row(*(Text(str(value)) for value in row.values()))
    console.print(table)


def audit(found: Mapping[str, Any]) -> None:
    """False positive rates, and whether the arms can be told apart."""
    table = _table(
        "False positive rate of correct draws (95 % intervals)",
        "arm",
        "rate",
        "from",
        "labels",
        "people",
        "judge",
    )
    for arm, row in found["models"].items():
        table.add_row(
            arm,
            figures.share(row["false_positive_rate"]),
            row["from"] or "-",
            str(row["labels"]),
            f"{row['human']['flawed']}/{row['human']['labels']}",
            f"{row['judge']['flawed']}/{row['judge']['labels']}",
        )
    console.print(table)
    for one in found["differences"]:
        console.print(one["says"], markup=False)
    if found.get("warning"):
        console.print(f"note: {found['warning']}", markup=False)


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
        f"honours {honours}; up to {found.abilities.max_n} draws per request; limits: {found.limits}"
    )


def catalog(model: str | None, on: date | None = None, *, as_json: bool) -> None:
    """Every row of the catalog, or of one model; of a day the rows that held."""
    entries = models.load() if model is None else {model: models.require(model)}
    rows = [row for entry in entries.values() for row in _price_rows(entry, on)]
    if as_json:
        _json(rows)
        return
    if not rows:
        console.print(f"no price of {on} is known: leave --on out to see which are")
        return
    columns = [c for c in rows[0] if c not in HIDDEN]
    table = _table("Catalog (dollars per million tokens)", *columns)
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


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _json(content: Any) -> None:
    print(json.dumps(content, indent=1))


def price_differences(found: Sequence[Difference], on: date, *, as_json: bool) -> None:
    """Where the catalog and genai-prices disagree."""
    if as_json:
        _json([asdict(one) for one in found])
        return
    if not found:
        console.print(f"on {on} the catalog and genai-prices agree")
        return
    table = _table(
        f"Prices on {on} (dollars per million tokens)", "model", "field", "catalog", "genai-prices"
    )
    for one in found:
        table.add_row(one.model, one.field, one.ours or "-", one.theirs or "-")
    console.print(table)


def repriced(measured: Mapping[str, Any]) -> None:
    """What each arm paid beside what its draws cost at other prices."""
    other = measured["repriced"]
    table = _table(
        f"Repriced by {other['repriced']['by']}",
        "arm",
        "paid",
        "repriced",
        "times",
        "paid/correct",
        "repriced/correct",
    )
    for arm, then in measured["models"].items():
        now = other["models"][arm]
        times = now["usd"] / then["usd"] if then["usd"] and now["usd"] is not None else None
        table.add_row(
            arm,
            figures.usd(then["usd"]),
            figures.usd(now["usd"]),
            "-" if times is None else f"{times:.3g}",
            figures.money_range(then["usd_per_correct"]),
            figures.money_range(now["usd_per_correct"]),
        )
    console.print(table)
    console.print(f"note: {other['repriced']['note']}", markup=False)
