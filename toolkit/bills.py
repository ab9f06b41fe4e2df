"""What an arm's answered requests cost at a price: one pass over the ledger, in SQL."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from toolkit import cost
from toolkit.errors import InputError
from toolkit.ledger import Reader
from toolkit.spec import Price

Ints = NDArray[np.int64]


def repriced(
    reader: Reader, prices: Mapping[int, Price | None], problems: Sequence[int]
) -> dict[int, Ints | None]:
    """`repriced_pico` of each arm row at its own price; None where it has none."""
    return {
        row: None if price is None else repriced_pico(reader, row, problems, price)
        for row, price in prices.items()
    }


def repriced_pico(reader: Reader, arm_row: int, problems: Sequence[int], price: Price) -> Ints | None:
    """Picodollars per problem of an arm's answered draws at another price, in the order of `problems`.

    Request by request, so that long prompts, fees per request and cache hits are billed as the price says;
    what went through a batch is billed at its share. None where the tokens of any request are unknown.
    Raises InputError where requests went through a batch and the price has no share for it.
    """
    batched = None if price.batch is None else cost.price(cost.in_batches(price))
    rows = reader.rows(
        f"SELECT problem, COALESCE(SUM(CASE WHEN batch IS NULL THEN {_bill(cost.price(price))} "
        f"ELSE {_bill(batched) if batched else 0} END), 0), SUM(batch IS NOT NULL), "
        "SUM(prompt IS NULL OR output IS NULL) FROM attempt "
        "WHERE arm=? AND state='settled' AND purpose IN ('sample','pilot') GROUP BY problem ORDER BY problem",
        (arm_row,),
    )
    table = np.array(list(rows), np.int64).reshape(-1, 4)
    asked = np.asarray(problems, np.int64)
    table = table[np.isin(table[:, 0], asked)]
    if table[:, 3].any():
        return None
    if batched is None and table[:, 2].any():
        raise InputError(
            f"the price of {price.date or 'this file'} ({price.source}) has no batch share, and part of the run went "
            "through a batch: set batch to the share a batch pays, such as 0.5, in a file of prices"
        )
    return _laid_out(table[:, 0], table[:, 1], asked)


def _laid_out(known: Ints, values: Ints, asked: Ints) -> Ints:
    """The value of each problem asked for; 0 where none is known. `known` ascends."""
    if not len(known):
        return np.zeros(len(asked), np.int64)
    place = np.minimum(np.searchsorted(known, asked), len(known) - 1)
    return np.where(known[place] == asked, values[place], 0)


def _bill(price: cost.Price) -> str:
    """`cost.Price.cost` of one row of the attempt table, in SQL."""
    bands = [(end, _sum(rates)) for _, end, rates in price.bands(0)]
    *shorter, (_, longest) = bands
    cases = " ".join(f"WHEN prompt <= {end} THEN {total}" for end, total in shorter)
    return f"({price.request} + {f'CASE {cases} ELSE {longest} END' if cases else longest})"


def _sum(rates: cost.Rates) -> str:
    return (
        f"((prompt - COALESCE(cached, 0)) * {rates.input} + COALESCE(cached, 0) * {rates.cached} "
        f"+ output * {rates.output} + COALESCE(thinking, 0) * {rates.thinking})"
    )
