"""What a draw costs: integer picodollars by price, FLOPs by parameters.

FLOPs are 2 x parameters x generated tokens (Kaplan et al. 2020, as in arXiv 2408.16737 section 3); the
prompt's prefill and attention are left out, as the paper leaves them out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Any

from toolkit import spec
from toolkit.types import PICO, Request, Usage

PICO_PER_TOKEN = Decimal("0.000001")  # dollars per million tokens
BYTES_PER_MESSAGE = 16  # room for a chat template's own tokens around each message


@dataclass(frozen=True, slots=True)
class Price:
    """Picodollars per token."""

    input: int
    output: int
    cached: int
    thinking: int
    date: str = ""
    source: str = ""

    def cost(self, usage: Usage) -> int:
        """What the usage of one request costs; cached tokens are part of the prompt."""
        fresh = usage.prompt - usage.cached
        return (
            fresh * self.input
            + usage.cached * self.cached
            + usage.output * self.output
            + usage.thinking * self.thinking
        )

    def bound(self, request: Request) -> int:
        """The most one request can cost. Needs `max_tokens`."""
        if request.max_tokens is None:
            raise ValueError("a priced request needs max_tokens")
        dearest_out = max(self.output, self.thinking)
        dearest_in = max(self.input, self.cached)
        return prompt_bound(request) * dearest_in + request.n * request.max_tokens * dearest_out

    def as_json(self) -> dict[str, Any]:
        """Dollars per million tokens, as prices are quoted."""
        per_million = {k: getattr(self, k) / 10**6 for k in ("input", "cached", "output", "thinking")}
        return per_million | {"date": self.date, "source": self.source}


def price(quoted: spec.Price) -> Price:
    """A quoted price in integers; exact, since quotes have at most six decimals."""
    cached = quoted.input if quoted.cached_input is None else quoted.cached_input
    thinking = quoted.output if quoted.thinking is None else quoted.thinking
    return Price(
        input=_pico_per_token(quoted.input),
        output=_pico_per_token(quoted.output),
        cached=_pico_per_token(cached),
        thinking=_pico_per_token(thinking),
        date=quoted.date,
        source=quoted.source,
    )


def in_batches(quoted: spec.Price) -> spec.Price:
    """The quote inside a batch, in whole picodollars per token, rounded up.

    A cache hit there costs what it costs outside (ai.google.dev/gemini-api/docs/batch-api, read 2026-11-21).
    """
    share = quoted.batch
    if share is None:
        raise ValueError("this price has no batch share")

    def of(price: Decimal) -> Decimal:
        return (price * share).quantize(PICO_PER_TOKEN, ROUND_CEILING)

    cached = None if quoted.cached_input is None else min(quoted.cached_input, of(quoted.input))
    thinking = None if quoted.thinking is None else of(quoted.thinking)
    batched = {"input": of(quoted.input), "output": of(quoted.output), "cached_input": cached}
    source = f"{quoted.source}, in batches at {share} of it"
    return quoted.model_copy(update=batched | {"thinking": thinking, "source": source})


def prompt_bound(request: Request) -> int:
    """An upper bound of the prompt's tokens: no tokenizer makes more tokens than bytes."""
    if request.prompt is not None:
        return len(request.prompt.encode()) + BYTES_PER_MESSAGE
    return sum(len(m.content.encode()) + BYTES_PER_MESSAGE for m in request.messages)


def flops(active_params: int, generated_tokens: float) -> float:
    """2PT."""
    return 2.0 * active_params * generated_tokens


def to_pico(usd: Decimal | float | str) -> int:
    return int(Decimal(str(usd)) * PICO)


def to_usd(pico: int | None) -> float | None:
    """Dollars rounded to a nanodollar for JSON; None stays None: unpriced is not free."""
    return None if pico is None else round(pico / PICO, 9)


def _pico_per_token(dollars_per_million: Decimal) -> int:
    return int(dollars_per_million * 10**6)


def price_row(model: str, row: Price) -> Mapping[str, Any]:
    """The price as the ledger keeps it."""
    return {
        "model": model,
        "input": row.input,
        "cached": row.cached,
        "output": row.output,
        "thinking": row.thinking,
        "date": row.date,
        "source": row.source,
    }
