"""The page: everything a run directory holds, as one HTML file that needs nothing else.

No script, no network, no outside font. Beside it, under `report/`, lie its figures and the sample browser.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from toolkit import publish
from toolkit.errors import redact
from toolkit.report import (
    books,
    bought,
    browse,
    caveats,
    data,
    exports,
    facts,
    findings,
    forms,
    recipe,
    samples,
    spent,
    students,
)
from toolkit.report.blocks import Section
from toolkit.report.books import Books
from toolkit.report.facts import Facts
from toolkit.types import Problem

LEDGER, PAGE, BESIDE = "ledger.sqlite", "report.html", "report"


def write(
    directory: Path,
    problems: Mapping[str, Problem] | None = None,
    versions: Mapping[str, str] | None = None,
) -> Path:
    """Write `report.html`, and `report/` beside it, from whatever the directory holds.

    What is absent is named with the verb that makes it. `problems` (by id) give the solutions their
    questions, which the ledger does not keep.
    """
    found = facts.load(directory)
    ledger, known = books.read(directory / LEDGER), problems or {}
    sections = _sections(found, ledger)
    with publish.folder(directory / BESIDE) as folder:
        exports.write(folder / "figures", sections)
        browser = browse.write(folder, directory / LEDGER, found, known)
    page = forms.render(
        "page.html.j2",
        where=forms.where(directory),
        figures=f"{BESIDE}/figures",
        title=_title(found),
        arms=found.arms,
        matched=findings.MATCHES.get(found.match, found.match),
        date=_date(ledger.last),
        paragraphs=findings.paragraphs(found),
        warnings=caveats.warnings(found),
        caveats=caveats.caveats(found),
        contents=_contents(sections),
        sections=sections,
        recipe=recipe.recipe(found, ledger, versions or {}),
        missing=_missing(directory, found),
        samples=samples.read(directory / LEDGER, found, known),
        longest=samples.LONGEST,
        sampled=ledger.last is not None,
        browser=browser and {"href": f"{BESIDE}/{browse.PAGE}", "size": browser},
        run_file=_run_file(directory / "run.yaml"),
    )
    return forms.save(directory / PAGE, page)


def _sections(found: Facts, ledger: Books) -> list[Section]:
    """In the order of the page; recipe and caveats follow the sample solutions."""
    made = [
        bought.comparison(found),
        bought.levels(found),
        bought.outcomes(found),
        bought.reasoning(found),
        data.datasets(found),
        students.students(found),
        spent.spend(found, ledger),
    ]
    return [section for section in made if section is not None]


def _contents(sections: Sequence[Section]) -> list[tuple[str, str]]:
    last = [("samples", "Sample solutions"), ("run", "What was run"), ("caveats", "Caveats")]
    return [*((s.id, s.title) for s in sections), *last]


def _title(found: Facts) -> str:
    return str((found.run or {}).get("name") or found.name)


def _date(when: float | None) -> str:
    return datetime.fromtimestamp(when, UTC).strftime("%-d %B %Y, %H:%M UTC") if when else ""


def _run_file(path: Path) -> str:
    return redact(path.read_text(encoding="utf-8", errors="replace")) if path.is_file() else ""


def _missing(directory: Path, found: Facts) -> list[tuple[str, str]]:
    """(what, verb that makes it) for everything this run is meant to have and has not."""
    run = found.run or {}
    trains, evaluates = bool(run.get("students")), bool(run.get("students") and run.get("evaluate"))
    wanted = [
        ("run.yaml", "plan", found.run is None),
        ("plan.json", "plan", found.plan is None),
        (LEDGER, "sample", not (directory / LEDGER).is_file()),
        ("metrics.json", "measure", found.metrics is None),
        ("dataset/", "dataset", not found.datasets),
        ("finetune/", "finetune", trains and not found.trainings),
        ("evaluation.json", "evaluate", evaluates and found.evaluation is None),
    ]
    return [(what, verb) for what, verb, absent in wanted if absent]
