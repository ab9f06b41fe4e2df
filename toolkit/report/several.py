"""Several runs on one page: their verdicts, their figures side by side, their curves over each other.

Runs are compared by their own intervals: draws of different runs are not paired. Where runs differ in what
makes figures comparable, the page says so before anything else.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from toolkit.errors import InputError
from toolkit.ledger import Reader
from toolkit.report import exports, facts, figures, findings, forms, plots
from toolkit.report.blocks import Row, Section, Table
from toolkit.report.facts import Facts, Json

PAGE = "compare.html"
SAME: Mapping[str, Callable[[Facts], Any]] = {  # what has to be alike, and where it stands
    "problems": lambda f: {k: v for k, v in ((f.run or {}).get("problems") or {}).items() if v is not None},
    "prompt": lambda f: (f.run or {}).get("prompt"),
    "verifier": lambda f: (f.metrics or {}).get("verifier"),
    "decoding": lambda f: {k: v for k, v in ((f.run or {}).get("decoding") or {}).items() if v not in (None, [])},
    "matching": lambda f: f.match,
    "problems of the evaluation": lambda f: (f.evaluation or {}).get("sets"),
    "budget": lambda f: {k: v for k, v in ((f.plan or {}).get("budget") or {}).items() if v is not None},
}  # fmt: skip


def compare(directories: Sequence[Path], out: Path) -> Path:
    """Write `out`/compare.html and its figures. Raises InputError where a run is given twice or has no metrics."""
    if len({d.resolve() for d in directories}) < len(directories):
        raise InputError("report: a run is given twice: name different runs")
    found = {_name(d, directories): facts.load(d) for d in directories}
    if bare := [name for name, f in found.items() if not f.measured]:
        raise InputError(f"{bare[0]}: nothing is measured yet: run `pricematch measure {bare[0]}` first")
    whole = _together(found)
    sections = [s for s in (_arms(found, whole), _students(found)) if s is not None]
    out.mkdir(parents=True, exist_ok=True)
    exports.write(out / "figures", sections)
    page = forms.render(
        "compare.html.j2",
        title=f"{figures.joined(list(found))} compared",
        differences=[*_shared(dict(zip(found, directories, strict=True))), *_differences(found)],
        verdicts={name: findings.paragraphs(f) for name, f in found.items()},
        pages={name: _link(d, out) for name, d in zip(found, directories, strict=True)},
        sections=sections,
    )
    return forms.save(out / PAGE, page)


def _name(directory: Path, others: Sequence[Path]) -> str:
    """The folder's name, with its parent's where two are called alike."""
    whole = directory.resolve()
    alike = [d for d in others if d.resolve().name == whole.name]
    return whole.name if len(alike) == 1 else f"{whole.parent.name}/{whole.name}"


def _link(directory: Path, out: Path) -> str:
    return Path(os.path.relpath(directory.resolve() / "report.html", out.resolve())).as_posix()


def _together(found: Mapping[str, Facts]) -> Facts:
    """All arms of all runs as if they were one run's, called RUN: ARM; for the pictures alone."""
    matches = {f.match for f in found.values()}
    named = [(f"{name}: {arm}", f, arm) for name, f in found.items() for arm in f.measured]
    plans = {label: f.planned[arm] for label, f, arm in named if arm in f.planned}
    return Facts(
        "compared",
        plan={"match": matches.pop() if len(matches) == 1 else "samples", "models": plans},
        metrics={"models": {label: f.measured[arm] for label, f, arm in named}},
    )


# -- what is not alike


def _shared(directories: Mapping[str, Path]) -> list[str]:
    """How many of the very same questions the runs asked, where it is not all of them."""
    asked = {name: _asked(d / "ledger.sqlite") for name, d in directories.items()}
    common, every = set.intersection(*asked.values()), set.union(*asked.values())
    if common == every:
        return []
    sizes = figures.joined([f"{name} {len(own):,}" for name, own in asked.items()])
    return [
        f"The runs asked different questions ({sizes}; {len(common):,} in common): their figures are not like for like."
    ]


def _asked(ledger: Path) -> set[str]:
    """The questions of the arms, students' tests left out."""
    if not ledger.is_file():
        return set()
    with Reader(ledger) as reader:
        sql = "SELECT sha FROM problem WHERE id IN (SELECT DISTINCT problem FROM attempt WHERE purpose IN ('sample','pilot'))"
        return {sha for (sha,) in reader.rows(sql)}


def _differences(found: Mapping[str, Facts]) -> list[str]:
    """Settings in which the runs differ, each with what every run has."""
    said = []
    for what, get in SAME.items():
        values = {name: get(f) for name, f in found.items()}
        if any(value != next(iter(values.values())) for value in values.values()):
            told = "; ".join(f"{name}: {_short(value)}" for name, value in values.items())
            said.append(f"Different {what} ({told}).")
    return said


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping) and value:
        return ", ".join(f"{k} {_short(v)}" for k, v in value.items())
    return str(value) if value or value in (0, False) else "none"


# -- the tables


def _arms(found: Mapping[str, Facts], whole: Facts) -> Section:
    rows = [
        Row(f"{name}: {arm}", _cells(f, arm, m), findings.model_of(f, arm))
        for name, f in found.items()
        for arm, m in f.measured.items()
    ]
    head = ("Run, arm", "draws per problem", "spent", "computed", "covered or solved", "distinct per problem",
            "a correct draw", "false positives")  # fmt: skip
    caption = "The arms of all runs. Brackets hold each figure’s own 95 % interval over problems; nothing is paired between runs."
    drawn = [
        f
        for f in (plots.coverage(whole), plots.diversity(whole), plots.by_group(whole, "by_level"))
        if f is not None
    ]
    return Section("arms", "Arms", [Table(caption, head, rows), *drawn])


def _cells(f: Facts, arm: str, m: Json) -> list[str]:
    reached = figures.share(f.reached(arm))
    rate = m.get("false_positive_rate")
    return [
        findings.draws_of(f, arm), figures.usd(m.get("usd")), figures.flops(m.get("flops")),
        f"{reached} solved" if f.adaptive(arm) else reached,
        figures.quantity(f.diversity(arm).get("unique_per_problem")), figures.money_range(m.get("usd_per_correct")),
        figures.share(rate) if isinstance(rate, Mapping) else "not measured",
    ]  # fmt: skip


def _students(found: Mapping[str, Facts]) -> Section | None:
    rows = [
        Row(f"{name}: {student}", [data, figures.share(x), str((f.evaluation or {}).get("seeds") or 1)])
        for name, f in found.items()
        for student, told in f.students.items()
        for data, x in {"not finetuned": told.get("base"), **(told.get("arms") or {})}.items()
    ]
    if not rows:
        return None
    caption = "pass@1 of the students of all runs, each on its run’s own test problems."
    return Section(
        "students", "Students", [Table(caption, ("Run, student", "data", "pass@1", "seeds"), rows)]
    )
