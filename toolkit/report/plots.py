"""The pictures of a run: which estimates stand in which chart, and the numbers behind each of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from toolkit.report import charts, figures
from toolkit.report.blocks import Cell, Figure
from toolkit.report.charts import Axes, Point, Series
from toolkit.report.facts import Facts, Json
from toolkit.report.figures import known
from toolkit.report.forest import Entry, forest

SIZES = ((690, 390), (350, 310))  # pixels: wide and narrow screens
X_TITLES = {"usd": "dollars per problem", "flops": "FLOPs per problem", "k": "draws per problem"}
LOSSES = 120  # points of a loss curve: each the mean of as many steps
Numbers = Sequence[Sequence[Cell]]


# -- what the arms' draws bought


def coverage(facts: Facts) -> Figure | None:
    return _bought(facts, "coverage", "Coverage", "share of problems with a correct draw among k", _share_mark)


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
        Series(arm, [_point(p[unit], p[what]) for p in curve if _banded(p[what])])
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
        [arm, p["k"], p.get("usd"), p.get("flops"), *_ends(p[what])]
        for arm, curve in rows.items()
        for p in curve
    ]
    axes = Axes(lambda x: _x_mark(unit, x), y_text)
    columns = ("arm", "k", "usd_per_problem", "flops_per_problem", what, "low", "high")
    return _curves(
        Picture(what, f"{title} against {X_TITLES[unit]}", caption, X_TITLES[unit]), series, axes, (columns, numbers)
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
        entries += [_entry(arm, x["coverage"], series[arm]) for arm, x in rows if known(x["coverage"])]
        numbers += [[group, arm, x["problems"], x["k"], *_ends(x["coverage"])] for arm, x in rows]
    word = key.removeprefix("by_")
    caption = f"Coverage by {word}, each arm at its own draws. Bars are 95 % intervals over the problems of a {word}."
    picture = Picture(f"coverage-{key.replace('_', '-')}", f"Coverage by {word}", caption, "coverage")
    return _forest(picture, entries, _share_mark, ((word, "arm", "problems", "k", *VALUE), numbers))


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
    entries = [_entry(arm, x, i) for i, (arm, x) in enumerate(rates.items())]
    caption = "Share of correct draws whose reasoning is wrong. Bars are 95 % intervals."
    picture = Picture("false-positives", "False positive rate", caption, "false positive rate")
    return _forest(picture, entries, _share_mark, (("arm", *VALUE), [[a, *_ends(x)] for a, x in rates.items()]))


# -- students


def losses(facts: Facts, student: str) -> Figure | None:
    """Training loss on each dataset."""
    runs = {
        key: _thinned([(step, x) for step, x in enumerate(t.get("losses") or (), 1) if x is not None])
        for key, t in _trainings(facts, student).items()
    }
    caption = f"Training loss of {student} on each dataset: the mean of the seeds; the band is from their lowest to their highest."
    picture = Picture(f"loss-{student}", f"Training loss of {student}", caption, "step")
    return _trained(picture, runs, "loss", lambda y: f"{y:.3g}")


def validation(facts: Facts, student: str) -> Figure | None:
    """The checkpoints that could be chosen, by their score on the validation problems."""
    trainings = _trainings(facts, student)
    by = next((str(t["select_by"]) for t in trainings.values() if t.get("select_by")), "")
    runs = {
        key: [(c["step"], c[by]) for c in t.get("candidates") or () if c.get(by) is not None]
        for key, t in trainings.items()
    }
    caption = f"Validation {by} of {student}’s checkpoints, by which one of them was chosen: the mean of the seeds; the band is from their lowest to their highest."
    picture = Picture(f"validation-{student}", f"Validation {by} of {student}", caption, "step")
    return _trained(picture, runs, by, _share_mark if by == "pass@1" else lambda y: f"{y:.3g}")


def _trainings(facts: Facts, student: str) -> dict[tuple[str, int], Json]:
    """(dataset, seed) -> its record."""
    return {key[1:]: t for key, t in facts.trainings.items() if key[0] == student and not t.get("skipped")}


def _thinned(run: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most LOSSES points, each the mean of its stretch, at the stretch's last step."""
    size = -(-len(run) // LOSSES) or 1
    stretches = [run[i : i + size] for i in range(0, len(run), size)]
    return [(part[-1][0], sum(y for _, y in part) / len(part)) for part in stretches]


def _trained(
    picture: "Picture",
    runs: Mapping[tuple[str, int], Sequence[tuple[int, float]]],
    what: str,
    y_text: Callable[[float], str],
) -> Figure | None:
    """A curve per dataset; None before one has two points."""
    series = []
    for data in dict.fromkeys(data for data, _ in runs):
        steps: dict[int, list[float]] = {}
        for step, y in (point for (name, _), run in runs.items() if name == data for point in run):
            steps.setdefault(step, []).append(y)
        points = [Point(s, sum(ys) / len(ys), min(ys), max(ys)) for s, ys in sorted(steps.items())]
        series += [Series(data, points)] if points else []
    if not any(len(s.points) > 1 for s in series):
        return None
    numbers = [[data, seed, step, y] for (data, seed), run in runs.items() for step, y in run]
    axes = Axes(figures.count, y_text, log=False)
    return _curves(picture, series, axes, (("dataset", "seed", "step", what), numbers))


def scores(facts: Facts, student: str) -> Figure | None:
    """pass@1 of the base and after each dataset, on every test set."""
    sets = facts.students[student].get("sets") or {}
    found = {name: x.get("pass@1") or {} for name, x in sets.items()}
    if not any(found.values()):
        return None
    entries, numbers = [], []
    for name, versions in found.items():
        entries.append(Entry(name))
        entries += [_entry(v, x, i) for i, (v, x) in enumerate(versions.items()) if known(x)]
        numbers += [[name, v, *_ends(x)] for v, x in versions.items()]
    caption = f"pass@1 of {student} after finetuning on each dataset, on each test set. Bars are 95 % intervals over problems and seeds; the paired differences in the table below decide, not the overlap of these bars."
    picture = Picture(f"pass-at-1-{student}", f"pass@1 of {student}", caption, "pass@1")
    return _forest(picture, entries, _share_mark, (("set", "data", *VALUE), numbers))


def majority(facts: Facts, student: str) -> Figure | None:
    """maj@k on the first test set."""
    named = next(iter((facts.students[student].get("sets") or {}).items()), ("", {}))
    votes = {int(m.removeprefix("maj@")): x for m, x in named[1].items() if m.startswith("maj@")}
    versions = list(dict.fromkeys(v for x in votes.values() for v in x))
    series = [
        Series(v, [_point(k, votes[k][v]) for k in sorted(votes) if _banded(votes[k].get(v))]) for v in versions
    ]
    if not any(len(s.points) > 1 for s in series):
        return None
    caption = f"Majority vote of k answers (maj@k) of {student} on {named[0]}, by the data it was finetuned on. Bands are 95 % intervals."
    numbers = [[k, v, *_ends(x)] for k in sorted(votes) for v, x in votes[k].items()]
    picture = Picture(f"maj-{student}", f"maj@k of {student}", caption, "answers that vote (k)")
    axes = Axes(figures.count, _share_mark, log=True if min(votes) > 0 else None)
    return _curves(picture, [s for s in series if s.points], axes, (("k", "data", *VALUE), numbers))


# -- inside

VALUE = ("value", "low", "high")


@dataclass(frozen=True, slots=True)
class Picture:
    """What is written around a chart."""

    name: str
    title: str
    caption: str
    x_title: str


def _curves(
    picture: Picture, series: Sequence[Series], axes: Axes, table: tuple[Sequence[str], Numbers]
) -> Figure:
    wide, narrow = (charts.chart(series, *size, axes) for size in SIZES)
    titled = picture.x_title + (", logarithmic" if wide.log else "")
    return Figure(picture.name, picture.title, picture.caption, titled, wide, narrow, *table)


def _forest(
    picture: Picture, entries: Sequence[Entry], text: Callable[[float], str], table: tuple[Sequence[str], Numbers]
) -> Figure | None:
    if all(entry.value is None for entry in entries):
        return None
    wide, narrow = (forest(entries, width, text) for width, _ in SIZES)
    return Figure(picture.name, picture.title, picture.caption, picture.x_title, wide, narrow, *table)


def _entry(label: str, x: Json, series: int) -> Entry:
    return Entry(label, x["value"], x.get("low"), x.get("high"), series)


def _point(x: float, y: Json) -> Point:
    return Point(x, y["value"], y["low"], y["high"])


def _banded(x: Json | None) -> bool:
    return x is not None and known(x) and x.get("low") is not None and x.get("high") is not None


def _ends(x: Json | None) -> list[float | None]:
    return [(x or {}).get(part) for part in VALUE]


def _share_mark(y: float) -> str:
    return f"{round(100 * y, 1):g} %"
