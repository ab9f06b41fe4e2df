"""What a run has bought and found out, and how far it is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.text import Text

from toolkit import report
from toolkit.report import figures
from toolkit.tables.console import console, print_json, table_of


def measures(measured: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(measured)
        return
    table = table_of(
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


def repriced(measured: Mapping[str, Any]) -> None:
    """What each arm paid beside what its draws cost at other prices."""
    other = measured["repriced"]
    table = table_of(
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


def differences(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    """Draws on which two versions of a verifier disagree."""
    if as_json:
        print_json(rows)
        return
    if not rows:
        console.print("no verdict differs")
        return
    table = table_of(f"{len(rows)} verdicts differ", *rows[0])
    for row in rows:
        table.add_row(*(Text(str(value)) for value in row.values()))
    console.print(table)


def audit(found: Mapping[str, Any]) -> None:
    """False positive rates, and whether the arms can be told apart."""
    table = table_of(
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
    table = table_of("Comparison (95 % intervals)", *rows[0])
    for row in rows:
        table.add_row(*row.values())
    console.print(table)


def status(content: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(content)
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
