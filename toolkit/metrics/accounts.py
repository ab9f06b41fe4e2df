"""What a ledger knows of problems beside their draws: what they cost, their level, subject and gold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from toolkit.estimators import Floats, Ints
from toolkit.gpu import Flops, Work
from toolkit.ledger import Reader
from toolkit.types import PICO


@dataclass(frozen=True, slots=True)
class Cost:
    """What a ledger row's answered sampling requests cost, per problem."""

    requests: int
    tokens: Mapping[str, int]  # thinking is apart from output
    pico: Ints | None  # None where any request is unpriced
    work: Work[Floats] | None  # None where any request's usage is unknown

    @property
    def usd(self) -> Floats | None:
        return None if self.pico is None else self.pico.astype(np.float64) / PICO

    def flops(self, compute: Flops | None) -> Floats | None:
        """None where the usage or the parameters are unknown."""
        return None if self.work is None or compute is None else compute.of(self.work)


@dataclass(frozen=True, slots=True)
class Labels:
    """What the ledger knows of each problem; None where it does not."""

    level: Sequence[str | None]
    subject: Sequence[str | None]
    gold: Sequence[str | None]

    def golds(self) -> list[str] | None:
        """All golds; None where any is not known."""
        known = [gold for gold in self.gold if gold is not None]
        return known if len(known) == len(self.gold) else None


SUMS = {
    "requests": "COUNT(*)",
    "pico": "SUM(cost_pico)",
    "unpriced": "SUM(cost_pico IS NULL)",
    "unknown": "SUM(output IS NULL)",
    "prompt": "SUM(prompt)",
    "cached": "SUM(cached)",
    "output": "SUM(output)",
    "thinking": "SUM(thinking)",
    # of pairs of tokens; a request's draws are taken as equally long, since its usage is one number for all
    "read_by_written": "SUM(prompt * (output + COALESCE(thinking, 0)))",
    "written_squared": "SUM((output + COALESCE(thinking, 0)) * (output + COALESCE(thinking, 0)) * 1.0 / n)",
    "attended": "SUM(prompt * prompt - COALESCE(cached, 0) * COALESCE(cached, 0))",
}


def cost(reader: Reader, row: int, problems: Sequence[int]) -> Cost:
    """What a ledger row's draws of these problems cost."""
    rows = reader.rows(
        f"SELECT problem, {', '.join(SUMS.values())} FROM attempt "
        "WHERE arm=? AND state='settled' AND purpose IN ('sample','pilot') GROUP BY problem",
        (row,),
    )
    known = {problem: [value or 0 for value in values] for problem, *values in rows}
    table = [known.get(problem, [0] * len(SUMS)) for problem in problems]
    by = {name: np.array(column) for name, column in zip(SUMS, zip(*table, strict=True), strict=True)}
    return Cost(
        requests=int(by["requests"].sum()),
        tokens={kind: int(by[kind].sum()) for kind in ("prompt", "cached", "output", "thinking")},
        pico=None if by["unpriced"].any() else by["pico"],
        work=None if by["unknown"].any() else _work({name: s.astype(np.float64) for name, s in by.items()}),
    )


def _work(by: Mapping[str, Floats]) -> Work[Floats]:
    return Work(
        generated=by["output"] + by["thinking"],
        context=by["read_by_written"] + by["written_squared"] / 2,
        read=by["prompt"] - by["cached"],
        attended=by["attended"],
    )


def labels(reader: Reader, rows: Sequence[int], problems: Sequence[int], verifier: tuple[str, str]) -> Labels:
    """Level, subject and gold of these problems, the gold as the first judged draw of any row has it."""
    known = {
        p: (level, subject) for p, level, subject in reader.rows("SELECT id, level, subject FROM problem")
    }
    golds: dict[int, str] = {}
    for row in rows:
        found = reader.rows(
            "SELECT p.id, (SELECT v.gold FROM draw d JOIN verdict v ON v.draw=d.id AND v.verifier=? AND v.version=? "
            "WHERE d.arm=? AND d.problem=p.id LIMIT 1) FROM problem p",
            (*verifier, row),
        )
        golds |= {problem: gold for problem, gold in found if gold is not None}
    return Labels(
        [known[p][0] for p in problems], [known[p][1] for p in problems], [golds.get(p) for p in problems]
    )
