"""Currencies of a local model: dollars from its GPU's hours, FLOPs from its parameters.

A server that makes `tokens_per_second` for `usd_per_hour` sells its tokens at a price, so that it can share
one budget with a hosted model. The price is of generated tokens; reading the prompt is in the throughput.
"""

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from toolkit.cost import PICO_PER_TOKEN
from toolkit.spec import GPU_SOURCE, Gpu, Model, Params, Price


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
class Flops:
    """FLOPs of requests. The default is the paper's 2PT: generated tokens only (arXiv 2408.16737 section 3).

    `prefill` adds 2P per prompt token. `attention` adds 4 x layers x width x context for every token
    (queries x keys, and weights x values; Kaplan et al. 2020, arXiv 2001.08361, table 1, which halves it
    for the mean of a causal context).
    """

    active: int  # parameters that work on each token
    prefill: bool = False
    attention: int = 0  # layers x width; 0 leaves it out

    def prompt(self, tokens: float) -> float:
        """Of reading one request's prompt."""
        if not self.prefill:
            return 0.0
        return 2.0 * self.active * tokens + 2.0 * self.attention * tokens**2

    def draw(self, prompt: float, generated: float) -> float:
        """Of generating one draw after its prompt."""
        context = prompt * generated + generated**2 / 2  # summed over the generated tokens
        return 2.0 * self.active * generated + 4.0 * self.attention * context


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
