"""The run file's schema: every key, its meaning, its unit. Frozen pydantic nouns, nothing else.

Reading, `--set` and one-line errors live in `config`.
"""

import difflib
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

Provider = Literal[
    "openai_compatible", "simulated", "checkpoint", "gemini", "vllm", "litellm", "gemini-legacy", "imported"
]
Match = Literal["price", "flops", "samples"]
SAME = "same"  # as an evaluation's source: the run's own
GPU_SOURCE = "GPU at "  # how the source of a price begins that follows from a GPU's hours
BALANCED = ("openai_compatible", "vllm")  # providers whose models may have several servers
SEVERAL = "several"  # where a model is served that has a list of servers
THINKERS = frozenset({"gemini", "litellm"})  # providers that take a budget of thinking tokens


class Section(BaseModel):
    """A part of the run file: frozen, and no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _name_the_nearest_key(cls, data: Any) -> Any:
        names = [field.alias or name for name, field in cls.model_fields.items()]
        for key in data if isinstance(data, dict) else ():
            if key not in names:
                near = difflib.get_close_matches(str(key), names, n=1)
                mend = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(names)}"
                raise ValueError(f"unknown key {key!r}: {mend}")
        return data


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


Dollars = Annotated[
    Decimal, Field(ge=0, decimal_places=6)
]  # per million tokens: exact in picodollars per token


class Rates(Section):
    """Dollars per million tokens. Thoughts are billed at `thinking`, or as output where it is absent."""

    input: Dollars
    output: Dollars
    cached_input: Dollars | None = None
    thinking: Dollars | None = None


class Price(Rates):
    """What a model costs, from a day on. `above` holds other rates for every token of a long-prompt request.

    That is how Google (ai.google.dev/gemini-api/docs/pricing) and OpenAI (developers.openai.com/api/docs/pricing)
    bill prompts above 200k and 272k tokens, both read 2026-10-14: the whole request, not the tokens beyond.
    """

    above: dict[Annotated[int, Field(gt=0)], Rates] = {}  # by the prompt's tokens, cached ones included
    per_request: Annotated[Decimal, Field(ge=0, decimal_places=12)] = Decimal(
        0
    )  # dollars per answered request
    batch: Annotated[Decimal, Field(gt=0, le=1)] | None = None  # share of it a batch pays; None: no batches
    date: Annotated[str, BeforeValidator(str)] = (
        ""  # ISO date from which it is known to hold; YAML makes dates
    )
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
    layers: Count | None = None  # with width: only for `budget.flops_terms: [attention]`
    width: Count | None = None  # of the attention: heads x head size


Size = Annotated[
    Annotated[Params, Tag("Params")] | Annotated[Count, Tag("int")],
    Discriminator(lambda given: "Params" if isinstance(given, dict | Params) else "int"),
]


def _word(value: Any) -> Any:
    """Tier 1 is a name to people and a number to YAML."""
    return str(value) if isinstance(value, int) else value


class Limits(Section):
    """What the account may ask of this model, all enforced together. Absent is unlimited, or learned."""

    tier: Annotated[str, BeforeValidator(_word)] | None = None  # the account's, as the catalog names it: it
    # fills what is absent
    requests_per_minute: Annotated[float, Field(gt=0)] | None = None
    requests_per_second: Annotated[float, Field(gt=0)] | None = None
    requests_per_day: Annotated[int, Field(gt=0)] | None = None
    day_resets: Literal["midnight_pacific", "rolling"] | None = None  # None: midnight_pacific for Gemini
    tokens_per_minute: Annotated[float, Field(gt=0)] | None = None  # input + output
    input_tokens_per_minute: Annotated[float, Field(gt=0)] | None = None
    output_tokens_per_minute: Annotated[float, Field(gt=0)] | None = None  # thinking included
    usd_per_10_minutes: Annotated[float, Field(gt=0)] | None = None  # in any 10 minutes
    concurrency: Annotated[int, Field(gt=0)] | None = None  # in flight at one server; None adapts to it
    max_concurrency: Annotated[int, Field(gt=0)] = 512  # in flight at one server while it adapts


class Gpu(Section):
    """What an hour of the machine costs on which a local model runs: its tokens then have a price."""

    usd_per_hour: Annotated[Decimal, Field(gt=0)]
    tokens_per_second: Annotated[float, Field(gt=0)] | None = (
        None  # generated, all requests together; None is
    )
    # measured by the pilot


class Expect(Section):
    """Tokens of one draw, for planning before anything was measured."""

    prompt: Annotated[float, Field(ge=0)] | None = None  # per request; None is estimated from the prompt
    output: Annotated[float, Field(gt=0)] | None = None
    thinking: Annotated[float, Field(ge=0)] = 0


class Model(Section):
    """One model as one provider serves it."""

    provider: Provider
    model: str  # the provider's name for it, or the folder of a local checkpoint
    base_url: str | tuple[str, ...] | None = None  # a list: servers of the same model, balanced
    key_env: str | None = None  # environment variable that holds the key; the key itself never stands here
    api: Literal["chat", "completions"] = "chat"  # raw completions for base checkpoints
    world: str | None = None  # world file of a simulated model
    serve_args: tuple[Annotated[str, BeforeValidator(str)], ...] = ()  # of the `vllm serve` a run starts
    port: Annotated[int, Field(gt=0, lt=65536)] | None = None  # of that server; None is a free one
    thinking: Annotated[int, Field(ge=0)] | None = None  # budget in tokens per draw; 0 switches it off
    decoding: Decoding = Decoding()
    price: Price | None = None
    gpu: Gpu | None = None  # of a local model: its price follows from it
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
        self._check_urls()
        if self.provider == "simulated" and not self.world:
            raise ValueError("world is missing: a simulated model names its world file")
        if self.gpu and self.price and not self.price.source.startswith(GPU_SOURCE):
            raise ValueError("give price or gpu, not both: the price of a local model follows from its gpu")
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

    def _check_urls(self) -> None:
        if self.base_url == ():
            raise ValueError("base_url is an empty list: name at least one server, or leave it out")
        for url in self.urls:
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"base_url {url!r} has no scheme: write http://... or https://...")
        if isinstance(self.base_url, tuple) and self.provider not in BALANCED:
            raise ValueError(
                f"base_url: a list of servers is for {' and '.join(BALANCED)} models: give provider {self.provider} one"
            )
        if len(set(self.urls)) < len(self.urls):
            raise ValueError("base_url names a server twice: name each once")

    @property
    def urls(self) -> tuple[str, ...]:
        """Its servers' addresses: none, one or several, whose order says nothing."""
        if isinstance(self.base_url, tuple):
            return tuple(sorted(self.base_url))
        return (self.base_url,) if self.base_url else ()

    @property
    def place(self) -> str | None:
        """Where it is served, as far as that makes it another model. Servers of one list are interchangeable:
        which of them stand in it is no part of its identity, so that one may be added or taken away."""
        return SEVERAL if isinstance(self.base_url, tuple) else self.base_url

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


PolicyName = Literal["uniform", "until_correct", "difficulty", "cascade", "mix"]
ADAPTIVE = frozenset({"until_correct", "cascade"})  # they look at outcomes while they draw


def _by_name(value: Any) -> Any:
    """`policy: cascade` is short for {name: cascade}."""
    return {"name": value} if isinstance(value, str) else value


def _by_draws(value: Any) -> Any:
    """`pilot: 4` is short for {draws: 4}."""
    return {"draws": value} if isinstance(value, int) else value


class Policy(Section):
    """How an arm's share of the budget is laid out over problems and models.

    uniform: every problem gets equally many draws (the paper). until_correct: each until it has `correct`
    correct draws. difficulty: more for harder problems, by the pilot. cascade: the first model, and the
    second only where the first failed. mix: as many of each model as buy most, by the pilot.
    """

    name: PolicyName = "uniform"
    correct: Annotated[int, Field(gt=0)] = 1  # until_correct: correct draws wanted of each problem
    max_draws: Annotated[int, Field(gt=0)] = 64  # adaptive policies: of one model on one problem, at most
    rounds: Annotated[int, Field(gt=0)] = 8  # difficulty and mix: above 1 they look at outcomes in between
    goal: Literal["coverage", "distinct"] = "coverage"  # what difficulty, cascade and mix buy most of
    per_problem: Annotated[int, Field(gt=0)] = (
        4  # distinct correct draws of a problem that count for the goal
    )

    @property
    def adaptive(self) -> bool:
        return self.name in ADAPTIVE or (self.name in ("difficulty", "mix") and self.rounds > 1)


class Pilot(Section):
    """A few draws of every model before the plan is made; they count as draws of the run."""

    draws: Annotated[int, Field(gt=0)] = 4  # per problem and model
    problems: Annotated[int, Field(gt=0)] = 200  # the first ones, at most
    share: Annotated[float, Field(gt=0, le=1)] = 0.2  # of the budget it may cost


class Mixture(Section):
    """An arm of several models that share its budget."""

    models: Annotated[tuple[str, ...], Field(min_length=1)]
    weights: tuple[Annotated[float, Field(gt=0)], ...] = ()  # shares of the arm's budget; equal unless given
    policy: Annotated[Policy, BeforeValidator(_by_name)] | None = None  # None: budget.policy

    @model_validator(mode="after")
    def _one_weight_each(self) -> Self:
        if self.weights and len(self.weights) != len(self.models):
            raise ValueError(f"{len(self.weights)} weights for {len(self.models)} models: give one for each")
        if len(set(self.models)) != len(self.models):
            raise ValueError(
                "a model stands twice: give it another entry under models to draw it differently"
            )
        return self


def _members(value: Any) -> Any:
    """`[cheap, strong]` is short for {models: [cheap, strong]}."""
    return {"models": value} if isinstance(value, list | tuple) else value


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
    policy: Annotated[Policy, BeforeValidator(_by_name)] = Policy()  # of arms that name none of their own
    pilot: Annotated[Pilot, BeforeValidator(_by_draws)] | None = None
    flops_terms: tuple[Literal["prefill", "attention"], ...] = ()  # counted besides the paper's 2PT

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

    verifier: Literal["math", "code"] = "math"  # code: the gold is a test program, run in a sandbox
    timeout: Annotated[float, Field(gt=0)] = 5.0  # seconds of wall clock per hard comparison, or per program
    workers: Annotated[int, Field(gt=0)] = 2
    unsafe: bool = False  # code: run programs without a sandbox where there is none; verdicts say so


class Metrics(Section):
    """Which k are reported besides 1 and the planned number of draws."""

    k: tuple[Annotated[int, Field(gt=0)], ...] = ()
    resamples: Annotated[int, Field(ge=100)] = 1000  # bootstrap over problems


GOLD = "gold"  # among a control's sources: the human solutions that came with the problems
UNVERIFIED_ROWS = 5  # per problem where nothing is filtered: 35 of them taught less than 5 (arXiv 2408.16737)

Names = Annotated[
    tuple[str, ...], BeforeValidator(lambda given: (given,) if isinstance(given, str) else given)
]
Folder = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


def _check_names(key: str, names: Iterable[str], known: Sequence[str]) -> None:
    """Raises where a control refers to what is no arm, or is no dataset above it."""
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            mend = f"did you mean {near[0]!r}?" if near else f"give one of {', '.join(known)}"
            raise ValueError(f"{key}: {name!r} is no dataset, or none above it: {mend}")


class Control(Section):
    """A dataset made for comparison: from the draws of arms, pooled, or from human solutions.

    Applied in this order: which draws, the filters of `dataset`, which problems, rows per problem, then rows
    or tokens to match. The arms themselves are the cost-matched datasets.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    members: Annotated[Names, Field(min_length=1)] = Field(alias="from")  # arms, or gold
    draws: Annotated[int, Field(gt=0)] | None = None  # the first N of every problem: lower coverage
    draws_of: str | None = None  # as many draws per problem as that arm had planned
    problems_of: str | None = None  # only problems of which that dataset has a row
    per_problem: Annotated[int, Field(gt=0)] | None = None  # None: dataset.per_problem
    rows_of: str | None = None  # as many rows as that dataset has: number-matched
    tokens_of: str | None = None  # as many tokens of solutions as that dataset has: token-matched

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        for one, other in (("rows_of", "tokens_of"), ("draws", "draws_of")):
            if getattr(self, one) is not None and getattr(self, other) is not None:
                raise ValueError(f"give {one} or {other}, not both")
        return self

    @property
    def references(self) -> dict[str, str]:
        """Key -> the arm or dataset it names."""
        named = {key: getattr(self, key) for key in ("draws_of", "problems_of", "rows_of", "tokens_of")}
        return {key: name for key, name in named.items() if name is not None}


class Dataset(Section):
    """Which draws become rows, and which further datasets are made to compare the arms with."""

    filter: Literal["verified", "judged", "majority", "none"] = (
        "verified"  # judged: correct where there is a gold, and found sound by the judge
    )
    dedup: Literal["none", "exact", "normalised", "equations"] = "none"  # one row per distinct solution
    near_duplicates: Annotated[float, Field(gt=0, le=1)] | None = (
        None  # of one problem: Jaccard of their n-grams of three words from which a solution is left out
    )
    per_problem: Annotated[int, Field(gt=0)] | None = None  # rows at most; None: all, or 5 if filter is none
    weighting: Literal["rows", "problems"] = "rows"  # problems: rows repeat until every problem has as many
    include_gold: bool = False  # one row more per problem: its human solution
    decontaminate: Names = ()  # test sets: path.jsonl, or hub id[:split]
    tokens: str = "characters"  # what tokens_of counts: characters, words, or a tokenizer's folder or hub id
    controls: dict[Folder, Control] = {}
    push_to_hub: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")] | None = None  # owner/name

    @property
    def cap(self) -> int | None:
        """Rows per problem, at most. Unverified samples have a bound of their own (trap 24)."""
        return UNVERIFIED_ROWS if self.per_problem is None and self.filter == "none" else self.per_problem


class Lora(Section):
    """Low-rank adapters instead of all weights (Hu et al. 2021, arXiv 2106.09685); merged into the saved student."""

    r: Annotated[int, Field(gt=0)] = 16
    alpha: Annotated[float, Field(gt=0)] = 32.0  # an adapter counts alpha / r times
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    targets: tuple[str, ...] = ()  # names of modules; empty: every linear layer but the head


Attention = Literal["auto", "eager", "sdpa", "flash_attention_2", "flex_attention"]
SEARCH_SEED = 10_000  # added to finetune.seed for what chooses a learning rate: a seed that is never reported


class Finetune(Section):
    """Supervised finetuning with TRL, the same for every dataset: steps, epochs or tokens are held equal.

    `learning_rates` are tried once per student and dataset on a seed of their own; the best on `validation`
    is used. `checkpoints` are equally spaced; the best on `validation` is kept.
    """

    match: Literal["steps", "epochs", "tokens"] = "steps"  # what is held equal between datasets
    steps: Annotated[int, Field(gt=0)] = 600  # for match: steps
    epochs: Annotated[float, Field(gt=0)] | None = None  # passes over a dataset's rows, for match: epochs
    tokens: Annotated[int, Field(gt=0)] | None = None  # of completions learned from, for match: tokens
    batch_size: Annotated[int, Field(gt=0)] = 32  # rows per step, over all processes
    learning_rate: Annotated[float, Field(gt=0)] = 1e-6
    learning_rates: tuple[
        Annotated[float, Field(gt=0)], ...
    ] = ()  # a grid to choose from; learning_rate is then unused
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    max_length: Annotated[int, Field(gt=0)] = 1024  # tokens, prompt and completion
    seed: Annotated[int, Field(ge=0)] = 0
    lora: Lora | None = None  # None: all weights
    checkpoints: Annotated[int, Field(gt=0)] = 1  # candidates, equally spaced; 1 is the last step alone
    save_steps: Annotated[int, Field(gt=0)] | None = None  # further places to resume from after a kill
    validation: Problems | None = (
        None  # what learning rate and checkpoint are chosen on; `source: same` as in evaluate
    )
    select_by: Literal["loss", "pass@1"] = "pass@1"  # loss on worked solutions, or greedy answers
    packing: bool | None = (
        None  # rows of a batch end to end instead of padded; None: where the attention is flash
    )
    attention: Attention = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = (
        "auto"  # of trained weights; auto: float32, a GPU computes in bfloat16
    )
    micro_batch: Annotated[int, Field(gt=0)] | None = (
        None  # rows at once on a device; None: what its memory holds
    )
    processes: Annotated[int, Field(gt=0)] = 1  # devices of this machine that share one training, by torchrun
    accelerate: str | None = (
        None  # an accelerate config file with an fsdp_config; None: each device holds all
    )
    report_to: tuple[str, ...] = ()  # trackers that transformers knows, such as wandb or tensorboard

    @model_validator(mode="after")
    def _can_choose(self) -> Self:
        if len(self.learning_rates) == 1:
            raise ValueError(
                f"learning_rates: a grid of one is no search: write learning_rate: {self.learning_rates[0]:g}"
            )
        if len(set(self.learning_rates)) < len(self.learning_rates):
            raise ValueError("learning_rates names a rate twice: name each once")
        wants = "learning_rates" if self.learning_rates else "checkpoints" if self.checkpoints > 1 else None
        if wants and self.validation is None:
            raise ValueError(
                f"{wants} needs validation: name problems to choose on, neither trained nor tested on"
            )
        return self

    @model_validator(mode="after")
    def _has_a_length(self) -> Self:
        if self.match != "steps" and getattr(self, self.match) is None:
            raise ValueError(f"match: {self.match} needs {self.match}: say how many")
        if self.batch_size % self.processes:
            raise ValueError(f"batch_size {self.batch_size} does not divide over {self.processes} processes")
        share = self.batch_size // self.processes
        if self.micro_batch and share % self.micro_batch:
            raise ValueError(
                f"micro_batch {self.micro_batch} does not divide a device's share of a batch, {share}"
            )
        return self


class Student(Section):
    """A base model that is finetuned once per dataset and seed, each time from the same checkpoint."""

    model: str  # folder or hub id of a checkpoint
    setup: Literal["student", "wc", "se"] | None = (
        None  # the paper's: a third model, or one of the pair itself
    )
    api: Literal["chat", "completions"] = "chat"  # completions: a base checkpoint without a chat template
    finetune: dict[
        str, Any
    ] = {}  # settings of finetune that are others for this student, such as its batch_size

    @model_validator(mode="after")
    def _known_settings(self) -> Self:
        for key in self.finetune:
            if key not in Finetune.model_fields:
                near = difflib.get_close_matches(key, Finetune.model_fields, n=1)
                raise ValueError(
                    f"finetune: unknown key {key!r}" + (f": did you mean {near[0]!r}?" if near else "")
                )
        return self

    def settings(self, common: Finetune) -> Finetune:
        """The run's settings with this student's own. Raises pydantic's ValidationError."""
        return Finetune.model_validate(common.model_dump() | self.finetune) if self.finetune else common


def _by_source(value: Any) -> Any:
    """`[a.jsonl, b.jsonl]` is short for {a: {source: a.jsonl}, b: {source: b.jsonl}}."""
    if not isinstance(value, list | tuple):
        return value
    return {str(v).rpartition("/")[2].partition(".")[0]: {"source": v, "split": "test"} for v in value}


class Evaluate(Section):
    """pass@1 and majority votes of the base and of each student on problems no dataset has seen.

    `problems.source: same` is the run's own source, with another split or another stretch of the file.
    """

    problems: Problems = Problems(source=SAME, split="test", limit=500)
    draws: Annotated[int, Field(gt=0)] = 1  # sampled answers per problem; at least the largest of maj_k
    decoding: Decoding | None = None  # of the sampled answers; None: the run's
    greedy: bool = False  # also one answer at temperature 0
    maj_k: tuple[Annotated[int, Field(gt=0)], ...] = ()  # majority votes; the paper's are 1, 4, 8, 16
    seeds: Annotated[int, Field(gt=0, le=SEARCH_SEED)] = 1  # finetunings of a student on a dataset
    transfer: Annotated[dict[str, Problems], BeforeValidator(_by_source)] = {}  # further test sets, by name
    provider: Literal["checkpoint", "vllm"] = "checkpoint"  # what serves the students
    serve_args: tuple[Annotated[str, BeforeValidator(str)], ...] = ()  # of `vllm serve`

    @property
    def sampled(self) -> int:
        """Sampled answers per problem."""
        return max(self.draws, *self.maj_k, 1)

    @model_validator(mode="after")
    def _names_are_free(self) -> Self:
        if "test" in self.transfer:
            raise ValueError("transfer: the name 'test' is taken by evaluate.problems: give another")
        return self


class Report(Section):
    samples: Annotated[int, Field(ge=0)] = 24  # solutions shown on the page
    browse: Annotated[int, Field(ge=0)] = (
        100_000  # draws in the sample browser beside it; of more, problems spread evenly
    )


class Sampling(Section):
    timeout: Annotated[float, Field(gt=0)] = 600.0  # seconds, one request
    attempts: Annotated[int, Field(gt=0)] = 6  # tries of one request before its draws stay missing
    rounds: Annotated[int, Field(gt=0)] = (
        4  # passes over the problems: more stop more evenly, fewer bill the prompt less
    )
    batch: bool = False  # through the provider's batch API: cheaper, within a day
    batch_requests: Annotated[int, Field(gt=0)] = 10_000  # in one batch, at most
    batch_poll: Annotated[float, Field(gt=0)] = 60.0  # seconds between looks at a batch


def part_name(arm: str, model: str, members: int) -> str:
    """The name under which one model of an arm is drawn."""
    return arm if members == 1 else f"{arm}/{model}"


class Judge(Section):
    """A model that looks at solutions: at the reasoning of correct ones, or at answers that have no gold."""

    model: Model
    of: Literal["reasoning", "answers"] = "reasoning"
    prompt: str | None = None  # None: prompts/judge.md, or judge-answer.md
    sample: Annotated[int, Field(gt=0)] | None = 500  # draws per arm, stratified by level; None judges all
    votes: Annotated[int, Field(gt=0)] = 1  # of each draw and order; the majority counts
    both_orders: bool = False  # also with the two verdicts named the other way round; they must agree
    decoding: Decoding = Decoding(max_tokens=2048)


class Run(Section):
    """A whole run file, resolved."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    seed: int = 0
    problems: Problems
    prompt: str = "word-problems"
    decoding: Decoding = Decoding()
    models: Annotated[dict[str, Model], Field(min_length=1)]
    arms: dict[str, Annotated[Mixture, BeforeValidator(_members)]] = {}
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
            _check_names(f"dataset.controls.{name}.from", control.members, (*arms, GOLD))
            for key, other in control.references.items():
                _check_names(f"dataset.controls.{name}.{key}", (other,), arms if key == "draws_of" else known)
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
