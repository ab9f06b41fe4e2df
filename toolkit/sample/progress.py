"""What sampling says of itself: while it runs, and when it has ended."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from toolkit.ledger import Spend
from toolkit.limits import Limiter


@dataclass(slots=True)
class Progress:
    """What a progress line shows; one object, updated in place."""

    planned: dict[str, int] = field(default_factory=dict)  # draws, by arm
    done: Counter[str] = field(default_factory=Counter)
    truncated: Counter[str] = field(default_factory=Counter)
    retries: Counter[str] = field(default_factory=Counter)  # by kind of error
    in_flight: int = 0
    here: int = 0  # draws that came since this process began
    gates: dict[str, Limiter] = field(default_factory=dict)  # by arm
    spend: Callable[[], Spend] | None = None  # so far, of the whole ledger
    cap_pico: int | None = None

    def came(self, arm: str, draws: int) -> None:
        self.done[arm] += draws
        self.here += draws


@dataclass(frozen=True, slots=True)
class Result:
    missing: dict[str, int]  # draws, by arm
    capped: bool
    interrupted: bool
    notes: list[str]
