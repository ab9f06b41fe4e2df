"""What a few draws of every model showed: tokens, cost and ability, as the plan needs them.

The pilot's draws are ordinary draws of the run (the first of their problems) and count later. Its numbers
are frozen in `pilot.json`, so that a plan made again is the same plan.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from toolkit.errors import InputError
from toolkit.ledger import Reader
from toolkit.types import PICO, Outcome


@dataclass(frozen=True, slots=True)
class Measured:
    """One model's pilot. Lists have one entry per pilot problem, in the run's order."""

    payload_sha: str
    requests: int
    prompt: float  # tokens per request, cached ones included
    output: float  # tokens per draw
    thinking: float  # tokens per draw
    truncated: float  # share of the draws cut at max_tokens
    usd_pico: int | None  # spent; None where unpriced
    tokens_per_second: float | None  # generated while at least one request was out
    draws: tuple[int, ...]
    correct: tuple[int, ...]
    distinct: tuple[Mapping[str, int], ...]  # distinct correct solutions, by identity: how often each came

    @property
    def total(self) -> int:
        return sum(self.draws)

    def as_json(self) -> dict[str, Any]:
        spent = None if self.usd_pico is None else self.usd_pico / PICO
        return asdict(self) | {
            "usd": spent,
            "usd_per_draw": None if spent is None or not self.total else spent / self.total,
            "pass_at_1": None if not self.total else sum(self.correct) / self.total,
        }


def read(
    reader: Reader, row: int, payload_sha: str, problems: Sequence[int], draws: int, verifier: tuple[str, str]
) -> Measured:
    """The pilot of one ledger arm: its first `draws` draws of these problems. Raises InputError if none came."""
    place = {problem: i for i, problem in enumerate(problems)}
    drawn, correct = [0] * len(problems), [0] * len(problems)
    found: list[Counter[str]] = [Counter() for _ in problems]
    cut = 0
    for _, problem, idx, outcome, norm_sha, finish in reader.verdicts(row, *verifier):
        if idx >= draws or outcome is None or (i := place.get(problem)) is None:
            continue
        drawn[i] += 1
        cut += finish == "length"
        if outcome == Outcome.CORRECT:
            correct[i] += 1
            found[i][norm_sha or ""] += 1
    if not sum(drawn):
        raise InputError(
            f"{reader.path}: no judged pilot draw of this arm: run `pricematch plan --pilot` again"
        )
    return Measured(
        payload_sha,
        truncated=cut / sum(drawn),
        draws=tuple(drawn),
        correct=tuple(correct),
        distinct=tuple(map(dict, found)),
        **_tokens(reader, row),
    )


def _tokens(reader: Reader, row: int) -> dict[str, Any]:
    """Mean tokens, spend and throughput of an arm's pilot requests."""
    where = "FROM attempt WHERE arm=? AND purpose='pilot' AND state='settled'"
    requests, prompt, output, thinking, cost, unpriced, draws = next(
        reader.rows(
            "SELECT COUNT(*), SUM(prompt), SUM(output), SUM(thinking), SUM(cost_pico), SUM(cost_pico IS NULL), "
            f"(SELECT COUNT(*) FROM draw WHERE attempt IN (SELECT id {where})) {where}",
            (row, row),
        )
    )
    generated = (output or 0) + (thinking or 0)
    busy = _busy(reader.rows(f"SELECT COALESCE(sent, created), ended {where} ORDER BY 1", (row,)))
    return {
        "requests": requests,
        "prompt": (prompt or 0) / max(requests, 1),
        "output": (output or 0) / max(draws, 1),
        "thinking": (thinking or 0) / max(draws, 1),
        "usd_pico": None if unpriced or not requests else cost,
        "tokens_per_second": generated / busy if busy > 0 else None,
    }


def _busy(spans: Iterable[tuple[Any, ...]]) -> float:
    """Seconds in which at least one of these (begin, end) spans lay; they come by their begin."""
    total, last = 0.0, float("-inf")
    for begin, end in spans:
        if end is not None and end > last:
            total += end - max(begin, last)
            last = end
    return total


def load(content: Mapping[str, Any] | None) -> dict[str, Measured]:
    """The parts of a `pilot.json`, by the name they were drawn under."""
    known = Measured.__dataclass_fields__
    return {
        name: Measured(**{key: _frozen(value) for key, value in part.items() if key in known})
        for name, part in (content or {}).get("parts", {}).items()
    }


def pooled(parts: Iterable[Measured]) -> dict[str, Measured]:
    """By payload: what was measured of one model holds wherever it is asked alike."""
    found: dict[str, Measured] = {}
    for one in parts:
        before = found.get(one.payload_sha)
        found[one.payload_sha] = one if before is None else _pooled(before, one)
    return found


def _frozen(value: Any) -> Any:
    return tuple(_frozen(v) for v in value) if isinstance(value, list) else value


def _pooled(a: Measured, b: Measured) -> Measured:
    """Two arms' pilots of one model on the same problems, as one."""

    def mean(x: float, y: float, m: int, n: int) -> float:
        return (x * m + y * n) / max(m + n, 1)

    return Measured(
        a.payload_sha,
        a.requests + b.requests,
        mean(a.prompt, b.prompt, a.requests, b.requests),
        mean(a.output, b.output, a.total, b.total),
        mean(a.thinking, b.thinking, a.total, b.total),
        mean(a.truncated, b.truncated, a.total, b.total),
        None if a.usd_pico is None or b.usd_pico is None else a.usd_pico + b.usd_pico,
        a.tokens_per_second or b.tokens_per_second,
        tuple(x + y for x, y in zip(a.draws, b.draws, strict=True)),
        tuple(x + y for x, y in zip(a.correct, b.correct, strict=True)),
        tuple(dict(Counter(x) + Counter(y)) for x, y in zip(a.distinct, b.distinct, strict=True)),
    )
