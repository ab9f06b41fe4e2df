"""Who is asked, and how: a model as one provider serves it, its size, its limits."""

from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from toolkit.spec.prices import GPU_SOURCE, Gpu, Price
from toolkit.spec.section import Section

Provider = Literal[
    "openai_compatible", "simulated", "checkpoint", "gemini", "vllm", "litellm", "gemini-legacy", "imported"
]
BALANCED = ("openai_compatible", "vllm")  # providers whose models may have several servers
SEVERAL = "several"  # where a model is served that has a list of servers
THINKERS = frozenset({"gemini", "litellm"})  # providers that take a budget of thinking tokens


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

    tier: Annotated[str, BeforeValidator(_word)] | None = None  # the catalog's name; fills what is absent
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
