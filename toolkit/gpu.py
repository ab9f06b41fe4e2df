"""Currencies of a local model: dollars from its GPU's hours, FLOPs from its parameters.

A server that makes `tokens_per_second` for `usd_per_hour` sells its tokens at a price, so that it can share
one budget with a hosted model. The price is of generated tokens; reading the prompt is in the throughput.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from toolkit.cost import PICO_PER_TOKEN
from toolkit.spec import GPU_SOURCE, Gpu, Model, Params, Price

Amount = TypeVar("Amount", float, NDArray[np.float64])


def price(gpu: Gpu, measured: float | None = None) -> Price | None:
    """The price of a local model's tokens; None while its throughput is unknown.

    `measured` (tokens per second) counts where the run file states none.
    """
    speed = gpu.tokens_per_second or measured
    if not speed:
        return None
    per_million = gpu.usd_per_hour / 3600 / Decimal(str(speed)) * 10**6
    given = "given" if gpu.tokens_per_second else "measured by the pilot"
    return Price(
        input=Decimal(0),
        output=per_million.quantize(PICO_PER_TOKEN, ROUND_CEILING),
        source=f"{GPU_SOURCE}${gpu.usd_per_hour}/hour, {speed:.4g} tokens/s {given}",
    )


def is_gpu(price: Price | None) -> bool:
    """Whether a price follows from a GPU's hours."""
    return price is not None and price.source.startswith(GPU_SOURCE)


@dataclass(frozen=True, slots=True)
class Work(Generic[Amount]):
    """What some requests had to compute, as the sums their FLOPs follow from: tokens, and pairs of tokens."""

    generated: Amount  # tokens written, thinking included
    context: Amount  # over those, the tokens before each: prompt x generated + generated^2 / 2 of every draw
    read: Amount  # prompt tokens, once per request; those a cache held are not read again
    attended: Amount  # over those, twice the tokens before each: prompt^2 - cached^2 of every request


@dataclass(frozen=True, slots=True)
class Flops:
    """FLOPs of requests. The default is the paper's 2PT: generated tokens only (arXiv 2408.16737 section 3).

    `prefill` adds 2P per prompt token. `attention` adds 4 x layers x width x context for every token
    (queries x keys, and weights x values; Kaplan et al. 2020, arXiv 2001.08361, table 1, which halves it
    for the mean of a causal context).
    """

    active: int  # parameters that work on each token
    prefill: bool = False
    attention: int = 0  # layers x width; 0 leaves it out

    def of(self, work: Work[Amount]) -> Amount:
        """Of reading the prompts, where that counts, and of generating."""
        written = 2.0 * self.active * work.generated + 4.0 * self.attention * work.context
        if not self.prefill:
            return written
        return written + 2.0 * self.active * work.read + 2.0 * self.attention * work.attended

    def prompt(self, tokens: float) -> float:
        """Of reading one request's prompt."""
        return self.of(Work(0.0, 0.0, tokens, tokens**2))

    def draw(self, prompt: float, generated: float) -> float:
        """Of generating one draw after its prompt."""
        return self.of(Work(generated, prompt * generated + generated**2 / 2, 0.0, 0.0))

    @property
    def terms(self) -> tuple[str, ...]:
        """What is counted besides 2PT, as a run file names it."""
        given: Mapping[str, object] = {"prefill": self.prefill, "attention": self.attention}
        return tuple(name for name, counted in given.items() if counted)


def flops(model: Model, terms: tuple[str, ...]) -> Flops | None:
    """How a model's FLOPs are counted; None where its parameters are unknown.

    Raises ValueError where attention is asked for and its shape is not given.
    """
    active = model.active_params
    if not active:
        return None
    shape = 0
    if "attention" in terms:
        known = model.params if isinstance(model.params, Params) else None
        if known is None or not (known.layers and known.width):
            raise ValueError("params needs layers and width for flops_terms: [attention]")
        shape = known.layers * known.width
    return Flops(active, "prefill" in terms, shape)
