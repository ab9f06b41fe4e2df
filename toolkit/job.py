"""A resolved run and where it lives: its arms, problems, gates, ledger and files."""

import json
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from string import Template
from typing import Any, Protocol

import prompts
from toolkit import arms, cost, problems
from toolkit.arms import Arm
from toolkit.errors import InputError
from toolkit.ledger import Ledger, Reader
from toolkit.limits import Limiter
from toolkit.provider import Batcher, Provider
from toolkit.spec import Model, Problems, Run
from toolkit.types import Problem

LEDGER, PLAN, METRICS, EVALUATION = "ledger.sqlite", "plan.json", "metrics.json", "evaluation.json"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model that can be asked."""

    provider: Provider
    address: str  # as the ledger shows it
    batcher: Batcher | None = None


class Connect(Protocol):
    """Opens endpoints for models, by name; whoever composes the program brings it."""

    def __call__(
        self, models: Mapping[str, Model], problems: Problems
    ) -> AbstractAsyncContextManager[Mapping[str, Endpoint]]: ...


@dataclass(frozen=True)
class Job:
    """A resolved run and where it lives. Questions and prompt are loaded when first needed."""

    run: Run
    directory: Path
    secrets: tuple[str, ...] = ()

    @cached_property
    def loaded(self) -> problems.Loaded:
        return problems.load(self.run.problems)

    @cached_property
    def held_out(self) -> problems.Loaded:
        """The evaluation's problems. Raises InputError if one of them is also drawn from (trap 25)."""
        source = self.run.held_out
        assert source is not None
        found = problems.load(source)
        trained = {p.sha for p in self.loaded.problems}
        if shared := [p.id for p in found.problems if p.sha in trained]:
            raise InputError(
                f"evaluate.problems: {len(shared)} problems are also in problems ({shared[0]!r} first): evaluate on another split"
            )
        return found

    @cached_property
    def template(self) -> Template:
        try:
            return prompts.load(self.run.prompt)
        except LookupError as error:
            raise InputError(f"prompt: {error.args[0]}") from None

    @cached_property
    def _limiters(self) -> dict[tuple[str, ...], Limiter]:
        return {}

    def limiter(self, model: Model) -> Limiter:
        """The one gate of this account and model, for every arm and stage that asks it."""
        return self._limiters.setdefault(arms.account(model), arms.make_limiter(model))

    @property
    def problems(self) -> list[Problem]:
        return self.loaded.problems

    def arms(self, *, imported: bool = True, batched: bool = False) -> list[Arm]:
        """The run's arms, in its order; batched ones at the price of a batch."""
        pairs = [(arm, self.run.models[model], model) for arm, model in self.run.arm_models().items()]
        if batched:
            pairs = [(arm, _in_batches(arm, spec), name) for arm, spec, name in pairs]
        return [
            Arm(arm, spec, self.run.decoding_of(name), self.template)
            for arm, spec, name in pairs
            if imported or spec.provider != "imported"
        ]

    def open(self) -> Ledger:
        cap = self.run.budget.cap
        return Ledger(
            self.directory / LEDGER, cap_pico=None if cap is None else cost.to_pico(cap), secrets=self.secrets
        )

    def reader(self) -> Reader:
        return Reader(self.directory / LEDGER)

    def write(self, name: str, content: Mapping[str, Any]) -> Path:
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / name
        draft = path.with_name(f".{name}.tmp")
        draft.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        return draft.replace(path)

    def read(self, name: str) -> dict[str, Any] | None:
        path = self.directory / name
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _in_batches(arm: str, model: Model) -> Model:
    if model.price is None:
        return model
    if model.price.batch is None:
        raise InputError(
            f"sampling.batch: {arm}: no batch price of {model.shown} is known: set price.batch to the share of its "
            "price that a batch pays, such as 0.5, or sample without --batch"
        )
    return model.model_copy(update={"price": cost.in_batches(model.price)})
