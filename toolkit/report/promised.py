"""What was promised and what came: the plan against the bill, and the pilot's forecast against the measurement."""

from collections.abc import Callable, Sequence

from toolkit.report import figures
from toolkit.report.blocks import Block, Note, Row, Table
from toolkit.report.books import Books
from toolkit.report.facts import Facts, Json
from toolkit.report.figures import known


def actuals(facts: Facts, books: Books) -> Table:
    def plan(arm: str) -> Json:
        return facts.planned.get(arm, {})

    def got(arm: str) -> Json:
        return facts.measured.get(arm, {})

    wanted: list[tuple[str, Callable[[str], str]]] = [
        ("Draws, planned", lambda a: _planned_draws(facts, a)),
        ("Draws, actual", lambda a: figures.count(_drawn(facts, books, a))),
        ("Dollars, planned", lambda a: figures.usd(plan(a).get("usd")) if plan(a) else figures.NONE),
        ("Dollars, actual", lambda a: figures.usd(got(a).get("usd")) if got(a) else figures.NONE),
        ("of them GPU time, planned", lambda a: _gpu(plan(a))),
        ("FLOPs, planned", lambda a: figures.flops(plan(a).get("flops")) if plan(a) else figures.NONE),
        ("FLOPs, actual", lambda a: figures.flops(got(a).get("flops")) if got(a) else figures.NONE),
        ("Output tokens per draw, planned", lambda a: figures.count(plan(a).get("output_tokens"))),
        ("Output tokens per draw, actual", lambda a: figures.count(_tokens_per_draw(got(a)))),
        ("Requests", lambda a: figures.count(got(a).get("requests"))),
    ]
    rows = [Row(label, [cell(arm) for arm in facts.arms]) for label, cell in wanted]
    rows = [row for row in rows if set(row.cells) != {figures.NONE}]
    return Table("What was planned, and what it came to.", ("Measure", *facts.arms), rows)


def _planned_draws(facts: Facts, arm: str) -> str:
    plan, problems = facts.planned.get(arm, {}), (facts.plan or {}).get("problems")
    if plan.get("draws") is not None:
        return figures.count(plan["draws"])
    k = plan.get("draws_per_problem")
    if not problems or k is None:
        return figures.NONE
    return f"about {figures.count(problems * k)}" if "draws" in plan else figures.count(problems * k)


def _drawn(facts: Facts, books: Books, arm: str) -> float | None:
    found = [books.draws[part] for part in facts.parts(arm) if part in books.draws]
    return sum(found) if found else facts.measured.get(arm, {}).get("draws")


def _gpu(plan: Json) -> str:
    return figures.NONE if plan.get("gpu_usd") is None else figures.usd(plan["gpu_usd"])


def _tokens_per_draw(m: Json) -> float | None:
    tokens, draws = m.get("tokens") or {}, m.get("draws")
    if not draws or tokens.get("output") is None:
        return None
    return float((tokens["output"] + (tokens.get("thinking") or 0)) / draws)


# -- the forecast


def forecast(facts: Facts) -> list[Block]:
    """What the pilot promised, beside what came; and what other budgets and policies were expected to buy."""
    found = (facts.plan or {}).get("forecast") or {}
    if not found:
        return []
    rows = [
        Row(arm, [
            bought.get("policy") or "", figures.share(bought.get("coverage")), figures.share(facts.reached(arm)),
            _inside(bought.get("coverage"), facts.reached(arm)),
            figures.usd(bought.get("usd")), figures.usd((facts.measured.get(arm) or {}).get("usd")),
        ])
        for arm, bought in (found.get("arms") or {}).items() if arm in facts.measured
    ]  # fmt: skip
    head = ("Arm", "policy", "coverage, forecast", "measured", "came out", "dollars, forecast", "spent")
    caption = (
        "What the pilot let expect, and what came. Brackets hold 95 % intervals: of the forecast for these problems, "
        "of what was measured over problems."
    )
    blocks: list[Block] = [Table(caption, head, rows, frozenset({0}))] if rows else []
    blocks += [Note(text) for flip in found.get("break_even") or [] if (text := _flip(flip))]
    blocks += _budgets(found, facts.arms)
    return blocks + _alternatives(found)


def _inside(promised: Json | None, came: Json | None) -> str:
    if not promised or not came or not known(promised) or not known(came):
        return figures.NONE
    if promised["low"] <= came["value"] <= promised["high"]:
        return "inside"
    return "above" if came["value"] > promised["high"] else "below"


def _flip(flip: Json) -> str:
    if flip.get("flips_at") is None or flip.get("now") is None:
        return ""
    return (
        f"A draw of {flip['stronger']} costs {flip['now']:.1f} times one of {flip['weaker']}; by the pilot, "
        f"{flip['weaker']} covers more once it costs over {flip['flips_at']:.1f} times as much."
    )


def _budgets(found: Json, arms: Sequence[str]) -> list[Block]:
    budgets = found.get("budgets") or []
    arms = [arm for arm in arms if any((b.get("coverage") or {}).get(arm) for b in budgets)]
    rows = [
        Row(
            f"{b['times']:g} ×",
            [*(figures.share((b["coverage"] or {}).get(arm)) for arm in arms), b.get("verdict") or "open"],
        )
        for b in budgets
    ]
    caption = "Coverage forecast at other budgets, and the arm that then covers most."
    head = ("Budget", *arms, "covers most")
    return [Table(caption, head, rows, folded="Forecast at other budgets")] if rows else []


def _alternatives(found: Json) -> list[Block]:
    rows = [
        Row(x["policy"], [figures.share(x.get("coverage")), figures.quantity(x.get("distinct")), figures.usd(x.get("usd"))])
        for x in found.get("alternatives") or []
    ]  # fmt: skip
    caption = "What one arm’s share was expected to buy under other policies."
    head = ("Policy", "coverage", "distinct correct draws per problem", "dollars")
    return [Table(caption, head, rows, folded="Forecast of other policies")] if rows else []
