"""The run file's schema: every key, its meaning, its unit. Frozen pydantic nouns, nothing else.

Reading, `--set` and one-line errors live in `config`. A key marked `later(...)` is part of the schema
but refused with "not available yet" when it is given.
"""

import difflib
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic.fields import FieldInfo

Provider = Literal[
    "openai_compatible", "simulated", "checkpoint", "gemini", "vllm", "litellm", "gemini-legacy", "imported"
]
Match = Literal["price", "flops", "samples"]
SAME = "same"  # as an evaluation's source: the run's own
THINKERS = frozenset({"gemini", "litellm"})  # providers that take a budget of thinking tokens


class NotYet(ValueError):
    """A key or value of the schema whose work comes later."""


def later(default: Any = None) -> Any:
    """A field of the schema that is refused when given."""
    return Field(default, json_schema_extra={"later": True})


def _is_later(field: FieldInfo) -> bool:
    return isinstance(field.json_schema_extra, dict) and bool(field.json_schema_extra.get("later"))


class Section(BaseModel):
    """A part of the run file: frozen, and no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _name_the_nearest_key(cls, data: Any) -> Any:
        for key in data if isinstance(data, dict) else ():
            if key not in cls.model_fields:
                near = difflib.get_close_matches(str(key), cls.model_fields, n=1)
                mend = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(cls.model_fields)}"
                raise ValueError(f"unknown key {key!r}: {mend}")
        return data

    @model_validator(mode="after")
    def _refuse_what_comes_later(self) -> Self:
        for name, field in type(self).model_fields.items():
            if _is_later(field) and name in self.model_fields_set and getattr(self, name) != field.default:
                raise NotYet(f"{name} is not available yet: leave it out")
        return self


class Problems(Section):
    """Where the questions come from: a path to JSONL, a hub id, or builtin:word-problems."""

    source: str = "builtin:word-problems"
    split: str = "train"
    config: str | None = None  # hub configuration; "main" for openai/gsm8k unless given
    offset: Annotated[int, Field(ge=0)] = 0  # problems passed over before the first
    limit: Annotated[int, Field(gt=0)] | None = None  # the first N after those
    seed: int = 0  # of the builtin generator


class Decoding(Section):
    """Sampling parameters. None is "not sent". The paper samples at temperature 0.7, top-k 3."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_k: Annotated[int, Field(gt=0)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(gt=0)] | None = None  # per draw, thinking included
    stop: tuple[str, ...] | None = None

    def over(self, defaults: "Decoding") -> "Decoding":
        """These settings where given, `defaults` elsewhere."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return defaults.model_copy(update=given)


class Price(Section):
    """Dollars per million tokens. Thoughts are billed at `thinking`, or as output where it is absent."""

    input: Annotated[Decimal, Field(ge=0, decimal_places=6)]
    output: Annotated[Decimal, Field(ge=0, decimal_places=6)]
    cached_input: Annotated[Decimal, Field(ge=0, decimal_places=6)] | None = None
    thinking: Annotated[Decimal, Field(ge=0, decimal_places=6)] | None = None
    batch: Annotated[Decimal, Field(gt=0, le=1)] | None = None  # share of it a batch pays; None: no batches
    date: Annotated[str, BeforeValidator(str)] = ""  # ISO date on which it was read; YAML makes dates of them
    source: str = "run file"


def _whole(value: Any) -> Any:
    """27e9 is a number to people and a text to YAML."""
    try:
        return int(Decimal(value)) if isinstance(value, str) and Decimal(value) % 1 == 0 else value
    except ArithmeticError:
        return value


Count = Annotated[int, BeforeValidator(_whole), Field(gt=0)]


class Params(Section):
    """Parameter counts. `active` differs from `total` in mixture-of-experts models (trap 11)."""

    total: Count
    active: Count | None = None


Size = Annotated[
    Annotated[Params, Tag("Params")] | Annotated[Count, Tag("int")],
    Discriminator(lambda given: "Params" if isinstance(given, dict | Params) else "int"),
]


class Limits(Section):
    """What the account may ask of this model, all enforced together. Absent is unlimited, or learned."""

    requests_per_minute: Annotated[float, Field(gt=0)] | None = None
    requests_per_second: Annotated[float, Field(gt=0)] | None = None
    requests_per_day: Annotated[int, Field(gt=0)] | None = None
    day_resets: Literal["midnight_pacific", "rolling"] | None = None  # None: midnight_pacific for Gemini
    tokens_per_minute: Annotated[float, Field(gt=0)] | None = None  # input + output
    input_tokens_per_minute: Annotated[float, Field(gt=0)] | None = None
    output_tokens_per_minute: Annotated[float, Field(gt=0)] | None = None  # thinking included
    usd_per_10_minutes: Annotated[float, Field(gt=0)] | None = None  # in any 10 minutes
    concurrency: Annotated[int, Field(gt=0)] | None = None  # requests in flight; None adapts to the server
    max_concurrency: Annotated[int, Field(gt=0)] = 512  # requests in flight while it adapts


class Expect(Section):
    """Tokens of one draw, for planning before anything was measured."""

    prompt: Annotated[float, Field(ge=0)] | None = None  # per request; None is estimated from the prompt
    output: Annotated[float, Field(gt=0)] | None = None
    thinking: Annotated[float, Field(ge=0)] = 0


class Model(Section):
    """One model as one provider serves it."""

    provider: Provider
    model: str  # the provider's name for it, or the folder of a local checkpoint
    base_url: str | None = None
    key_env: str | None = None  # environment variable that holds the key; the key itself never stands here
    api: Literal["chat", "completions"] = "chat"  # raw completions for base checkpoints
    world: str | None = None  # world file of a simulated model
    serve_args: tuple[Annotated[str, BeforeValidator(str)], ...] = ()  # of the `vllm serve` a run starts
    port: Annotated[int, Field(gt=0, lt=65536)] | None = None  # of that server; None is a free one
    thinking: Annotated[int, Field(ge=0)] | None = None  # budget in tokens per draw; 0 switches it off
    decoding: Decoding = Decoding()
    price: Price | None = None
    params: Size | None = None
    limits: Limits | None = None
    expect: Expect | None = None
    draws_per_request: Annotated[int, Field(gt=0)] | None = None  # at most; None is what the model allows
    extra: dict[str, Any] = {}  # further body fields, sent as they are

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.provider == "openai_compatible" and not self.base_url:
            raise ValueError(
                "base_url is missing: an openai_compatible model needs one, e.g. https://api.openai.com/v1"
            )
        if self.base_url and not self.base_url.startswith(("http://", "https://")):
            raise ValueError(f"base_url {self.base_url!r} has no scheme: write http://... or https://...")
        if self.provider == "simulated" and not self.world:
            raise ValueError("world is missing: a simulated model names its world file")
        if self.thinking is not None and self.provider not in THINKERS:
            raise ValueError(f"thinking is not honoured by provider {self.provider!r}: leave it out")
        if (self.serve_args or self.port) and (self.provider != "vllm" or self.base_url):
            raise ValueError(
                "serve_args and port are for a vllm model without base_url, whose server the run starts"
            )
        if self.api == "completions" and self.provider in ("gemini", "gemini-legacy"):
            raise ValueError(
                "api: completions is not honoured by Gemini, which has chats alone: leave it out"
            )
        return self

    @property
    def shown(self) -> str:
        """The model as a reader knows it: a local checkpoint by the end of its path."""
        return (
            "/".join(self.model.rstrip("/").split("/")[-2:]) if self.provider == "checkpoint" else self.model
        )

    @property
    def active_params(self) -> int | None:
        if isinstance(self.params, Params):
            return self.params.active or self.params.total
        return self.params


class Budget(Section):
    """What may be spent, and what is held equal between arms. Exactly one of usd, flops and draws.

    usd and flops are totals of the run, split equally over arms. draws is per problem: what the dearest
    arm draws; the others get as many as the same cost buys.
    """

    usd: Annotated[Decimal, Field(gt=0)] | None = None
    flops: Annotated[float, Field(gt=0)] | None = None
    draws: Annotated[int, Field(gt=0)] | None = None
    match: Match = "price"
    cap_usd: Annotated[Decimal, Field(gt=0)] | None = None  # hard; defaults to usd
    policy: Literal["uniform"] | None = later()
    pilot: int | None = later()

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [k for k in ("usd", "flops", "draws") if getattr(self, k) is not None]
        if len(given) != 1:
            found = " and ".join(given) if given else "none of them"
            raise ValueError(f"give exactly one of usd, flops and draws, not {found}")
        return self

    @property
    def cap(self) -> Decimal | None:
        return self.cap_usd if self.cap_usd is not None else self.usd


class Verify(Section):
    """How an answer is judged against the gold."""

    verifier: Literal["math"] = "math"
    timeout: Annotated[float, Field(gt=0)] = 5.0  # seconds of wall clock per hard comparison
    workers: Annotated[int, Field(gt=0)] = 2
    unsafe: bool = later(False)


class Metrics(Section):
    """Which k are reported besides 1 and the planned number of draws."""

    k: tuple[Annotated[int, Field(gt=0)], ...] = ()
    resamples: Annotated[int, Field(ge=100)] = 1000  # bootstrap over problems


class Dataset(Section):
    """Correct draws become rows."""

    dedup: Literal["none", "exact"] = "none"  # exact: one row per distinct solution after normalisation
    per_problem: int | None = later()
    include_gold: bool = later(False)
    filter: str | None = later()
    decontaminate: tuple[str, ...] = later(())
    push_to_hub: str | None = later()


class Finetune(Section):
    """Supervised finetuning with TRL, the same number of steps for every arm."""

    steps: Annotated[int, Field(gt=0)] = 600
    batch_size: Annotated[int, Field(gt=0)] = 32
    learning_rate: Annotated[float, Field(gt=0)] = 1e-6
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    max_length: Annotated[int, Field(gt=0)] = 1024  # tokens, prompt and completion
    seed: int = 0
    lora: dict[str, Any] | None = later()
    learning_rates: tuple[float, ...] = later(())
    checkpoints: int | None = later()


class Student(Section):
    """A base model that is finetuned once per arm."""

    model: str  # folder or hub id of a checkpoint


class Evaluate(Section):
    """pass@1 of the base and of each student on problems no arm has seen.

    `problems.source: same` is the run's own source, with another split or another stretch of the file.
    """

    problems: Problems = Problems(source=SAME, split="test", limit=500)
    draws: Annotated[int, Field(gt=0)] = 1  # per problem
    decoding: Decoding | None = None  # None: the run's
    seeds: int | None = later()
    maj_k: tuple[int, ...] = later(())
    transfer: tuple[str, ...] = later(())


class Report(Section):
    samples: Annotated[int, Field(ge=0)] = 24  # solutions shown on the page


class Sampling(Section):
    timeout: Annotated[float, Field(gt=0)] = 600.0  # seconds, one request
    attempts: Annotated[int, Field(gt=0)] = 6  # tries of one request before its draws stay missing
    rounds: Annotated[int, Field(gt=0)] = (
        4  # passes over the problems: more stop more evenly, fewer bill the prompt less
    )
    batch: bool = False  # through the provider's batch API: cheaper, within a day
    batch_requests: Annotated[int, Field(gt=0)] = 10_000  # in one batch, at most
    batch_poll: Annotated[float, Field(gt=0)] = 60.0  # seconds between looks at a batch


class Run(Section):
    """A whole run file, resolved."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    seed: int = 0
    problems: Problems
    prompt: str = "word-problems"
    decoding: Decoding = Decoding()
    models: Annotated[dict[str, Model], Field(min_length=1)]
    arms: dict[str, tuple[str, ...]] = {}
    budget: Budget
    sampling: Sampling = Sampling()
    verify: Verify = Verify()
    metrics: Metrics = Metrics()
    dataset: Dataset = Dataset()
    finetune: Finetune | None = None
    students: dict[str, Student] = {}
    evaluate: Evaluate | None = None
    report: Report = Report()
    judge: dict[str, Any] | None = later()

    @model_validator(mode="after")
    def _arms_name_models(self) -> Self:
        for arm, members in self.arms.items():
            unknown = [m for m in members if m not in self.models]
            if unknown:
                raise ValueError(f"arm {arm!r} names model {unknown[0]!r}, which models does not have")
            if len(members) != 1:
                raise NotYet(f"arm {arm!r} mixes {len(members)} models: mixtures are not available yet")
        return self

    @model_validator(mode="after")
    def _the_run_has_a_source_of_its_own(self) -> Self:
        if self.problems.source == SAME:
            raise ValueError(
                "problems.source: 'same' is for evaluate.problems: name a file, a hub id or builtin:word-problems"
            )
        return self

    @property
    def held_out(self) -> Problems | None:
        """The evaluation's problems, `same` filled in."""
        if self.evaluate is None:
            return None
        asked = self.evaluate.problems
        return asked.model_copy(update={"source": self.problems.source}) if asked.source == SAME else asked

    def arm_models(self) -> dict[str, str]:
        """Arm name -> model name."""
        return {arm: members[0] for arm, members in self.arms.items()} or {m: m for m in self.models}

    def decoding_of(self, model: str) -> Decoding:
        return self.models[model].decoding.over(self.decoding)
