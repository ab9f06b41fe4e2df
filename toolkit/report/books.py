"""What a page takes from the ledger in a few passes: spend by arm, purpose and cause; prices, versions, decoding.

No text is read here: the passes stay quick at a million draws.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolkit.errors import redact
from toolkit.ledger import Reader
from toolkit.report.facts import Json

PER_MILLION = 10**6  # picodollars per token in a dollar per million tokens
CAUSES = 12  # rows of the table of attempts
KINDS = 4  # different versions or settings told of one arm


@dataclass(frozen=True, slots=True)
class Account:
    """The attempts of one ledger arm with one purpose and fate."""

    arm: str  # as the ledger calls it
    purpose: str
    state: str
    retried: bool  # asked again after an attempt that came to nothing
    requests: int
    draws: int  # asked for
    tokens: Mapping[str, int]  # prompt, cached, output, thinking (apart from output)
    pico: int  # settled cost; of what has no end yet, or an unknown one, the reserved bound
    unpriced: int  # requests without a price


@dataclass(frozen=True, slots=True)
class Served:
    """What the servers said they did, most frequent first, and what it was charged by."""

    versions: Sequence[str] = ()
    effective: Sequence[str] = ()  # decoding as the server applied it, JSON
    price: Json | None = None  # the last row used, in dollars per million tokens
    decoding: Json = field(default_factory=dict)  # as asked
    payload: str = ""  # identity of model, prompt and decoding


@dataclass(frozen=True, slots=True)
class Books:
    last: float | None = None  # end of the last attempt, seconds since the epoch
    accounts: Sequence[Account] = ()
    attempts: Sequence[tuple[str, str, int]] = ()  # state, cause, how many
    draws: Mapping[str, int] = field(default_factory=dict)  # per ledger arm
    truncated: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # draws cut, picodollars they cost
    served: Mapping[str, Served] = field(default_factory=dict)


def read(path: Path) -> Books:
    """The books of a run; empty ones where there is no ledger yet."""
    if not path.is_file():
        return Books()
    with Reader(path) as reader:
        names = {row: name for row, name, _, _ in reader.arms()}
        (last,) = next(reader.rows("SELECT MAX(COALESCE(ended, created)) FROM attempt"))
        return Books(
            last,
            list(_accounts(reader, names)),
            _attempts(reader),
            dict(_draws(reader, names)),
            dict(_truncated(reader, names)),
            _served(reader, names),
        )


def _accounts(reader: Reader, names: Mapping[int, str]) -> Iterator[Account]:
    rows = reader.rows(
        "SELECT arm, purpose, state, parent IS NOT NULL, COUNT(*), SUM(n), SUM(prompt), SUM(cached), SUM(output), "
        "SUM(thinking), SUM(COALESCE(cost_pico, reserved_pico, 0)), SUM(reserved_pico IS NULL AND cost_pico IS NULL) "
        "FROM attempt GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"
    )
    for arm, purpose, state, retried, requests, draws, *tokens, pico, unpriced in rows:
        kinds = zip(("prompt", "cached", "output", "thinking"), (n or 0 for n in tokens), strict=True)
        paid = 0 if state == "released" else pico
        yield Account(names[arm], purpose, state, bool(retried), requests, draws, dict(kinds), paid, unpriced)


def _attempts(reader: Reader) -> list[tuple[str, str, int]]:
    sql = (
        "SELECT state, COALESCE(cause, ''), COUNT(*) FROM attempt GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT ?"
    )
    return [(state, redact(cause)[:200], n) for state, cause, n in reader.rows(sql, (CAUSES,))]


def _draws(reader: Reader, names: Mapping[int, str]) -> Iterator[tuple[str, int]]:
    for arm, n in reader.rows("SELECT arm, COUNT(*) FROM draw GROUP BY arm"):
        yield names[arm], n


def _truncated(reader: Reader, names: Mapping[int, str]) -> Iterator[tuple[str, tuple[int, int]]]:
    """A request's cost is shared by its draws alike."""
    rows = reader.rows(
        "WITH cut AS (SELECT attempt, COUNT(*) AS draws FROM draw WHERE finish='length' GROUP BY attempt) "
        "SELECT a.arm, SUM(cut.draws), SUM(COALESCE(a.cost_pico, 0) * cut.draws / MAX(a.n, 1)) "
        "FROM cut JOIN attempt a ON a.id=cut.attempt GROUP BY a.arm"
    )
    for arm, draws, pico in rows:
        yield names[arm], (draws, pico)


def _served(reader: Reader, names: Mapping[int, str]) -> dict[str, Served]:
    """Per ledger arm; of an arm that was asked in several ways, the latest."""
    told: dict[int, list[tuple[str | None, str | None]]] = {}
    prices: dict[int, int] = {}
    rows = reader.rows(
        "SELECT arm, model_version, effective_json, MAX(price_id) FROM attempt GROUP BY 1, 2, 3 ORDER BY COUNT(*) DESC"
    )
    for arm, version, effective, price in rows:
        told.setdefault(arm, []).append((version, effective))
        prices[arm] = max(prices.get(arm, 0), price or 0)
    asked = {
        row: (json.loads(d), sha)
        for row, d, sha in reader.rows("SELECT id, decoding_json, payload_sha FROM arm")
    }
    return {
        names[arm]: Served(
            _few(version for version, _ in pairs),
            _few(effective for _, effective in pairs),
            _price(reader, prices[arm]),
            *asked[arm],
        )
        for arm, pairs in sorted(told.items())
    }


def _few(found: Iterator[str | None]) -> list[str]:
    return [text for text in dict.fromkeys(found) if text][:KINDS]


def _price(reader: Reader, row: int) -> Json | None:
    """A price row in dollars per million tokens."""
    found = next(reader.rows("SELECT row_json FROM price WHERE id=?", (row,)), None)
    if found is None:
        return None
    price: dict[str, Any] = json.loads(found[0])
    words = {"input": "input", "cached": "cached_input", "output": "output", "thinking": "thinking"}
    rates = {word: price[key] / PER_MILLION for key, word in words.items() if price.get(key) is not None}
    return rates | {key: price.get(key) for key in ("date", "source")}
