"""The students: how each was trained, how its checkpoint was chosen, what it scores, and what may be said of that."""

from collections.abc import Iterator

from toolkit.report import courses, figures
from toolkit.report.blocks import Absent, Block, Figure, Note, Row, Section, Table
from toolkit.report.facts import Facts, Json, Training
from toolkit.report.figures import known

MANY = 12  # rows from which a table is folded
BASE = "base"


def students(facts: Facts) -> Section:
    run = facts.run or {}
    blocks: list[Block] = [*_trainings(facts), *_evaluation(facts)]
    if run.get("students") and not facts.trainings:
        blocks.insert(0, Absent("No student was finetuned yet", "finetune"))
    if run.get("students") and run.get("evaluate") and not facts.students:
        blocks.append(Absent("No student was evaluated yet", "evaluate"))
    if not blocks:
        blocks = [Note("This run names no students to evaluate.")]
    return Section("students", "Students", blocks)


# -- training


def _trainings(facts: Facts) -> Iterator[Block]:
    if not facts.trainings:
        return
    rows = [_training(key, t) for key, t in facts.trainings.items()]
    matched = {str(t.get("match")) for t in facts.trainings.values() if t.get("match")} or {"steps"}
    caption = f"Finetuning, matched by {figures.joined(sorted(matched))}: everything else is equal between datasets."
    head = ("Student, data", "steps", "rows", "epochs", "rate", "loss, first", "last", "kept", "seconds")
    folded = "Every training" if len(rows) > MANY else ""
    yield Table(caption, head, rows, frozenset(), folded)
    yield from _searches(facts)
    for student in dict.fromkeys(student for student, _, _ in facts.trainings):
        yield from _drawn(courses.losses(facts, student), courses.validation(facts, student))


def _drawn(*found: Figure | None) -> list[Figure]:
    return [figure for figure in found if figure is not None]


def _training(key: Training, t: Json) -> Row:
    student, data, seed = key
    several = f"seed {t.get('seed', seed)}"
    if t.get("skipped"):
        return Row(f"{student}, {data}", [f"skipped: {t['skipped']}", *[figures.NONE] * 7], several)
    kept = (t.get("chosen") or {}).get("step")
    rate = t.get("learning_rate")
    return Row(f"{student}, {data}", [
        figures.count(t.get("steps")), figures.count(t.get("rows")), _decimal(t.get("epochs"), 2),
        f"{rate:g}" if rate is not None else figures.NONE, _decimal(t.get("loss_first"), 3), _decimal(t.get("loss_last"), 3),
        f"step {kept}" if kept is not None else figures.NONE, figures.count(t.get("seconds")),
    ], several)  # fmt: skip


def _decimal(x: float | None, digits: int) -> str:
    return figures.NONE if x is None else figures.decimal(x, digits)


def _searches(facts: Facts) -> list[Block]:
    """The learning rates tried for each student and dataset, on a seed that is not reported."""
    tried = {
        (student, data): t["search"]
        for (student, data, seed), t in facts.trainings.items()
        if seed == 0 and t.get("search")
    }
    if not tried:
        return []
    rates = sorted({trial["learning_rate"] for search in tried.values() for trial in search["trials"]})
    rows = [
        Row(f"{student}, {data}", [*(_tried(search, rate) for rate in rates), f"{search['learning_rate']:g}"])
        for (student, data), search in tried.items()
    ]
    by = next(iter(tried.values())).get("select_by")
    caption = f"Validation {by} by learning rate, on a seed of its own that is not reported."
    return [Table(caption, ("Student, data", *(f"{rate:g}" for rate in rates), "chosen"), rows)]


def _tried(search: Json, rate: float) -> str:
    found: list[Json] = [t for t in search["trials"] if t["learning_rate"] == rate]
    trial = found[0] if found else {}
    return "diverged" if trial.get("diverged") else _decimal(trial.get(str(search.get("select_by"))), 3)


# -- evaluation


def _evaluation(facts: Facts) -> Iterator[Block]:
    for student, x in facts.students.items():
        yield _scores(facts, student, x)
        yield from _drawn(courses.scores(facts, student))
        yield from _differences(student, x)
        yield from _drawn(courses.majority(facts, student))


def _scores(facts: Facts, student: str, x: Json) -> Table:
    """Every metric on every test set; without them, pass@1 alone."""
    sets = x.get("sets") or {
        "test": {
            "pass@1": {BASE: x["base"], **(x.get("arms") or {})} if x.get("base") else x.get("arms") or {}
        }
    }
    columns = [(name, metric) for name, found in sets.items() for metric in found if metric != "gains"]
    versions = list(dict.fromkeys(v for name, metric in columns for v in sets[name][metric]))
    rows = [
        Row(
            f"{student}, not finetuned" if v == BASE else f"{student}, {v}",
            [figures.share(sets[name][metric].get(v)) for name, metric in columns],
            str((facts.datasets.get(v) or {}).get("matching") or ""),
        )
        for v in versions
    ]
    heads = [metric if len(sets) == 1 else f"{metric}, {name}" for name, metric in columns]
    return Table(f"{student} on {_sets(facts.evaluation or {})}.", ("Student, data", *heads), rows)


def _sets(evaluation: Json) -> str:
    sets = evaluation.get("sets") or {"test": evaluation}
    told = [
        f"{figures.count(s.get('problems'))} problems of {s.get('source', '')}, {s.get('split', '')} split"
        + (f" ({name})" if len(sets) > 1 else "")
        for name, s in sets.items()
    ]
    seeds = evaluation.get("seeds") or 1
    more = f", mean of {seeds} finetuning seeds" if seeds > 1 else ""
    return f"{figures.joined(told)}; {figures.count(evaluation.get('draws'))} draws per problem{more}"


def _differences(student: str, x: Json) -> list[Block]:
    """Every two datasets, paired over problems: points are absolute, the relative gain is of the second's score."""
    sets = x.get("sets") or {}
    gains = [(name, g) for name, found in sets.items() for g in found.get("gains") or []]
    gains = gains or [("test", d) for d in x.get("differences") or []]
    rows = [_gain(student, name if len(sets) > 1 else "", g) for name, g in gains if known(g.get("points"))]
    caption = "Gains between datasets, paired over problems and seeds: absolute in points, relative to the second. Where the interval holds 0 it is open. The last column says what was held equal."
    head = ("Data", "metric", "absolute", "relative", "teaches more", "held equal")
    main = [row for row in rows if row.cells[0].startswith("pass@1")]
    if not main or len(rows) <= MANY:
        return [Table(caption, head, rows, frozenset({4}))] if rows else []
    rest = [row for row in rows if row not in main]
    folded = Table(caption, head, rest, frozenset({4}), f"Gains in the other metrics of {student}")
    return [Table(caption, head, main, frozenset({4})), *([folded] if rest else [])]


def _gain(student: str, name: str, g: Json) -> Row:
    a, b, points = g["a"], g["b"], g["points"]
    ahead = "open" if points["low"] <= 0 <= points["high"] else a if points["value"] > 0 else b
    metric = f"{g.get('metric', 'pass@1')}{', ' + name if name else ''}"
    return Row(f"{a} minus {b}", [
        metric, figures.points(points), figures.gain(g.get("relative")), ahead, _equal(g.get("matching") or {}),
    ], student)  # fmt: skip


def _equal(matching: Json) -> str:
    """cost against rows; steps: what each dataset was matched by (in full under Datasets), and the trainings."""
    own = [str(said).partition(":")[0] for said in (matching.get("datasets") or {}).values()]
    kinds = " against ".join(dict.fromkeys(own))
    return "; ".join(filter(None, (kinds, str(matching.get("training") or "")))) or figures.NONE
