"""The whole run file: its parts, and what they must have in common."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from toolkit.spec.budget import Budget, Members, Policy
from toolkit.spec.dataset import GOLD, Dataset, check_names
from toolkit.spec.evaluation import Evaluate
from toolkit.spec.models import Decoding, Model
from toolkit.spec.problems import SAME, Problems
from toolkit.spec.section import Section
from toolkit.spec.stages import Judge, Metrics, Report, Sampling, Verify
from toolkit.spec.training import Finetune, Student


def part_name(arm: str, model: str, members: int) -> str:
    """The name under which one model of an arm is drawn."""
    return arm if members == 1 else f"{arm}/{model}"


class Run(Section):
    """A whole run file, resolved."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    seed: int = 0
    problems: Problems
    prompt: str = "word-problems"
    decoding: Decoding = Decoding()
    models: Annotated[dict[str, Model], Field(min_length=1)]
    arms: dict[str, Members] = {}
    budget: Budget
    sampling: Sampling = Sampling()
    verify: Verify = Verify()
    metrics: Metrics = Metrics()
    dataset: Dataset = Dataset()
    finetune: Finetune | None = None
    students: dict[str, Student] = {}
    evaluate: Evaluate | None = None
    report: Report = Report()
    judge: Judge | None = None

    @model_validator(mode="after")
    def _arms_name_models(self) -> Self:
        for arm, mixture in self.arms.items():
            unknown = [m for m in mixture.models if m not in self.models]
            if unknown:
                raise ValueError(f"arm {arm!r} names model {unknown[0]!r}, which models does not have")
        for arm, members in self.members().items():
            name = self.policy_of(arm).name
            if name == "cascade" and len(members) != 2:
                raise ValueError(
                    f"arm {arm!r}: a cascade needs two models, the cheaper first: it has {len(members)}"
                )
            if name in ("until_correct", "difficulty") and len(members) != 1:
                raise ValueError(f"arm {arm!r}: policy {name} is of one model: it has {len(members)}")
            if name in ("difficulty", "mix") and self.budget.pilot is None:
                raise ValueError(
                    f"arm {arm!r}: policy {name} needs a pilot: set budget.pilot to draws per problem, such as 4"
                )
            if name != "uniform" and self.budget.match != "price":
                raise ValueError(f"arm {arm!r}: policy {name} lays out money: set budget.match to price")
        return self

    @model_validator(mode="after")
    def _the_run_has_a_source_of_its_own(self) -> Self:
        if self.problems.source == SAME:
            raise ValueError(
                "problems.source: 'same' is for evaluate.problems: name a file, a hub id or builtin:word-problems"
            )
        return self

    @model_validator(mode="after")
    def _controls_name_datasets(self) -> Self:
        arms = list(self.members())
        known = list(arms)
        for name, control in self.dataset.controls.items():
            if name in arms:
                raise ValueError(f"dataset.controls.{name}: an arm has that name: give the control another")
            check_names(f"dataset.controls.{name}.from", control.members, (*arms, GOLD))
            for key, other in control.references.items():
                check_names(f"dataset.controls.{name}.{key}", (other,), arms if key == "draws_of" else known)
            known.append(name)
        return self

    @model_validator(mode="after")
    def _a_judge_who_filters_sees_every_draw(self) -> Self:
        if self.dataset.filter == "judged" and self.judge is not None and self.judge.sample is not None:
            raise ValueError(
                "dataset.filter: judged: the judge sees only a sample of the draws: set judge.sample to null, so that all are"
            )
        return self

    def datasets(self) -> list[str]:
        """Every dataset of the run, each a folder of that name: the arms' own, then the controls."""
        return [*self.members(), *self.dataset.controls]

    @property
    def held_out(self) -> Problems | None:
        """The evaluation's problems, `same` filled in."""
        if self.evaluate is None:
            return None
        asked = self.evaluate.problems
        return asked.model_copy(update={"source": self.problems.source}) if asked.source == SAME else asked

    def members(self) -> dict[str, tuple[str, ...]]:
        """Arm name -> names of its models, one unless it is a mixture."""
        return {arm: mixture.models for arm, mixture in self.arms.items()} or {m: (m,) for m in self.models}

    def parts(self) -> dict[str, tuple[str, str]]:
        """What is drawn under one name -> (arm, model): an arm of one model is its own only part."""
        return {
            part_name(arm, model, len(models)): (arm, model)
            for arm, models in self.members().items()
            for model in models
        }

    def weight(self, arm: str, model: str) -> float:
        """The part of an arm's budget that one of its models gets."""
        mixture = self.arms.get(arm)
        if mixture is None or not mixture.weights:
            return 1 / len(self.members()[arm])
        return mixture.weights[mixture.models.index(model)] / sum(mixture.weights)

    def policy_of(self, arm: str) -> Policy:
        mixture = self.arms.get(arm)
        return (mixture and mixture.policy) or self.budget.policy

    def decoding_of(self, model: str) -> Decoding:
        return self.models[model].decoding.over(self.decoding)
