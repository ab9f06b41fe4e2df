"""What a provider allows per minute, counted on a true sliding window."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from toolkit.serve.world_file import ServerLimits
from toolkit.types import Usage

WINDOW = 60.0  # seconds


@dataclass(slots=True)
class Log:
    """Amounts of the last 60 seconds, at most `limit` of them. A larger single amount needs an empty window."""

    limit: float
    _entries: deque[tuple[float, float]] = field(default_factory=deque)
    _sum: float = 0.0

    def wait(self, amount: float, now: float) -> float:
        """Seconds until `amount` fits; 0 if it does now."""
        self._forget(now)
        excess = self._sum + min(amount, self.limit) - self.limit
        if excess <= 0 or not self._entries:
            return 0.0
        for at, held in self._entries:
            excess -= held
            if excess <= 0:
                return at + WINDOW - now
        raise AssertionError("an empty window holds any amount")

    def add(self, amount: float, now: float) -> None:
        self._entries.append((now, amount))
        self._sum += amount

    def left(self, now: float) -> float:
        self._forget(now)
        return max(0.0, self.limit - self._sum)

    def clears(self, now: float) -> float:
        """Seconds until the window is empty."""
        return self._entries[-1][0] + WINDOW - now if self._entries else 0.0

    def _forget(self, now: float) -> None:
        while self._entries and self._entries[0][0] <= now - WINDOW:
            self._sum -= self._entries.popleft()[1]
        if not self._entries:
            self._sum = 0.0


@dataclass(slots=True)
class Window:
    """One model's limits. Tokens are the real ones, known before the answer leaves."""

    limits: ServerLimits
    clock: Callable[[], float]
    _logs: dict[str, Log] = field(init=False)

    def __post_init__(self) -> None:
        limit = self.limits
        given = {
            "requests": limit.requests_per_minute,
            "tokens": limit.tokens_per_minute,
            "input-tokens": limit.input_tokens_per_minute,
        }
        self._logs = {name: Log(value) for name, value in given.items() if value is not None}

    def wait(self, usage: Usage) -> float:
        """Seconds until a request of this usage is allowed; 0 takes it, any other answer takes nothing."""
        now, amounts = self.clock(), _amounts(usage)
        wait = max((log.wait(amounts[name], now) for name, log in self._logs.items()), default=0.0)
        if wait == 0:
            for name, log in self._logs.items():
                log.add(amounts[name], now)
        return wait

    def headers(self) -> dict[str, str]:
        """`x-ratelimit-*` as OpenAI writes them, where the world file wants them."""
        if not self.limits.rate_limit_headers:
            return {}
        now, said = self.clock(), {}
        for name, log in self._logs.items():
            said[f"x-ratelimit-limit-{name}"] = f"{log.limit:.0f}"
            said[f"x-ratelimit-remaining-{name}"] = f"{log.left(now):.0f}"
            said[f"x-ratelimit-reset-{name}"] = f"{max(0.0, log.clears(now)):.3f}s"
        return said


def _amounts(usage: Usage) -> dict[str, float]:
    total = usage.prompt + usage.output + usage.thinking
    return {"requests": 1, "tokens": total, "input-tokens": usage.prompt}
