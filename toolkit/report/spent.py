"""Every dollar of a run, by cause, purpose and arm; and what the same draws cost at other prices."""

from collections.abc import Callable, Sequence
from itertools import groupby

from toolkit.report import figures, promised
from toolkit.report.blocks import Absent, Block, Row, Section, Table
from toolkit.report.books import Account, Books
from toolkit.report.facts import Facts, Json
from toolkit.types import PICO

OPEN, SETTLED = {"reserved", "sent"}, {"settled", "failed"}
MANY = 12  # rows from which a table is folded


def spend(facts: Facts, books: Books) -> Section:
    blocks: list[Block] = [] if facts.plan else [Absent("No plan yet", "plan")]
    if facts.arms and (facts.plan or facts.measured or books.draws):
        blocks.append(promised.actuals(facts, books))
    blocks += promised.forecast(facts)
    blocks += _ledger(facts, books)
    blocks += _repriced(facts)
    return Section("spend", "Plan and spend", blocks)


# -- the ledger


def _ledger(facts: Facts, books: Books) -> list[Block]:
    blocks: list[Block] = []
    if totals := _totals(facts, books):
        tail = ", evaluation and retries included" if books.last else ""
        rows = [Row(label, [text]) for label, text in totals]
        blocks.append(Table(f"The whole run{tail}.", ("Item", "amount"), rows))
    if books.accounts:
        blocks += [_causes(books), _by(books, lambda a: a.purpose, "purpose", "Purpose")]
        by_arm = _by(books, lambda a: f"{a.arm}, {a.purpose}", "model and purpose", "Arm, purpose")
        blocks.append(by_arm)
    if books.attempts:
        rows = [Row(state, [cause or figures.NONE, figures.count(n)]) for state, cause, n in books.attempts]
        head = ("State", "cause", "requests")
        blocks.append(Table("Requests by what became of them.", head, rows, frozenset({0})))
    return blocks


def _totals(facts: Facts, books: Books) -> list[tuple[str, str]]:
    """Money of the whole run, as label and text."""
    plan, budget = facts.plan or {}, (facts.run or {}).get("budget") or {}
    cap = budget.get("cap_usd") or budget.get("usd")
    settled, flying, uncertain = (
        [a for a in books.accounts if a.state in states] for states in (SETTLED, OPEN, {"uncertain"})
    )
    rows = [
        ("Worst case of the plan", figures.usd(plan.get("worst_case_usd")) if plan else ""),
        ("Cap", figures.usd(float(cap)) if cap is not None else ""),
        ("Settled", _money(settled) if books.last else ""),
        ("In flight", _money(flying) if flying else ""),
        ("Uncertain (fate unknown; counts against the cap)", _money(uncertain) if books.last else ""),
        ("Kept back for pilot and judge", figures.usd(plan["reserved_usd"]) if plan.get("reserved_usd") else ""),
        ("Left over by whole draws", _residual(plan.get("residual") or {})),
    ]  # fmt: skip
    return [(label, text) for label, text in rows if text]


def _money(own: Sequence[Account]) -> str:
    some = " (some attempts are unpriced)" if any(a.unpriced for a in own) else ""
    dollars = _cost(own)
    return dollars if dollars == figures.usd(None) else dollars + some


def _residual(residual: Json) -> str:
    value, unit = residual.get("amount"), str(residual.get("unit", ""))
    if value is None:
        return ""
    if unit == "usd":
        return figures.usd(value)
    return figures.flops(value) if unit == "flops" else f"{figures.count(value)} {unit}"


def _causes(books: Books) -> Table:
    """Where the money went that bought no usable draw; cut draws are part of what was answered."""
    settled = [a for a in books.accounts if a.state == "settled"]
    groups = [
        ("Answered at once", [a for a in settled if not a.retried]),
        ("Answered after a failed attempt, or a part of the draws later", [a for a in settled if a.retried]),
        ("Failed", [a for a in books.accounts if a.state in ("failed", "released")]),
        ("Uncertain: no word of its fate", [a for a in books.accounts if a.state == "uncertain"]),
        ("In flight", [a for a in books.accounts if a.state in OPEN]),
    ]
    rows = [
        Row(label, [_sum(own, "requests"), _cost(own), _part(own, books)]) for label, own in groups if own
    ]
    cut, pico = (sum(pair[i] for pair in books.truncated.values()) for i in (0, 1))
    if cut:
        note = "of what was answered; each draw’s part of its request"
        whole = Account("", "", "", False, 0, 0, {}, pico, 0)
        rows.append(
            Row(f"Cut at max_tokens: {cut:,} draws", ["", _cost([whole]), _part([whole], books)], note)
        )
    return Table("Spend by cause.", ("Cause", "requests", "dollars", "share"), rows)


def _part(own: Sequence[Account], books: Books) -> str:
    whole = sum(a.pico for a in books.accounts)
    return figures.percent(sum(a.pico for a in own) / whole) if whole else figures.NONE


def _by(books: Books, key: Callable[[Account], str], word: str, head: str) -> Table:
    found = sorted(books.accounts, key=key)
    rows = [_account(name, list(own), books) for name, own in groupby(found, key)]
    folded = f"Spend by {word}" if len(rows) > MANY else ""
    heads = (head, "requests", "tokens in", "of them cached", "tokens out", "dollars", "share")
    return Table(f"Spend by {word}.", heads, rows, folded=folded)


def _account(name: str, own: Sequence[Account], books: Books) -> Row:
    tokens = {kind: sum(a.tokens[kind] for a in own) for kind in ("prompt", "cached", "output", "thinking")}
    thought = f" ({figures.count(tokens['thinking'])} thinking)" if tokens["thinking"] else ""
    return Row(name, [
        _sum(own, "requests"), figures.count(tokens["prompt"]), figures.count(tokens["cached"]),
        figures.count(tokens["output"] + tokens["thinking"]) + thought, _cost(own), _part(own, books),
    ])  # fmt: skip


def _sum(own: Sequence[Account], field: str) -> str:
    return figures.count(sum(getattr(a, field) for a in own))


def _cost(own: Sequence[Account]) -> str:
    """Dollars; unpriced where nothing here has a price."""
    pico, unpriced = sum(a.pico for a in own), sum(a.unpriced for a in own)
    return figures.usd(None) if unpriced and not pico else figures.usd(pico / PICO)


# -- other prices


def _repriced(facts: Facts) -> list[Block]:
    found = facts.repriced
    if not found:
        return []
    told = found.get("repriced") or {}
    rows = [
        Row(arm, [
            figures.usd((facts.measured.get(arm) or {}).get("usd")), figures.usd(m.get("usd")),
            figures.money_range((facts.measured.get(arm) or {}).get("usd_per_correct")), figures.money_range(m.get("usd_per_correct")),
        ])
        for arm, m in (found.get("models") or {}).items()
    ]  # fmt: skip
    by = told.get("by") or "other prices"
    head = ("Arm", "spent", f"at {by}", "a correct draw", f"at {by}")
    caption = f"The same draws at {by}: a plan made at these prices would have bought other ones."
    return [Table(caption, head, rows)] if rows else []
