"""The pictures of what the arms' draws bought, and the numbers behind each of them."""

from collections.abc import Callable

from toolkit.report import figures, pictures
from toolkit.report.blocks import Figure
from toolkit.report.charts import Axes, Series
from toolkit.report.facts import Facts, Json
from toolkit.report.figures import known
from toolkit.report.forest import Entry

X_TITLES = {"usd": "dollars per problem", "flops": "FLOPs per problem", "k": "draws per problem"}


def coverage(facts: Facts) -> Figure | None:
    return _bought(
        facts, "coverage", "Coverage", "share of problems with a correct draw among k", pictures.share_mark
    )


def diversity(facts: Facts) -> Figure | None:
    what = "distinct correct solutions per problem among k draws"
    return _bought(facts, "diversity", "Distinct correct solutions", what, lambda y: f"{y:.3g}")


def _bought(
    facts: Facts, what: str, title: str, meaning: str, y_text: Callable[[float], str]
) -> Figure | None:
    """A curve per arm over what its draws cost; None before there are two points."""
    unit = axis(facts)
    rows = {arm: _curve(facts, arm) for arm in facts.arms}
    series = [
        Series(arm, [pictures.point(p[unit], p[what]) for p in curve if pictures.banded(p[what])])
        for arm, curve in rows.items()
    ]
    series = [s for s in series if s.points]
    if not any(len(s.points) > 1 for s in series):
        return None
    adaptive = [arm for arm in facts.measured if facts.adaptive(arm)]
    caption = f"{title}: {meaning}, against {X_TITLES[unit]} for k draws. Bands are 95 % intervals; the vertical axis need not begin at 0."
    if adaptive:
        caption += f" Of {figures.joined(adaptive)} only the draws that every problem got whatever came out are shown."
    numbers = [
        [arm, p["k"], p.get("usd"), p.get("flops"), *pictures.ends(p[what])]
        for arm, curve in rows.items()
        for p in curve
    ]
    axes = Axes(lambda x: _x_mark(unit, x), y_text)
    columns = ("arm", "k", "usd_per_problem", "flops_per_problem", what, "low", "high")
    return pictures.curved(
        pictures.Picture(what, f"{title} against {X_TITLES[unit]}", caption, X_TITLES[unit]),
        series,
        axes,
        (columns, numbers),
    )


def axis(facts: Facts) -> str:
    """usd or flops as matched, where every measured arm has some of it; else draws per problem."""
    unit = {"price": "usd", "flops": "flops"}.get(facts.match, "k")
    points = [p for arm in facts.measured for p in _curve(facts, arm)]
    return unit if points and all((p.get(unit) or 0) > 0 for p in points) else "k"


def _curve(facts: Facts, arm: str) -> list[Json]:
    """An arm's points up to the k it is compared at; each has k, usd, flops, coverage, diversity."""
    top = facts.k(arm) or 0
    return [p for p in facts.measured.get(arm, {}).get("curve") or () if p["k"] <= top]


def _x_mark(unit: str, x: float) -> str:
    if unit == "flops":
        return figures.flops(x).removesuffix("FLOPs").strip()
    return figures.usd(x).removesuffix(".00") if unit == "usd" else figures.count(x)


# -- levels, false positives


def by_group(facts: Facts, key: str) -> Figure | None:
    """Coverage by level or subject (`by_level`, `by_subject`), the arms below each other."""
    groups = sorted({g for m in facts.measured.values() for g in m.get(key) or {}}, key=natural)
    if len(groups) < 2:
        return None
    found = {
        group: [(arm, m[key][group]) for arm, m in facts.measured.items() if group in (m.get(key) or {})]
        for group in groups
    }
    series = {arm: i for i, arm in enumerate(facts.arms)}
    entries, numbers = [], []
    for group, rows in found.items():
        entries.append(Entry(f"{group} ({rows[0][1]['problems']} problems)"))
        entries += [
            pictures.entry(arm, x["coverage"], series[arm]) for arm, x in rows if known(x["coverage"])
        ]
        numbers += [[group, arm, x["problems"], x["k"], *pictures.ends(x["coverage"])] for arm, x in rows]
    word = key.removeprefix("by_")
    caption = f"Coverage by {word}, each arm at its own draws. Bars are 95 % intervals over the problems of a {word}."
    picture = pictures.Picture(
        f"coverage-{key.replace('_', '-')}", f"Coverage by {word}", caption, "coverage"
    )
    return pictures.forested(
        picture, entries, pictures.share_mark, ((word, "arm", "problems", "k", *pictures.VALUE), numbers)
    )


def natural(name: str) -> tuple[bool, float, str]:
    """Level 2 before level 10."""
    digits = "".join(c for c in name if c.isdigit())
    return (not digits, float(digits or 0), name)


def false_positives(facts: Facts) -> Figure | None:
    rates = {
        arm: m["false_positive_rate"]
        for arm, m in ((facts.audit or {}).get("models") or {}).items()
        if known(m.get("false_positive_rate"))
    }
    if not rates:
        return None
    entries = [pictures.entry(arm, x, i) for i, (arm, x) in enumerate(rates.items())]
    caption = "Share of correct draws whose reasoning is wrong. Bars are 95 % intervals."
    picture = pictures.Picture("false-positives", "False positive rate", caption, "false positive rate")
    return pictures.forested(
        picture,
        entries,
        pictures.share_mark,
        (("arm", *pictures.VALUE), [[a, *pictures.ends(x)] for a, x in rates.items()]),
    )
