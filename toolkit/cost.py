"""What a draw costs: integer picodollars by price, FLOPs by parameters.

FLOPs are 2 x parameters x generated tokens (Kaplan et al. 2020, as in arXiv 2408.16737 section 3); the
prompt's prefill and attention are left out, as the paper leaves them out.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from fractions import Fraction
from typing import Any

from toolkit import spec
from toolkit.types import PICO, Request, Usage

PICO_PER_TOKEN = Decimal("0.000001")  # dollars per million tokens
BYTES_PER_MESSAGE = 16  # room for a chat template's own tokens around each message
KINDS = ("input", "cached", "output", "thinking")


@dataclass(frozen=True, slots=True)
class Rates:
    """Picodollars per token."""

    input: int
    output: int
    cached: int
    thinking: int


@dataclass(frozen=True, slots=True)
class Price(Rates):
    """Picodollars per token, and per answered request."""

    date: str = ""
    source: str = ""
    request: int = 0
    above: tuple[tuple[int, Rates], ...] = ()  # (prompt tokens, rates of longer prompts), the shortest first

    def rates(self, prompt: int) -> Rates:
        """What each token of a request costs whose prompt has so many tokens."""
        held: Rates = self
        for threshold, rates in self.above:
            if prompt <= threshold:
                break
            held = rates
        return held

    def cost(self, usage: Usage) -> int:
        """What the usage of one request costs; cached tokens are part of the prompt."""
        rates = self.rates(usage.prompt) if self.above else self
        return (
            self.request
            + (usage.prompt - usage.cached) * rates.input
            + usage.cached * rates.cached
            + usage.output * rates.output
            + usage.thinking * rates.thinking
        )

    def expected(
        self,
        prompt: float | Fraction,
        output: float | Fraction,
        thinking: float | Fraction,
        requests: int = 1,
    ) -> Fraction:
        """Of so many requests with so long a prompt each, `output` and `thinking` tokens over all of them."""
        rates = self.rates(math.ceil(prompt))
        asked = requests * (self.request + Fraction(prompt) * rates.input)
        return asked + Fraction(output) * rates.output + Fraction(thinking) * rates.thinking

    def bound(self, request: Request) -> int:
        """The most one request can cost. Needs `max_tokens`."""
        if request.max_tokens is None:
            raise ValueError("a priced request needs max_tokens")
        return self.most(prompt_bound(request), request.n * request.max_tokens)

    def most(self, prompt: int, generated: int) -> int:
        """The most that a request of at most so many tokens can cost, however long its prompt turns out."""
        if not self.above or prompt <= self.above[0][0]:  # the hot path: one band
            into = self.input if self.input > self.cached else self.cached
            out = self.output if self.output > self.thinking else self.thinking
            return self.request + prompt * into + generated * out
        return self.request + max(
            min(prompt, longest) * max(rates.input, rates.cached)
            + generated * max(rates.output, rates.thinking)
            for shortest, longest, rates in self.bands(prompt)
            if shortest <= prompt
        )

    def bands(self, longest: int) -> Iterator[tuple[int, int, Rates]]:
        """(shortest prompt, longest prompt, rates) of each band; the last one ends at `longest` or where it begins."""
        starts = [0, *(threshold + 1 for threshold, _ in self.above)]
        ends = [*(threshold for threshold, _ in self.above), max(longest, starts[-1])]
        return zip(starts, ends, [self, *(rates for _, rates in self.above)], strict=True)

    def as_json(self) -> dict[str, Any]:
        """Dollars per million tokens, as prices are quoted."""
        shown = _per_million(self) | {"date": self.date, "source": self.source}
        if self.request:
            shown["per_request"] = self.request / PICO
        if self.above:
            shown["above"] = {str(threshold): _per_million(rates) for threshold, rates in self.above}
        return shown


def price(quoted: spec.Price) -> Price:
    """A quoted price in integers; exact, since quotes have at most six decimals."""
    base = _rates(quoted)
    return Price(
        base.input,
        base.output,
        base.cached,
        base.thinking,
        date=quoted.date,
        source=quoted.source,
        request=int(quoted.per_request * PICO),
        above=tuple((threshold, _rates(quoted.above[threshold])) for threshold in sorted(quoted.above)),
    )


def _rates(quoted: spec.Rates) -> Rates:
    cached = quoted.input if quoted.cached_input is None else quoted.cached_input
    thinking = quoted.output if quoted.thinking is None else quoted.thinking
    return Rates(*map(_pico_per_token, (quoted.input, quoted.output, cached, thinking)))


def in_batches(quoted: spec.Price) -> spec.Price:
    """The quote inside a batch, in whole picodollars per token, rounded up; a fee per request stays whole.

    A cache hit there costs what it costs outside (ai.google.dev/gemini-api/docs/batch-api, read 2026-11-21);
    where a vendor halves it too, this is an upper bound.
    """
    share = quoted.batch
    if share is None:
        raise ValueError("this price has no batch share")
    above = {
        threshold: rates.model_copy(update=_share_of(rates, share))
        for threshold, rates in quoted.above.items()
    }
    source = f"{quoted.source}, in batches at {share} of it"
    return quoted.model_copy(update=_share_of(quoted, share) | {"above": above, "source": source})


def _share_of(rates: spec.Rates, share: Decimal) -> dict[str, Decimal | None]:
    def of(dollars: Decimal) -> Decimal:
        return (dollars * share).quantize(PICO_PER_TOKEN, ROUND_CEILING)

    return {
        "input": of(rates.input),
        "output": of(rates.output),
        "cached_input": None if rates.cached_input is None else min(rates.cached_input, of(rates.input)),
        "thinking": None if rates.thinking is None else of(rates.thinking),
    }


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


def _per_million(rates: Rates) -> dict[str, Any]:
    return {kind: getattr(rates, kind) / 10**6 for kind in KINDS}


def price_row(model: str, row: Price) -> Mapping[str, Any]:
    """The price as the ledger keeps it: all that `from_row` needs to compute the same bill again."""
    kept = {"model": model, **_kinds(row), "date": row.date, "source": row.source}
    if row.request:
        kept["request"] = row.request
    if row.above:
        kept["above"] = {str(threshold): _kinds(rates) for threshold, rates in row.above}
    return kept


def from_row(row: Mapping[str, Any]) -> Price:
    """The price that `price_row` wrote."""
    above = sorted((int(threshold), Rates(**kinds)) for threshold, kinds in row.get("above", {}).items())
    return Price(
        **{kind: row[kind] for kind in KINDS},
        date=row.get("date", ""),
        source=row.get("source", ""),
        request=row.get("request", 0),
        above=tuple(above),
    )


def _kinds(rates: Rates) -> dict[str, int]:
    return {kind: getattr(rates, kind) for kind in KINDS}
