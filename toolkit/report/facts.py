"""The files of a run directory as plain facts, and the few questions every summary of a run asks of them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from toolkit.errors import InputError
from toolkit.report.figures import known

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Facts:
    """The files of a run directory as they are; None or empty where a file is absent."""

    name: str
    run: Json | None = None
    plan: Json | None = None
    metrics: Json | None = None
    evaluation: Json | None = None
    datasets: Mapping[str, Json] = field(default_factory=dict)  # arm -> summary
    trainings: Mapping[tuple[str, str], Json] = field(default_factory=dict)  # (student, arm) -> training

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

    @property
    def planned(self) -> Mapping[str, Json]:
        return (self.plan or {}).get("models") or {}

    @property
    def measured(self) -> Mapping[str, Json]:
        return (self.metrics or {}).get("models") or {}

    @property
    def students(self) -> Mapping[str, Json]:
        return (self.evaluation or {}).get("students") or {}

    def planned_k(self, arm: str) -> int | None:
        return self.planned.get(arm, {}).get("draws_per_problem")

    def k(self, arm: str) -> int | None:
        """The k an arm is compared at: as planned, or the largest that was measured below it."""
        measured = [int(k) for k, x in self.measured.get(arm, {}).get("coverage", {}).items() if known(x)]
        planned = self.planned_k(arm)
        return max([k for k in measured if planned is None or k <= planned], default=None)

    def coverage(self, arm: str) -> Json | None:
        found: Json | None = self.measured.get(arm, {}).get("coverage", {}).get(str(self.k(arm)))
        return found

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
    return Facts(
        directory.resolve().name,
        _yaml(directory / "run.yaml"),
        _json(directory / "plan.json"),
        _json(directory / "metrics.json"),
        _json(directory / "evaluation.json"),
        {p.parent.name: _json(p) or {} for p in sorted(directory.glob("dataset/*/summary.json"))},
        {
            (p.parts[-3], p.parts[-2]): _json(p) or {}
            for p in sorted(directory.glob("finetune/*/*/training.json"))
        },
    )


def _json(path: Path) -> Json | None:
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
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
