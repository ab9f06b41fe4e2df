"""The file that describes a simulated world: what its models know, cost and take their time over."""

import difflib
from pathlib import Path
from string import Template
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from toolkit.errors import InputError
from toolkit.spec import Price

Share = Annotated[float, Field(ge=0, le=1)]
Shape = Annotated[float, Field(gt=0, le=1000)]
Positive = Annotated[float, Field(gt=0)]
AtLeastZero = Annotated[float, Field(ge=0)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Ability(Section):
    """Success probabilities over the problems are the quantiles of Beta(a, b)."""

    a: Shape
    b: Shape


class Lengths(Section):
    """Tokens per draw: lognormal with this mean and standard deviation, rounded."""

    mean: AtLeastZero
    sd: AtLeastZero = 0.0


class Latency(Section):
    """Seconds to answer: `mean` plus `per_token` for each token of the longest choice."""

    mean: AtLeastZero = 0.0
    per_token: AtLeastZero = 0.0


class ModelSpec(Section):
    ability: Ability
    false_positive_rate: Share = 0.0  # of the draws with the right answer, those with a wrong step
    tokens: Lengths
    thinking: Lengths = Lengths(mean=0.0)
    price: Price
    params: Positive | None = None
    latency: Latency = Latency()
    max_n: Annotated[int, Field(ge=1, le=1024)] = 64


class WorldSpec(Section):
    """A world file."""

    name: str
    seed: int = 0
    problems: dict[str, Any] = Field(default_factory=dict)  # for the caller, who loads them
    answer: str = "The answer is $answer."  # closing sentence, a string.Template
    shared_difficulty: bool = True  # all models find the same problems hard, as a family does
    key: str | None = None  # what `Authorization: Bearer` must say; None lets everyone in
    models: Annotated[dict[str, ModelSpec], Field(min_length=1)]

    @field_validator("answer")
    @classmethod
    def _shows_the_answer(cls, text: str) -> str:
        template = Template(text)
        if not template.is_valid() or template.get_identifiers() != ["answer"]:
            raise ValueError("must contain $answer and no other name; a literal dollar is written $$")
        return text


def load_world(path: str | Path) -> WorldSpec:
    """The world in a YAML file. Raises InputError with file, key and mend in one line."""
    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as problem:
        raise InputError(
            f"{path}: cannot be read ({problem.strerror}): give the path of a world file"
        ) from None
    except yaml.YAMLError as problem:
        raise InputError(f"{path}: not YAML: {' '.join(str(problem).split())}") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: not a world: expected a mapping with the keys name and models")
    try:
        return WorldSpec.model_validate(data)
    except ValidationError as problem:
        raise InputError(f"{path}: {_first(problem)}") from None


def _first(problem: ValidationError) -> str:
    found = min(
        problem.errors(), key=lambda error: error["type"] != "extra_forbidden"
    )  # a typo explains the rest
    where = ".".join(str(part) for part in found["loc"])
    if found["type"] != "extra_forbidden":
        return f"{where}: {found['msg'].removeprefix('Value error, ')}"
    sections = (WorldSpec, ModelSpec, Ability, Lengths, Price, Latency)
    known = sorted({name for section in sections for name in section.model_fields})
    near = difflib.get_close_matches(str(found["loc"][-1]), known, n=1, cutoff=0.5)
    return f"{where}: unknown key" + (f", did you mean {near[0]!r}?" if near else ": remove it")
