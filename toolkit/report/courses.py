"""The pictures of the students: how they learned, and what they score."""

from collections.abc import Callable, Mapping, Sequence

from toolkit.report import figures, pictures
from toolkit.report.blocks import Cell, Figure
from toolkit.report.charts import Axes, Point, Series
from toolkit.report.facts import Facts, Json
from toolkit.report.figures import known
from toolkit.report.forest import Entry

LOSSES = 120  # points of a loss curve: each the mean of as many steps


def losses(facts: Facts, student: str) -> Figure | None:
    """Training loss on each dataset."""
    runs = {
        key: _thinned([(step, x) for step, x in enumerate(t.get("losses") or (), 1) if x is not None])
        for key, t in _trainings(facts, student).items()
    }
    caption = f"Training loss of {student} on each dataset: the mean of the seeds; the band is from their lowest to their highest."
    picture = pictures.Picture(f"loss-{student}", f"Training loss of {student}", caption, "step")
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
    picture = pictures.Picture(f"validation-{student}", f"Validation {by} of {student}", caption, "step")
    return _trained(picture, runs, by, pictures.share_mark if by == "pass@1" else lambda y: f"{y:.3g}")


def _trainings(facts: Facts, student: str) -> dict[tuple[str, int], Json]:
    """(dataset, seed) -> its record, in the order of the datasets."""
    own = sorted((facts.place(key[1]), key) for key in facts.trainings if key[0] == student)
    return {key[1:]: facts.trainings[key] for _, key in own if not facts.trainings[key].get("skipped")}


def _thinned(run: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most LOSSES points, each the mean of its stretch, at the stretch's last step."""
    size = -(-len(run) // LOSSES) or 1
    stretches = [run[i : i + size] for i in range(0, len(run), size)]
    return [(part[-1][0], sum(y for _, y in part) / len(part)) for part in stretches]


def _trained(
    picture: pictures.Picture,
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
    numbers: list[list[Cell]] = [
        [data, seed, step, y] for (data, seed), run in runs.items() for step, y in run
    ]
    axes = Axes(figures.count, y_text, log=False)
    return pictures.curved(picture, series, axes, (("dataset", "seed", "step", what), numbers))


def scores(facts: Facts, student: str) -> Figure | None:
    """pass@1 of the base and after each dataset, on every test set."""
    sets = facts.students[student].get("sets") or {}
    found = {name: x.get("pass@1") or {} for name, x in sets.items()}
    if not any(found.values()):
        return None
    entries, numbers = [], []
    for name, versions in found.items():
        entries.append(Entry(name))
        entries += [pictures.entry(v, x, facts.place(v)) for v, x in versions.items() if known(x)]
        numbers += [[name, v, *pictures.ends(x)] for v, x in versions.items()]
    caption = f"pass@1 of {student} after finetuning on each dataset, on each test set. Bars are 95 % intervals over problems and seeds; the paired differences in the table below decide, not the overlap of these bars."
    picture = pictures.Picture(f"pass-at-1-{student}", f"pass@1 of {student}", caption, "pass@1")
    return pictures.forested(
        picture, entries, pictures.share_mark, (("set", "data", *pictures.VALUE), numbers)
    )


def majority(facts: Facts, student: str) -> Figure | None:
    """maj@k on the first test set."""
    sets: Json = facts.students[student].get("sets") or {"": {}}
    named = next(iter(sets.items()))
    votes = {int(m.removeprefix("maj@")): x for m, x in named[1].items() if m.startswith("maj@")}
    versions = sorted({v for x in votes.values() for v in x}, key=lambda v: (facts.place(v), v))
    series = [
        Series(v, [pictures.point(k, votes[k][v]) for k in sorted(votes) if pictures.banded(votes[k].get(v))])
        for v in versions
    ]
    if not any(len(s.points) > 1 for s in series):
        return None
    caption = f"Majority vote of k answers (maj@k) of {student} on {named[0]}, by the data it was finetuned on. Bands are 95 % intervals."
    numbers = [[k, v, *pictures.ends(x)] for k in sorted(votes) for v, x in votes[k].items()]
    picture = pictures.Picture(f"maj-{student}", f"maj@k of {student}", caption, "answers that vote (k)")
    axes = Axes(figures.count, pictures.share_mark, log=True if min(votes) > 0 else None)
    return pictures.curved(
        picture, [s for s in series if s.points], axes, (("k", "data", *pictures.VALUE), numbers)
    )
