"""What may be said of two estimates, and no more: who is ahead and by how much, or that neither is shown to be."""

from collections.abc import Mapping, Sequence

from toolkit.report import figures
from toolkit.report.facts import Json
from toolkit.report.figures import known

PAIRS = 3  # comparisons told one by one in a sentence; of more, those of the best


def compare(
    names: tuple[str, str], x: Json | None, y: Json | None, difference: Json | None, verb: str
) -> str:
    """What may be said of two estimates: who is ahead and by how much, or that neither is shown to be.

    `difference` is the paired one, first minus second; it decides where it is given.
    """
    a, b = names
    if difference is not None:
        if difference["low"] <= 0 <= difference["high"]:
            return (
                f"the paired difference, {a} minus {b}, is {figures.points(difference)}, "
                "which includes 0: not distinguishable"
            )
        better, by = (a, difference) if difference["value"] > 0 else (b, negative(difference))
        gain, low, high = (figures.decimal(100 * by[part]) for part in ("value", "low", "high"))
        return f"{better} {verb} {gain} points [{low}, {high}] more"
    if x is None or y is None or (x["low"] <= y["high"] and y["low"] <= x["high"]):
        return f"the intervals overlap, so neither is shown to be ahead: it is open which {verb} more"
    better = a if x["value"] > y["value"] else b
    gain = figures.decimal(100 * abs(x["value"] - y["value"]))
    return f"{better} {verb} {gain} points more (the intervals do not overlap)"


def paired(found: Sequence[Json], a: str, b: str, unit: str = "points") -> Json | None:
    """The paired difference of a over b among these, whichever way round it was stored."""
    for d in found:
        x: Json = d.get(unit) or {}
        if not known(x):
            continue
        if (d.get("a"), d.get("b")) == (a, b):
            return x
        if (d.get("b"), d.get("a")) == (a, b):
            return negative(x) if unit == "points" else _turned(x)
    return None


def negative(x: Json) -> Json:
    return {"value": -x["value"], "low": -x["high"], "high": -x["low"]}


def _turned(x: Json) -> Json | None:
    """A relative gain of a over b as one of b over a."""
    ends = {"value": x["value"], "low": x.get("high"), "high": x.get("low")}
    if ends["value"] <= -1:
        return None
    return {part: None if e is None or e <= -1 else 1 / (1 + e) - 1 for part, e in ends.items()}


def told(said: Mapping[tuple[str, str], str], scores: Mapping[str, Json], of: str = "") -> str:
    """All comparisons in a sentence; of more than three, those of the best with the others. `of` follows a name."""
    if len(said) <= PAIRS:
        return "; ".join(f"{a} against {b}: {text}" for (a, b), text in said.items())
    best, *others = sorted(scores, key=lambda name: -scores[name]["value"])
    against = {other: said.get((best, other)) or said[other, best] for other in others}
    level = [f"{other}{of}" for other, text in against.items() if _is_open(text)]
    behind = [other for other, text in against.items() if not _is_open(text)]
    if not behind:
        return f"{best}{of} is highest, but not shown to be ahead of any other"
    closest = f"{behind[0]}{of}: {against[behind[0]]}"
    if not level:
        return f"{best}{of} is ahead of each of the {len(others)} others, least of {closest}"
    return (
        f"{best}{of} is highest, but not shown to be ahead of {figures.joined(level)}; of the others it is ahead, "
        f"least of {closest}"
    )


def _is_open(text: str) -> bool:
    return "not distinguishable" in text or "it is open" in text
