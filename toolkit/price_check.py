"""Our price rows against what an installed `genai-prices` (github.com/pydantic/genai-prices) says."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib import import_module
from typing import Any

from toolkit.catalog import Entry
from toolkit.errors import InputError
from toolkit.spec import Price, Rates

Theirs = Callable[[Entry], Price | None]  # None: they do not list the model

PROVIDERS = {"Google": "google", "OpenAI": "openai"}  # vendor -> their provider
KEYS = {"input": "input_mtok", "output": "output_mtok", "cached_input": "cache_read_mtok"}
INSTALL = "genai-prices is not installed: pip install genai-prices, then ask again"


@dataclass(frozen=True, slots=True)
class Difference:
    """One fact on which the two disagree; None where one side does not state it."""

    model: str
    field: str
    ours: str | None
    theirs: str | None


def differences(entries: Iterable[Entry], theirs: Theirs, on: date) -> list[Difference]:
    """Where our price of a day differs from theirs, in the catalog's order.

    Models that have no price of ours that day are left out: most of theirs have no first day.
    """
    return [
        found
        for entry in entries
        if (ours := entry.price(on)) is not None
        for found in _compared(entry.name, facts(ours), facts(theirs(entry)))
    ]


def _compared(model: str, ours: Mapping[str, str], theirs: Mapping[str, str]) -> Iterator[Difference]:
    if not theirs:
        yield Difference(model, "price", f"{ours['input']} in, {ours['output']} out", None)
        return
    for field in dict.fromkeys((*ours, *theirs)):
        if ours.get(field) != theirs.get(field):
            yield Difference(model, field, ours.get(field), theirs.get(field))


def facts(price: Price | None) -> dict[str, str]:
    """What a price states, by field, amounts written alike: `0.3`, not `0.30`."""
    if price is None:
        return {}
    stated = _stated(price)
    for threshold, rates in sorted(price.above.items()):
        stated |= {f"{field} above {threshold}": amount for field, amount in _stated(rates).items()}
    return stated if price.batch is None else stated | {"batch": f"{price.batch.normalize():f}"}


def _stated(rates: Rates) -> dict[str, str]:
    amounts = {field: getattr(rates, field) for field in (*KEYS, "thinking")}
    return {field: f"{amount.normalize():f}" for field, amount in amounts.items() if amount is not None}


def genai_prices(on: date) -> Theirs:
    """Their prices of a day. Raises InputError where the package is not installed."""
    try:
        package = import_module("genai_prices")
    except ImportError:
        raise InputError(INSTALL) from None
    noon = datetime.combine(on, time(12), UTC)

    def look_up(entry: Entry, context: Mapping[str, str] | None = None) -> Any:
        try:
            return package.calc_price(
                package.Usage(input_tokens=1, output_tokens=1),
                entry.name,
                provider_id=PROVIDERS[entry.vendor],
                genai_request_timestamp=noon,
                price_context=context,
            ).model_price
        except (LookupError, KeyError):
            return None

    return lambda entry: translated(look_up(entry), look_up(entry, {"processing": "batch"}))


def translated(standard: Any, batched: Any = None) -> Price | None:
    """Their price in our terms; the batch share is that of input. None where they state no price of text."""
    stated = {field: getattr(standard, key, None) for field, key in KEYS.items()}
    base = {field: _base(price) for field, price in stated.items()}
    if base["input"] is None or base["output"] is None:
        return None
    above = {
        threshold: {field: _at(price, threshold) for field, price in stated.items()}
        for threshold in {tier.start for price in stated.values() for tier in getattr(price, "tiers", ())}
    }
    share = _base(getattr(batched, KEYS["input"], None))
    batch = share / base["input"] if share is not None and base["input"] and share != base["input"] else None
    return Price.model_validate(base | {"above": above, "batch": batch, "source": "genai-prices"})


def _base(price: Any) -> Decimal | None:
    """The price below the first threshold."""
    found: Decimal | None = getattr(price, "base", price)
    return found


def _at(price: Any, threshold: int) -> Decimal | None:
    """The price of prompts just longer than a threshold."""
    held = [tier.price for tier in getattr(price, "tiers", ()) if tier.start <= threshold]
    return held[-1] if held else _base(price)
