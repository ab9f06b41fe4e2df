"""Two budgets of the paper in miniature as one text: what they bought, what it taught, and what the paper says.

    python examples/paper-mini/compare.py runs/paper-mini-low runs/paper-mini-high

Prints Markdown and writes it beside the run directories, as `paper-mini.md`, with `paper-mini.json`. Every
figure stands with its 95 % interval. Reads what `pricematch run` wrote; asks nobody.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolkit import config, false_positives, problems, soundness
from toolkit.ledger import Reader
from toolkit.report import figures
from toolkit.types import Estimate

Json = Mapping[str, Any]
METRICS = ("pass@1", "maj@4", "maj@8", "maj@16")
AHEAD = (  # of each pair the paper has the first ahead (arXiv 2408.16737, Figs 4, 5 and 8)
    ("wc", "se", "matched by cost"),
    ("wc", "human", "against worked solutions"),
    ("se", "human", "against worked solutions"),
    ("se", "wc-number-matched", "matched by number"),
)


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run directory."""

    directory: Path
    metrics: Json
    evaluation: Json
    flawed: Mapping[str, Estimate]  # arm -> share of its correct draws
    labels: Mapping[str, int]  # arm -> its correct draws

    @property
    def name(self) -> str:
        return self.directory.name.removeprefix("paper-mini-")


@dataclass(frozen=True, slots=True)
class Claim:
    """What the paper found, and the same difference here; positive is the paper's direction."""

    budget: str
    about: str
    what: str
    points: Json
    relative: Json | None = None

    @property
    def verdict(self) -> str:
        """Only an interval that leaves out 0 says anything."""
        if self.points["low"] > 0:
            return "as in the paper"
        return "the other way round" if self.points["high"] < 0 else "open"


def load(directory: Path) -> Run:
    metrics, evaluation = (
        json.loads((directory / name).read_text(encoding="utf-8"))
        for name in ("metrics.json", "evaluation.json")
    )
    checked = {arm: _checked(directory, arm) for arm in metrics["models"]}
    shares = {arm: share(flaws) for arm, flaws in checked.items() if flaws}
    return Run(directory, metrics, evaluation, shares, {arm: len(flaws) for arm, flaws in checked.items()})


def _checked(directory: Path, arm: str) -> list[tuple[str, bool]]:
    """(problem, whether it is flawed) of every correct draw of an arm."""
    run, _ = config.load(directory)
    known = {p.id: p for p in problems.load(run.problems).problems}
    sql = (
        "SELECT p.key, t.text FROM draw d JOIN arm a ON a.id=d.arm JOIN problem p ON p.id=d.problem "
        "JOIN draw_text t ON t.draw=d.id WHERE a.name=? AND EXISTS "
        "(SELECT 1 FROM verdict v WHERE v.draw=d.id AND v.outcome='correct') ORDER BY d.id"
    )
    with Reader(directory / "ledger.sqlite") as reader:
        return [
            (key, soundness.flaw(known[key].question, text, known[key].answer or "") is not None)
            for key, text in reader.rows(sql, (arm,))
        ]


def share(flaws: Sequence[tuple[str, bool]]) -> Estimate:
    """The share of flawed ones; the draws of a problem are one cluster."""
    keys, flawed = zip(*flaws, strict=True)
    _, cluster = np.unique(keys, return_inverse=True)
    return false_positives.share(np.array(flawed, float), np.ones(len(flaws)), cluster).estimate


# -- what came out


def bought(run: Run) -> Iterator[tuple[str, ...]]:
    for arm, found in run.metrics["models"].items():
        k = str(found["planned"])
        yield (
            run.name,
            arm,
            k,
            figures.flops(found["flops"]),
            figures.share(found["coverage"][k]),
            figures.quantity(found["diversity"][k]["unique_per_solved"]),
            figures.share(asdict(run.flawed[arm])) if arm in run.flawed else figures.NONE,
        )


def taught(run: Run) -> Iterator[tuple[str, ...]]:
    for student, found in run.evaluation["students"].items():
        test = found["sets"]["test"]
        for version in test["pass@1"]:
            yield (run.name, student, version, *(figures.share(test[metric][version]) for metric in METRICS))


def claims(run: Run) -> Iterator[Claim]:
    pair = next(d for d in run.metrics["differences"] if (d["a"], d["b"]) == ("wc", "se"))
    yield Claim(run.name, "data", "coverage of wc over se", pair["points"])
    if {"wc", "se"} <= run.flawed.keys():
        labels = min(run.labels["wc"], run.labels["se"])
        more = false_positives.difference(run.flawed["wc"], run.flawed["se"], labels)
        yield Claim(run.name, "data", "flawed among correct, wc over se", asdict(more.points))
    for student, found in run.evaluation["students"].items():
        for gain in found["differences"]:
            for a, b, how in AHEAD:
                if (gain["a"], gain["b"]) == (a, b):
                    what = f"{a} over {b}, {how}"
                    yield Claim(run.name, student, what, gain["points"], gain["relative"])


# -- as text


def table(head: Sequence[str], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def text(runs: Sequence[Run]) -> str:
    """All runs in three tables."""
    test = runs[0].evaluation
    found = [claim for run in runs for claim in claims(run)]
    told = [c for c in found if c.about != "data"]
    counts = {
        word: sum(c.verdict == word for c in told)
        for word in ("as in the paper", "open", "the other way round")
    }
    return "\n\n".join(
        [
            "What equal FLOPs bought; brackets are 95 % intervals. Flawed: a right answer from calculations that are "
            "untrue or use numbers the problem does not give (a lower bound).",
            table(
                ("budget", "data", "draws per problem", "FLOPs", "coverage", "distinct correct per solved", "flawed"),
                (row for run in runs for row in bought(run)),
            ),
            f"What it taught: {test['seeds']} finetunings of each student on each data, {test['problems']} held-out problems, "
            f"{test['draws']} answers to each; intervals over problems and seeds.",
            table(
                ("budget", "student", "data", *METRICS),
                (row for run in runs for row in taught(run)),
            ),
            "Against the paper: of each pair it has the first ahead. Differences in points, gains relative; each interval "
            "stands alone, not corrected for their number.",
            table(
                ("budget", "of", "what", "points", "relative", "here"),
                (_row(claim) for claim in found),
            ),
            f"Of {len(told)} comparisons of students {', '.join(f'{n} {word}' for word, n in counts.items())}.",
        ]
    )  # fmt: skip


def _row(claim: Claim) -> tuple[str, ...]:
    points = figures.points(claim.points).replace(" points", "")
    return claim.budget, claim.about, claim.what, points, figures.share(claim.relative), claim.verdict


def main(directories: Sequence[str]) -> None:
    runs = [load(Path(directory)) for directory in directories]
    home = runs[0].directory.parent
    written = text(runs)
    (home / "paper-mini.md").write_text(written + "\n", encoding="utf-8")
    whole = {
        run.name: {
            "metrics": run.metrics,
            "evaluation": run.evaluation,
            "flawed": {arm: asdict(x) for arm, x in run.flawed.items()},
            "claims": [asdict(c) | {"verdict": c.verdict} for c in claims(run)],
        }
        for run in runs
    }
    (home / "paper-mini.json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    print(written)
    print(
        f"\npages: {', '.join(str(run.directory / 'report.html') for run in runs)}; table: {home / 'paper-mini.md'}"
    )


if __name__ == "__main__":
    main(sys.argv[1:] or ["runs/paper-mini-low", "runs/paper-mini-high"])
