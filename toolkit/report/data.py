"""The datasets: what each was made of, what was held equal between them, and what was left out and why."""

from toolkit.report import figures
from toolkit.report.blocks import Absent, Block, Listing, Note, Row, Section, Table
from toolkit.report.facts import Facts, Json, Removed

QUOTE = 120  # characters shown of what was removed


def datasets(facts: Facts) -> Section:
    blocks: list[Block] = [Absent("No datasets yet", "dataset")]
    if facts.datasets:
        blocks = [_made(facts), *_removed(facts)]
    return Section("datasets", "Datasets", blocks)


def _made(facts: Facts) -> Table:
    order = {name: i for i, name in enumerate(facts.arms)}
    named = sorted(facts.datasets.items(), key=lambda pair: order.get(pair[0], len(order)))
    rows = [_row(name, d) for name, d in named]
    controls = any(d.get("control") for _, d in named)
    caption = "One row per solution that was kept. No two datasets are alike in everything: the last column says in what they were matched."
    if controls:
        caption += " Controls were made from the same draws to tell apart what the arms’ own datasets change together."
    head = ("Dataset", "rows", "distinct", "human", "problems", "per problem", "left out", "matched by")
    return Table(caption, head, rows, frozenset({6}))


def _row(name: str, d: Json) -> Row:
    made = f"control, from {figures.joined(list(d.get('arms') or ()))}" if d.get("control") else ""
    if d.get("control") and not d.get("arms"):
        made = "control, from human solutions"
    matching = str(d.get("matching") or "not stated")
    if d.get("skipped"):
        return Row(name, [*[figures.NONE] * 6, f"skipped: {d['skipped']}"], made)
    rows, problems, dropped = d.get("rows"), d.get("problems"), d.get("dropped") or {}
    each = figures.decimal(rows / problems, 2) if rows and problems else figures.NONE
    return Row(name, [
        figures.count(rows), figures.count(d.get("distinct", rows)), figures.count(d.get("human")),
        figures.count(problems), each, figures.count(sum(dropped.values())), matching,
    ], made)  # fmt: skip


def _removed(facts: Facts) -> list[Block]:
    """Why solutions were left out, counted; and of what was screened out, examples with their evidence."""
    whys = sorted({why for d in facts.datasets.values() for why in d.get("dropped") or {}})
    rows = [
        Row(name, [figures.count((d.get("dropped") or {}).get(why, 0)) for why in whys])
        for name, d in facts.datasets.items()
        if any((d.get("dropped") or {}).values())
    ]
    blocks: list[Block] = []
    if rows:
        blocks.append(Table("Solutions left out, by reason.", ("Dataset", *whys), rows))
    for name, reasons in facts.removed.items():
        for why, found in reasons.items():
            blocks += _evidence(name, why, found)
    return blocks


def _evidence(name: str, why: str, found: Removed) -> list[Block]:
    more = f", {found.rows:,} rows" if found.rows else ""
    told = f"{name}, {why}: {found.lines:,} lines in removed.jsonl{more}. For example:"
    return [Note(told), Listing([_example(x) for x in found.examples])]


def _example(line: Json) -> str:
    """Key by key, as the file has it."""
    said = [
        f"{key} {str(value)[:QUOTE]}" for key, value in line.items() if key != "why" and value is not None
    ]
    return ", ".join(said)
