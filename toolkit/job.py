"""A resolved run and where it lives: its arms, problems, gates, ledger and files."""

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from string import Template
from typing import Any, Protocol

import prompts
from toolkit import arms, cost, gpu, pilot, problems, typical
from toolkit.arms import Arm, Replica
from toolkit.errors import InputError
from toolkit.ledger import Ledger, Reader
from toolkit.limits import Limiter
from toolkit.pilot import Measured
from toolkit.provider import Batcher, Provider
from toolkit.sample import Send, asker
from toolkit.spec import Model, Problems, Run
from toolkit.types import Problem

LEDGER, PILOT, PLAN, ROUNDS = "ledger.sqlite", "pilot.json", "plan.json", "rounds.json"
METRICS, AUDIT, EVALUATION = "metrics.json", "audit.json", "evaluation.json"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model that can be asked."""

    provider: Provider
    address: str  # as the ledger shows it
    batcher: Batcher | None = None
    others: tuple["Endpoint", ...] = ()  # further servers of the same model
    full: Callable[[], bool] | None = None  # do requests queue there now? None: it does not say

    def replicas(self, send: Send) -> list[Replica]:
        """The further servers, ready to be asked."""
        return [Replica(asker(other.provider, send), other.address) for other in self.others]

    def gate(self, limiter: Limiter) -> Limiter:
        """The model's gate, which hears from its servers whether requests queue there."""
        for number, server in enumerate((self, *self.others)):
            if server.full is not None:
                limiter.hold_while(server.full, number)
        return limiter


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
    offline: bool = False  # stand-ins of typical length take the place of questions that would be downloaded

    @cached_property
    def loaded(self) -> problems.Loaded:
        wanted = self.run.problems
        standing_in = self.offline and problems.from_hub(wanted)
        return typical.questions(wanted) if standing_in else problems.load(wanted)

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
    def _purses(self) -> arms.Purses:
        return {}

    @cached_property
    def _limiters(self) -> dict[tuple[str, ...], Limiter]:
        return {}

    def limiter(self, model: Model) -> Limiter:
        """The one gate of this account and model, for every arm and stage that asks it."""
        account = arms.account(model)
        if account not in self._limiters:
            self._limiters[account] = arms.make_limiter(model, self._purses)
        return self._limiters[account]

    @property
    def problems(self) -> list[Problem]:
        return self.loaded.problems

    def arms(self, *, imported: bool = True, batched: bool = False) -> list[Arm]:
        """What is drawn, in the run's order: arms, and each model's part of a mixture. Batched: at a batch's price."""
        parts = [(name, arm, key, self.run.models[key]) for name, (arm, key) in self.run.parts().items()]
        return [
            self._priced(
                Arm(
                    name,
                    _in_batches(name, model) if batched else model,
                    self.run.decoding_of(key),
                    self.template,
                    arm,
                    key,
                )
            )
            for name, arm, key, model in parts
            if imported or model.provider != "imported"
        ]

    def _priced(self, arm: Arm) -> Arm:
        """A local model whose GPU has a price gets one of its own, once its throughput is known."""
        if arm.model.price is not None or arm.model.gpu is None:
            return arm
        known = self.piloted.get(arm.payload_sha)
        price = gpu.price(arm.model.gpu, known.tokens_per_second if known else None)
        return replace(arm, model=arm.model.model_copy(update={"price": price}))

    @property
    def piloted(self) -> dict[str, Measured]:
        """What the pilot measured, by payload; empty before there was one."""
        return pilot.pooled(pilot.load(self.read(PILOT)).values())

    def open(self, *, cap_pico: int | None = None) -> Ledger:
        """The run's ledger, under the run's cap; a stage may set itself a lower one."""
        cap = self.run.budget.cap
        caps = [c for c in (None if cap is None else cost.to_pico(cap), cap_pico) if c is not None]
        return Ledger(self.directory / LEDGER, cap_pico=min(caps, default=None), secrets=self.secrets)

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
