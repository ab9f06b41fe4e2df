"""How a budget would be spent: the plan, its forecast, the pilot behind it."""

from collections.abc import Mapping
from typing import Any

from toolkit.plan import Plan
from toolkit.report import figures
from toolkit.tables.console import console, print_json, table_of


def plan(made: Plan, *, as_json: bool = False, heading: str = "Plan") -> None:
    content = made.as_json()
    if as_json:
        print_json(content)
        return
    gpus = any(row["gpu_usd"] is not None for row in content["models"].values())
    table = table_of(
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
    table = table_of(
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
    table = table_of("Expected coverage at other budgets", "times", *found["arms"], "covers more")
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
    table = table_of(
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
