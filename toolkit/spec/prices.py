"""What models cost."""

from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, Field

from toolkit.spec.section import Section

GPU_SOURCE = "GPU at "  # how the source of a price begins that follows from a GPU's hours

# Per million tokens: exact in picodollars per token.
Dollars = Annotated[Decimal, Field(ge=0, decimal_places=6)]


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


class Gpu(Section):
    """What an hour of the machine costs on which a local model runs: its tokens then have a price."""

    usd_per_hour: Annotated[Decimal, Field(gt=0)]
    # Generated, all requests together; None is measured by the pilot.
    tokens_per_second: Annotated[float, Field(gt=0)] | None = None
