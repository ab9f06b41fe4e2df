"""The file that describes a simulated world: what its models know, cost and take their time over."""

import difflib
from enum import StrEnum
from pathlib import Path
from string import Template
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from toolkit.errors import InputError
from toolkit.spec import Price

Share = Annotated[float, Field(ge=0, le=1)]
Shape = Annotated[float, Field(gt=0, le=1000)]
Positive = Annotated[float, Field(gt=0)]
AtLeastZero = Annotated[float, Field(ge=0)]
# Where a 429 says how long to wait: the Retry-After header, Google's error.details[].retryDelay (on the
# Gemini face alone), nowhere, or, where it is absent, as the face's vendor does.
Hint = Literal["header", "retry_delay", "none"]


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


class ServerLimits(Section):
    """What the provider allows per account in any 60 seconds. Absent is unlimited."""

    requests_per_minute: Positive | None = None
    tokens_per_minute: Positive | None = None  # input + output, thinking included
    input_tokens_per_minute: Positive | None = None
    rate_limit_hint: Hint | None = None
    rate_limit_headers: bool = False  # x-ratelimit-* on every answer


class Fault(StrEnum):
    """What may go wrong with a request; at most one of them strikes."""

    RATE_LIMIT = "rate_limit"  # 429
    OVERLOADED = "overloaded"  # 503
    RESET_BEFORE = "reset_before"  # the connection is reset before any answer
    RESET_MID_BODY = "reset_mid_body"  # ... after half the body
    TRUNCATED_JSON = "truncated_json"  # half the body, as if it were whole
    WRONG_CONTENT_TYPE = "wrong_content_type"  # a page of HTML, with status 200
    SLOW_TRICKLE = "slow_trickle"  # the whole body, in pieces over `trickle_seconds`
    FEWER_CANDIDATES = "fewer_candidates"  # half of the choices asked for; only those are billed
    STRAGGLER = "straggler"  # `straggler.seconds` late


class Straggler(Section):
    share: Share = 0.0
    seconds: AtLeastZero = 60.0


class Faults(Section):
    """Shares of the requests that meet each fault. At most one strikes, so they sum to at most 1."""

    seed: int = 0
    rate_limit: Share = 0.0
    rate_limit_hint: Hint | None = None
    retry_after: Positive = 1.0  # seconds a scripted 429 asks for
    overloaded: Share = 0.0
    reset_before: Share = 0.0
    reset_mid_body: Share = 0.0
    truncated_json: Share = 0.0
    wrong_content_type: Share = 0.0
    slow_trickle: Share = 0.0
    trickle_seconds: AtLeastZero = 1.0
    fewer_candidates: Share = 0.0
    straggler: Straggler = Straggler()
    bill_on_fault: dict[Fault, bool] = {}  # absent: all but rate_limit, overloaded and reset_before

    def shares(self) -> dict[Fault, float]:
        """The faults that can strike."""
        given = {f: self.straggler.share if f is Fault.STRAGGLER else getattr(self, f.value) for f in Fault}
        return {fault: share for fault, share in given.items() if share > 0}

    @model_validator(mode="after")
    def _at_most_all(self) -> Self:
        if sum(self.shares().values()) > 1 + 1e-9:
            raise ValueError("the shares sum to more than 1")
        return self


class BatchSpec(Section):
    """How batches fare. Shares are of their parts."""

    processing: AtLeastZero = 0.0  # seconds until results can be seen
    expired: Share = 0.0
    failed: Share = 0.0  # with an internal error of the server
    refused: Annotated[int, Field(ge=0)] = 0  # so many batches fail as a whole before the first is taken


class ModelSpec(Section):
    ability: Ability
    false_positive_rate: Share = 0.0  # of the draws with the right answer, those with a wrong step
    tokens: Lengths
    thinking: Lengths = Lengths(mean=0.0)
    price: Price
    params: Positive | None = None
    latency: Latency = Latency()
    max_n: Annotated[int, Field(ge=1, le=1024)] = 64
    limits: ServerLimits = ServerLimits()


class WorldSpec(Section):
    """A world file."""

    name: str
    seed: int = 0
    problems: dict[str, Any] = Field(default_factory=dict)  # for the caller, who loads them
    answer: str = "The answer is $answer."  # closing sentence, a string.Template
    shared_difficulty: bool = True  # all models find the same problems hard, as a family does
    key: str | None = None  # what `Authorization: Bearer` or `x-goog-api-key` must say; None lets everyone in
    faults: Faults = Faults()
    batch: BatchSpec = BatchSpec()
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
    sections = (
        WorldSpec,
        ModelSpec,
        Ability,
        Lengths,
        Price,
        Latency,
        ServerLimits,
        Faults,
        Straggler,
        BatchSpec,
    )
    known = sorted({name for section in sections for name in section.model_fields})
    near = difflib.get_close_matches(str(found["loc"][-1]), known, n=1, cutoff=0.5)
    return f"{where}: unknown key" + (f", did you mean {near[0]!r}?" if near else ": remove it")
