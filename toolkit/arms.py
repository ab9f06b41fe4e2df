"""An arm, ready to be planned and sampled: its requests, its price, its identity in the ledger."""

import hashlib
import json
import math
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import Template
from typing import Any, overload

import prompts
from toolkit import cost
from toolkit.errors import InputError
from toolkit.ledger import Ledger, Purpose
from toolkit.limits import Limiter, Load, Window, spend_window
from toolkit.provider import Capabilities
from toolkit.spec import Decoding, Expect, Limits, Model
from toolkit.tokens import mean_tokens
from toolkit.types import Message, Problem, Reply, Request

Ask = Callable[[Request], Awaitable[Reply]]
ASSUMED_OUTPUT = 256.0  # tokens per draw where nothing is known: the same for all, as the paper assumes
EDGE = 1 << 20  # bytes hashed at either end of a large weight file


@dataclass(frozen=True, slots=True)
class Arm:
    """One thing compared, or one model's part of it: a model with its decoding and prompt."""

    name: str
    model: Model
    decoding: Decoding
    template: Template
    of: str = ""  # the arm it is a part of; empty: it is an arm of its own
    key: str = ""  # its model's name in the run file

    @property
    def whole(self) -> str:
        """The arm to which its draws belong."""
        return self.of or self.name

    @property
    def payload_sha(self) -> str:
        """Identity of what is asked: equal means draws may be topped up. Seed, n and limits are left out."""
        payload: dict[str, Any] = {
            "provider": self.model.provider,
            "model": self.model.model,
            "base_url": self.model.place,
            "api": self.model.api,
            "extra": self.model.extra,
            "decoding": self.decoding.model_dump(mode="json", exclude_none=True),
            "prompt": self.template.template,
        }
        if self.model.thinking is not None:
            payload["thinking"] = self.model.thinking
        if self.model.serve_args:  # a quantisation or another context window makes another model
            payload["serve_args"] = self.model.serve_args
        if self.model.provider == "imported":  # nothing was asked, so nothing of the run file matters
            payload = {"provider": "imported", "model": self.model.model}
        if self.model.provider == "checkpoint" or (
            self.model.provider == "vllm" and Path(self.model.model).is_dir()
        ):
            payload["model"] = weights_sha(Path(self.model.model))
        if self.model.world:
            payload["world"] = hashlib.sha256(Path(self.model.world).read_bytes()).hexdigest()
        return hashlib.sha256(json.dumps(payload, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def earlier_shas(self) -> tuple[str, ...]:
        """What it was called while one of its servers was the only one: draws from then are its own."""
        if not isinstance(self.model.base_url, tuple):
            return ()
        alone = (self.model.model_copy(update={"base_url": url}) for url in self.model.base_url)
        return tuple(replace(self, model=model).payload_sha for model in alone)

    def requests(self, problems: Sequence[Problem]) -> "Requests":
        """One request per problem, n and seed left to the sampler."""
        d, m = self.decoding, self.model
        served_as = Path(m.model).name if m.provider == "checkpoint" else m.model
        asked = Request(
            model=served_as,
            max_tokens=d.max_tokens,
            temperature=d.temperature,
            top_p=d.top_p,
            top_k=d.top_k,
            stop=tuple(d.stop or ()),
            thinking=m.thinking,
            extra=m.extra,
        )
        return Requests(asked, self.template, problems, raw=m.api == "completions")


class Requests(Sequence[Request]):
    """Requests rendered when they are needed: a few-shot prompt per problem would fill the memory."""

    def __init__(self, asked: Request, template: Template, problems: Sequence[Problem], *, raw: bool) -> None:
        self._asked, self._template, self._problems, self._raw = asked, template, problems, raw

    def __len__(self) -> int:
        return len(self._problems)

    @overload
    def __getitem__(self, position: int) -> Request: ...
    @overload
    def __getitem__(self, position: slice) -> "Requests": ...
    def __getitem__(self, position: int | slice) -> "Request | Requests":
        if isinstance(position, slice):
            return Requests(self._asked, self._template, self._problems[position], raw=self._raw)
        text = prompts.render(self._template, question=self._problems[position].question)
        if self._raw:
            return replace(self._asked, prompt=text)
        return replace(self._asked, messages=(Message("user", text),))


@dataclass(frozen=True, slots=True)
class Replica:
    """One of several servers behind a model."""

    ask: Ask
    endpoint: str | None = None  # as the ledger shows it


@dataclass(frozen=True, slots=True)
class Stream:
    """An arm with everything the sampler needs: whom to ask, at what price, how often."""

    name: str
    arm: int  # ledger id
    k: int  # draws per problem, at most
    n: int  # draws in one request, at most
    ask: Ask
    requests: Sequence[Request]
    limiter: Limiter
    price: cost.Price | None = None
    price_id: int | None = None
    prompt_tokens: float = 0.0  # expected per request, for the token limit
    tokens_per_draw: float = 0.0  # expected, for the token limit
    seeds: bool = False
    purpose: Purpose = "sample"
    endpoint: str | None = None
    targets: Sequence[int] | None = None  # draws of each problem, where they differ
    others: tuple[Replica, ...] = ()  # further servers of the model: `ask` and `endpoint` are the first

    def replica(self, number: int) -> tuple[Ask, str | None]:
        """How to ask one of its servers, and its address."""
        if number == 0:
            return self.ask, self.endpoint
        other = self.others[number - 1]
        return other.ask, other.endpoint

    @property
    def wanted(self) -> int | Sequence[int]:
        """Draws per problem: the same for all, or of each."""
        return self.k if self.targets is None else self.targets


def stream(
    arm: Arm,
    ledger: Ledger,
    problems: Sequence[Problem],
    ask: Ask,
    abilities: Capabilities,
    *,
    k: int | Sequence[int],
    n: int,
    purpose: Purpose = "sample",
    endpoint: str | None = None,
    others: Sequence[Replica] = (),
    limiter: Limiter | None = None,
) -> Stream:
    """The arm registered in the ledger and ready to be sampled. Raises InputError if it cannot be priced safely.

    Streams of one account and model share a `limiter`; None makes one for this stream alone.
    """
    price = cost.price(arm.model.price) if arm.model.price else None
    if price is not None and arm.decoding.max_tokens is None:
        raise InputError(
            f"decoding.max_tokens is missing for {arm.name}: a priced request needs it, so that its cost has an upper bound"
        )
    asked = arm.decoding.model_dump(mode="json", exclude_none=True)
    row = ledger.add_arm(
        arm.name, arm.model.shown, arm.model.provider, asked, arm.payload_sha, earlier=arm.earlier_shas
    )
    price_id = ledger.add_price(cost.price_row(arm.model.model, price)) if price else None
    expect = arm.model.expect or Expect()
    requests = arm.requests(problems)
    return Stream(
        arm.name,
        row,
        k if isinstance(k, int) else max(k, default=0),
        min(n, abilities.max_n),
        ask,
        requests,
        limiter or make_limiter(arm.model),
        price,
        price_id,
        prompt_tokens=_prompt_tokens(requests[:50]) if expect.prompt is None else expect.prompt,
        tokens_per_draw=(expect.output or ASSUMED_OUTPUT) + expect.thinking,
        seeds=abilities.seeds,
        purpose=purpose,
        endpoint=endpoint,
        targets=None if isinstance(k, int) else k,
        others=tuple(others),
    )


def account(model: Model) -> tuple[str, ...]:
    """What limits apply to: one model of one account."""
    where = ",".join(model.urls) or model.world or ""
    return (model.provider, where, model.key_env or "", model.model)


Purses = dict[tuple[str, float], Window]  # dollars of one account: its models spend from the same


def make_limiter(model: Model, purses: Purses | None = None) -> Limiter:
    """The gate of one account and model. Models of an account that state the same dollars per 10 minutes share
    them, as Google counts them (ai.google.dev/gemini-api/docs/rate-limits: per project): `purses` holds them."""
    limits = model.limits or Limits()
    if limits.day_resets is None:
        resets = "midnight_pacific" if model.provider.startswith("gemini") else "rolling"
        limits = limits.model_copy(update={"day_resets": resets})
    spend = spend_window(limits)
    if spend and purses is not None:
        spend = purses.setdefault((model.key_env or "", limits.usd_per_10_minutes or 0.0), spend)
    return Limiter(limits, addresses=len(model.urls) or 1, spend=spend)


def recall(ledger: Ledger, streams: Sequence[Stream]) -> None:
    """What this run used lately, before it was restarted, still counts against its limits."""
    for limiter in {id(s.limiter): s.limiter for s in streams}.values():
        rows = {s.arm for s in streams if s.limiter is limiter}
        limiter.recall(list(_lately(ledger, rows, limiter.gauges.horizon))[::-1])


def _lately(ledger: Ledger, rows: Collection[int], seconds: float) -> Iterator[tuple[float, Load]]:
    """(seconds ago, use) of these arms' attempts, latest first."""
    now = time.time()
    for row, created, prompt, output, pico in ledger.rows(
        "SELECT arm, created, COALESCE(prompt, 0), COALESCE(output, 0) + COALESCE(thinking, 0), "
        "COALESCE(cost_pico, reserved_pico, 0) FROM attempt WHERE batch IS NULL AND state <> 'released' "
        "ORDER BY id DESC"
    ):
        if created < now - seconds:
            return
        if row in rows:
            yield max(0.0, now - created), Load(prompt, output, pico)


def _prompt_tokens(requests: Sequence[Request]) -> float:
    return mean_tokens([r.prompt or "".join(m.content for m in r.messages) for r in requests])[0]


def weights_sha(checkpoint: Path) -> str:
    """Identity of a local checkpoint. Large files are hashed at both ends and by size."""
    files = sorted(checkpoint.glob("*.safetensors"))
    if not files:
        raise InputError(f"{checkpoint}: no *.safetensors in it: give the folder of a saved checkpoint")
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name}:{file.stat().st_size}".encode())
        with file.open("rb") as data:
            digest.update(data.read(EDGE))
            data.seek(max(0, file.stat().st_size - EDGE))
            digest.update(data.read())
    return digest.hexdigest()[:16]


def parameters(checkpoint: Path) -> int:
    """Parameters in a checkpoint's safetensors headers; tied weights are stored once."""
    total = 0
    for file in checkpoint.glob("*.safetensors"):
        with file.open("rb") as data:
            header = json.loads(data.read(int.from_bytes(data.read(8), "little")))
        for name, tensor in header.items():
            if name != "__metadata__":
                total += math.prod(tensor["shape"])
    return total
