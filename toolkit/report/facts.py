"""The files of a run directory as plain facts, and the few questions every summary of a run asks of them."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from toolkit.errors import InputError
from toolkit.report.figures import known

Json = Mapping[str, Any]
Training = tuple[str, str, int]  # student, dataset, seed
EXAMPLES = 3  # of what was removed from a dataset, for each reason


@dataclass(slots=True)
class Removed:
    """What was left out of a dataset for one reason."""

    lines: int = 0  # problems, or single solutions
    rows: int = 0
    examples: list[Json] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Facts:
    """The files of a run directory as they are; None or empty where a file is absent."""

    name: str
    run: Json | None = None
    plan: Json | None = None
    metrics: Json | None = None
    evaluation: Json | None = None
    datasets: Mapping[str, Json] = field(default_factory=dict)  # name -> summary
    trainings: Mapping[Training, Json] = field(default_factory=dict)
    audit: Json | None = None
    repriced: Json | None = None
    rounds: Json | None = None
    removed: Mapping[str, Mapping[str, Removed]] = field(default_factory=dict)  # dataset -> why

    @property
    def match(self) -> str:
        """What is held equal between the arms: price, flops or samples."""
        return str(
            (self.plan or {}).get("match") or ((self.run or {}).get("budget") or {}).get("match", "price")
        )

    @property
    def arms(self) -> list[str]:
        """Arms in the run file's order, then any other that was measured or planned."""
        run = self.run or {}
        named = [*(run.get("arms") or run.get("models") or {})]
        return list(dict.fromkeys([*named, *self.planned, *self.measured]))

    def place(self, name: str) -> int:
        """Where an arm or a dataset stands in every picture: arms first, then controls."""
        order = list(dict.fromkeys([*self.arms, *self.datasets, *(data for _, data, _ in self.trainings)]))
        return order.index(name) if name in order else len(order)

    @property
    def planned(self) -> Mapping[str, Json]:
        return (self.plan or {}).get("models") or {}

    @property
    def measured(self) -> Mapping[str, Json]:
        return (self.metrics or {}).get("models") or {}

    @property
    def students(self) -> Mapping[str, Json]:
        return (self.evaluation or {}).get("students") or {}

    def members(self, arm: str) -> list[str]:
        """The models of an arm, by their names in the run file."""
        written = ((self.run or {}).get("arms") or {}).get(arm)
        found = written.get("models") if isinstance(written, Mapping) else written
        return [str(name) for name in found or [arm]]

    def parts(self, arm: str) -> dict[str, str]:
        """What an arm's draws are called in the ledger -> the model's name in the run file."""
        members = self.members(arm)
        return {arm: members[0]} if len(members) == 1 else {f"{arm}/{key}": key for key in members}

    def model(self, name: str) -> Json:
        """A model as the run file has it."""
        return ((self.run or {}).get("models") or {}).get(name) or {}

    def adaptive(self, arm: str) -> bool:
        """Whether an arm's draws depended on outcomes: it is compared by what it solved, not by coverage at a k."""
        return bool(self.measured.get(arm, {}).get("adaptive"))

    def planned_k(self, arm: str) -> int | None:
        """Draws of every problem as planned; None where they differ by problem or were not planned."""
        k = self.planned.get(arm, {}).get("draws_per_problem")
        return k if isinstance(k, int) else None

    def k(self, arm: str) -> int | None:
        """The k an arm is measured at: as planned, or the largest that was measured below it."""
        measured = [int(k) for k, x in self.measured.get(arm, {}).get("coverage", {}).items() if known(x)]
        planned = None if self.adaptive(arm) else self.planned_k(arm)
        return max([k for k in measured if planned is None or k <= planned], default=None)

    def coverage(self, arm: str) -> Json | None:
        found: Json | None = self.measured.get(arm, {}).get("coverage", {}).get(str(self.k(arm)))
        return found

    def reached(self, arm: str) -> Json | None:
        """What an arm is compared by: the share it solved where outcomes decided its draws, else coverage at k."""
        return self.measured[arm].get("solved") if self.adaptive(arm) else self.coverage(arm)

    def drawn(self, arm: str) -> float | None:
        """Draws per problem on average, as they came."""
        m = self.measured.get(arm, {})
        return m["draws"] / m["problems"] if m.get("draws") and m.get("problems") else None

    def diversity(self, arm: str) -> Json:
        return self.measured.get(arm, {}).get("diversity", {}).get(str(self.k(arm))) or {}

    def spent(self, arm: str) -> float | None:
        """Actual spend in the matched currency; None where unknown."""
        unit = {"price": "usd", "flops": "flops"}.get(self.match, "draws")
        return self.measured.get(arm, {}).get(unit)


def load(directory: Path) -> Facts:
    """The facts of a run directory. Raises InputError where there is none, or a file is broken."""
    if not directory.is_dir():
        raise InputError(f"{directory}: no such run directory: `pricematch run RUNFILE` makes one")
    named = ("plan", "metrics", "evaluation", "audit", "rounds")
    files = {name: _json(directory / f"{name}.json") for name in named}
    return Facts(
        directory.resolve().name,
        run=_yaml(directory / "run.yaml"),
        repriced=_json(directory / "metrics.repriced.json"),
        datasets={p.parent.name: _json(p) or {} for p in _shown(directory, "dataset/*/summary.json")},
        trainings=dict(_trainings(directory)),
        removed={p.parent.name: _removed(p) for p in _shown(directory, "dataset/*/removed.jsonl")},
        **files,
    )


def _shown(directory: Path, pattern: str) -> list[Path]:
    """Files in order, those in hidden folders (a writer's, or a search's) left out."""
    found = sorted(directory.glob(pattern))
    return [p for p in found if not any(part.startswith(".") for part in p.relative_to(directory).parts)]


def _trainings(directory: Path) -> Iterator[tuple[Training, Json]]:
    for path in _shown(directory, "finetune/*/*/training.json"):
        yield (path.parts[-3], path.parts[-2], 0), _json(path) or {}
    for path in _shown(directory, "finetune/*/seed-*/*/training.json"):
        yield (path.parts[-4], path.parts[-2], int(path.parts[-3].removeprefix("seed-"))), _json(path) or {}


def _removed(path: Path) -> dict[str, Removed]:
    """By reason; the file may be long, so that only the first lines are kept."""
    found: dict[str, Removed] = {}
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            told = _parsed(path, line)
            reason = found.setdefault(str(told.get("why")), Removed())
            reason.lines += 1
            reason.rows += int(told.get("rows") or 0)
            reason.examples += [told] if reason.lines <= EXAMPLES else []
    return found


def _json(path: Path) -> Json | None:
    return _parsed(path, path.read_text(encoding="utf-8")) if path.is_file() else None


def _parsed(path: Path, text: str) -> Json:
    """A mapping; an infinite bound, which JSON does not know, is not known."""
    try:
        found = json.loads(text, parse_constant=lambda _: None)
    except ValueError as error:
        raise InputError(f"{path}: not readable JSON ({error}): delete it and run its verb again") from None
    return found if isinstance(found, dict) else {}


def _yaml(path: Path) -> Json | None:
    if not path.is_file():
        return None
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError):
        raise InputError(f"{path}: not readable YAML: copy your run file there again") from None
    return found if isinstance(found, dict) else {}
