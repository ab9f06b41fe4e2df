"""What the arms' draws bought: the comparison, levels, outcomes, false positives."""

from collections.abc import Callable, Sequence
from itertools import combinations

from toolkit.report import figures, findings, plots
from toolkit.report.blocks import Absent, Block, Figure, Note, Row, Section, Table
from toolkit.report.facts import Facts, Json
from toolkit.report.figures import known
from toolkit.types import Outcome

OUTCOMES = (*(o.value for o in Outcome), "unverified")


def comparison(facts: Facts) -> Section:
    blocks: list[Block] = [Absent("No measurements yet", "measure")]
    if facts.measured:
        drawn = (plots.coverage(facts), plots.diversity(facts))
        blocks = [_measures(facts), *_present(drawn), *_differences(facts)]
    return Section("comparison", "Comparison", blocks)


def _present(found: Sequence[Figure | None]) -> list[Figure]:
    return [figure for figure in found if figure is not None]


def _measures(facts: Facts) -> Table:
    """A row per measure, so that it fits a narrow screen."""
    matched = findings.MATCHES.get(facts.match, facts.match)
    arms = facts.arms
    caption = f"The arms at equal {matched}. Brackets hold 95 % intervals over problems."
    rows = [Row(label, [cell(arm) for arm in arms], note, main) for label, note, cell, main in _wanted(facts)]
    return Table(caption, ("Measure", *arms), [row for row in rows if set(row.cells) != {figures.NONE}])


def _computed(facts: Facts) -> str:
    """Which terms the FLOPs hold."""
    parts = [part for m in facts.measured.values() for part in m.get("parts") or ()]
    more = sorted({term for part in parts for term in part.get("flops_terms") or ()})
    return " + ".join(["2 × active parameters × output tokens", *more])


def _wanted(facts: Facts) -> list[tuple[str, str, Callable[[str], str], bool]]:
    """(label, what it means, its cell for an arm, whether the verdict rests on it)."""
    div = facts.diversity

    def m(arm: str) -> Json:
        return facts.measured.get(arm, {})

    adaptive = any(facts.adaptive(arm) for arm in facts.measured)
    return [
        ("Model", "", lambda a: findings.model_of(facts, a), False),
        ("Draws per problem", "k below; an average where outcomes decide", lambda a: _draws(facts, a), False),
        ("Spent", "dollars", lambda a: figures.usd(m(a).get("usd")) if m(a) else figures.NONE, False),
        ("Computed", _computed(facts), lambda a: figures.flops(m(a).get("flops")), False),
        ("Coverage@k", "problems with a correct draw among k", lambda a: _at_k(facts, a), not adaptive),
        ("Solved", "problems with any correct draw", lambda a: figures.share(m(a).get("solved")), adaptive),
        ("Coverage@1", "a single draw is correct",
         lambda a: figures.share((m(a).get("coverage") or {}).get("1")), False),
        ("Guessing covers", "the k most common answers", lambda a: _guessed(facts, a, "baseline"), False),
        ("Coverage above guessing", "0 for an arm that guesses", lambda a: _guessed(facts, a, "adjusted"), False),
        ("Correct draws", "per solved problem", lambda a: figures.quantity(div(a).get("per_solved")), False),
        ("Distinct correct draws", "per solved problem",
         lambda a: figures.quantity(div(a).get("unique_per_solved")), False),
        ("Distinct correct draws", "per problem", lambda a: figures.quantity(div(a).get("unique_per_problem")), False),
        ("Distinct calculations", "per solved problem",
         lambda a: figures.quantity(div(a).get("equations_per_solved")), False),
        ("Cost of a correct draw", "dollars", lambda a: figures.money_range(m(a).get("usd_per_correct")), False),
        ("Cost of a distinct one", "dollars", lambda a: figures.money_range(m(a).get("usd_per_distinct")), False),
        ("Cost of a correct draw", "FLOPs", lambda a: figures.flops_range(m(a).get("flops_per_correct")), False),
        ("Truncated", "cut at max_tokens", lambda a: figures.percent(m(a).get("truncated")), False),
        ("False positives", "right answer, wrong reasoning", lambda a: false_positives(m(a)), False),
    ]  # fmt: skip


def _draws(facts: Facts, arm: str) -> str:
    return findings.draws_of(facts, arm) if facts.k(arm) is not None else figures.NONE


def _at_k(facts: Facts, arm: str) -> str:
    said = figures.share(facts.coverage(arm))
    return f"{said} @{facts.k(arm)}" if facts.adaptive(arm) and said != figures.NONE else said


def _guessed(facts: Facts, arm: str, what: str) -> str:
    found = facts.measured.get(arm, {}).get("guess_baseline") or {}
    return figures.share((found.get(str(facts.k(arm))) or {}).get(what))


def false_positives(m: Json) -> str:
    x = m.get("false_positive_rate")
    if not m:
        return figures.NONE
    return "not measured" if x is None else figures.share(x) if isinstance(x, dict) else figures.percent(x)


def _differences(facts: Facts) -> list[Block]:
    """Every two arms, paired by problem: what the verdict rests on."""
    pairs = {(a, b): findings.between(facts, a, b) for a, b in combinations(findings.compared(facts), 2)}
    rows = [
        Row(f"{a} minus {b}", [figures.points(x), _decided(x, a, b)])
        for (a, b), x in pairs.items()
        if x is not None
    ]
    caption = "Paired differences in the share of problems, each arm at its own draws."
    return [Table(caption, ("Arms", "difference", "shown to be ahead"), rows)] if rows else []


def _decided(x: Json, a: str, b: str) -> str:
    return "open" if x["low"] <= 0 <= x["high"] else a if x["value"] > 0 else b


# -- levels and outcomes


def levels(facts: Facts) -> Section | None:
    drawn = [figure for key in ("by_level", "by_subject") if (figure := plots.by_group(facts, key))]
    blocks: list[Block] = []
    for figure in drawn:
        blocks += [figure, _groups(facts, "by_level" if figure.name.endswith("level") else "by_subject")]
    return Section("levels", "By level", blocks) if blocks else None


def _groups(facts: Facts, key: str) -> Table:
    arms = [arm for arm in facts.measured if facts.measured[arm].get(key)]
    names = sorted({g for arm in arms for g in facts.measured[arm][key]}, key=plots.natural)
    word = key.removeprefix("by_")
    rows = [Row(name, [_group(facts.measured[arm][key].get(name)) for arm in arms]) for name in names]
    caption = f"Coverage by {word}, and in parentheses distinct correct solutions per problem."
    return Table(caption, (word, *arms), rows, folded=f"Numbers by {word}")


def _group(x: Json | None) -> str:
    if x is None or not known(x.get("coverage")):
        return figures.NONE
    distinct = x.get("unique_per_problem")
    more = f" ({figures.decimal(distinct['value'], 2)})" if distinct and known(distinct) else ""
    return figures.percent(x["coverage"]["value"]) + more + figures.share(x["coverage"]).partition(" %")[2]


def outcomes(facts: Facts) -> Section:
    if not facts.measured:
        return Section("outcomes", "Outcomes", [Absent("No verdicts yet", "verify")])
    rows = [
        Row(arm, [_counted(m.get("outcomes") or {}, outcome) for outcome in OUTCOMES])
        for arm, m in facts.measured.items()
    ]
    caption = f"How each draw was judged, by its final answer{_verifier(facts)}."
    return Section("outcomes", "Outcomes", [Table(caption, ("Arm", *OUTCOMES), rows)])


def _verifier(facts: Facts) -> str:
    used = (facts.metrics or {}).get("verifier") or {}
    return f" (verifier {used['name']} {used['version']})" if used else ""


def _counted(outcomes: Json, name: str) -> str:
    """1,234 (56.7 %)"""
    n, total = outcomes.get(name), sum(outcomes.values())
    return (
        figures.NONE if n is None else f"{n:,}" + (f" ({figures.percent(n / total)})" if n and total else "")
    )


# -- false positives


def reasoning(facts: Facts) -> Section | None:
    """What labels of people and of a judge say of correct draws; None where nobody looked."""
    audit = facts.audit
    if audit is None:
        return None
    blocks: list[Block] = [_rates(audit)]
    blocks += _present([plots.false_positives(facts)])
    blocks += [Note(str(d["says"])) for d in audit.get("differences") or [] if d.get("says")]
    blocks += _judge(audit)
    return Section("reasoning", "False positives", blocks)


def _rates(audit: Json) -> Table:
    rows = [
        Row(arm, [
            figures.share(m.get("false_positive_rate")), str(m.get("from") or "not labelled"),
            _labels(m.get("human")), _labels(m.get("judge")), figures.share(m.get("per_problem")),
        ])
        for arm, m in (audit.get("models") or {}).items()
    ]  # fmt: skip
    caption = f"False positive rate: {audit.get('definition') or 'correct draws whose reasoning is wrong'}."
    head = ("Arm", "rate", "from", "flawed / labelled by people", "by the judge", "a solved problem’s mean")
    return Table(caption, head, rows)


def _labels(x: Json | None) -> str:
    return f"{x['flawed']} / {x['labels']}" if x and x.get("labels") else figures.NONE


def _judge(audit: Json) -> list[Block]:
    skill, said = audit.get("judge"), []
    if skill:
        said.append(
            f"The judge finds {figures.share(skill.get('sensitivity'))} of the flawed solutions and passes "
            f"{figures.share(skill.get('specificity'))} of the sound ones, by the labels of people."
        )
    if audit.get("judge_version"):
        said.append(f"Judge: {audit['judge_version']}.")
    if audit.get("warning"):
        said.append(f"Warning: {audit['warning']}.")
    return [Note(" ".join(said))] if said else []
