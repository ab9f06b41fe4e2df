"""What is written to a ledger and read from it. Money is integer picodollars; None is unpriced."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from toolkit.errors import PricematchError
from toolkit.types import Choice, Usage

Fate = Literal["failed", "uncertain", "released"]
Purpose = Literal["sample", "pilot", "judge", "check", "evaluate"]


class AtCap(PricematchError):
    """The reservation would pass the cap. `open_pico` may still be freed by requests in flight."""

    def __init__(self, wanted: int, open_pico: int) -> None:
        super().__init__("the cap is reached")
        self.wanted, self.open_pico = wanted, open_pico


@dataclass(frozen=True, slots=True)
class Intent:
    """One request about to be sent, and the most it can cost."""

    arm: int
    problem: int
    first_index: int
    n: int
    reserved_pico: int | None  # None: unpriced
    price_id: int | None = None
    purpose: Purpose = "sample"
    parent: int | None = None
    endpoint: str | None = None


@dataclass(frozen=True, slots=True)
class LiveBatch:
    """A batch that may be with its provider: `intent` until its id there is known, then `submitted`."""

    id: int
    intent_key: str  # travels with the batch, so that a lost one is found again
    remote_id: str | None
    state: Literal["intent", "submitted"]


@dataclass(frozen=True, slots=True)
class BatchPart:
    """An attempt that waits for its batch."""

    attempt: int
    arm: int
    problem: int
    first_index: int
    n: int
    reserved_pico: int | None


@dataclass(frozen=True, slots=True)
class Settlement:
    """What an answered request cost and brought."""

    choices: Sequence[Choice]
    usage: Usage | None
    cost_pico: int | None
    http_status: int | None = None
    request_id: str = ""
    model_version: str = ""
    effective: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Spend:
    """Picodollars by fate. What counts against the cap is their sum."""

    settled: int = 0
    reserved: int = 0  # in flight now
    uncertain: int = 0  # fate unknown: counts until the user resolves it

    @property
    def committed(self) -> int:
        return self.settled + self.reserved + self.uncertain

    def plus(self, *, settled: int = 0, reserved: int = 0, uncertain: int = 0) -> "Spend":
        return Spend(self.settled + settled, self.reserved + reserved, self.uncertain + uncertain)


@dataclass(frozen=True, slots=True)
class DrawRow:
    """One draw with its text, as verification and export read it."""

    id: int
    arm: int
    problem: int
    idx: int
    finish: str
    text: str
