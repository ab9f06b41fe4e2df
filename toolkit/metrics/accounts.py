"""What a ledger knows of problems beside their draws: what they cost, their level, subject and gold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from toolkit.estimators import Floats, Ints
from toolkit.ledger import Reader
from toolkit.types import PICO


@dataclass(frozen=True, slots=True)
class Cost:
    """What a ledger row's answered sampling requests cost, per problem."""

    requests: int
    tokens: Mapping[str, int]  # thinking is apart from output
    pico: Ints | None  # None where any request is unpriced
    generated: Ints | None  # output + thinking tokens; None where any request's usage is unknown

    @property
    def usd(self) -> Floats | None:
        return None if self.pico is None else self.pico.astype(np.float64) / PICO

    def flops(self, per_token: int | None) -> Floats | None:
        """None where the usage or the parameters are unknown."""
        if self.generated is None or per_token is None:
            return None
        return self.generated.astype(np.float64) * per_token


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


def cost(reader: Reader, row: int, problems: Sequence[int]) -> Cost:
    """What a ledger row's draws of these problems cost."""
    place = {problem: i for i, problem in enumerate(problems)}
    columns = ("requests", "pico", "unpriced", "unknown", "prompt", "cached", "output", "thinking")
    sums = np.zeros((len(problems), len(columns)), np.int64)
    for problem, *values in reader.rows(
        "SELECT problem, COUNT(*), SUM(cost_pico), SUM(cost_pico IS NULL), SUM(output IS NULL), SUM(prompt), "
        "SUM(cached), SUM(output), SUM(thinking) FROM attempt "
        "WHERE arm=? AND state='settled' AND purpose IN ('sample','pilot') GROUP BY problem",
        (row,),
    ):
        if (at := place.get(problem)) is not None:
            sums[at] = [value or 0 for value in values]
    by = dict(zip(columns, sums.T, strict=True))
    return Cost(
        requests=int(by["requests"].sum()),
        tokens={kind: int(by[kind].sum()) for kind in ("prompt", "cached", "output", "thinking")},
        pico=None if by["unpriced"].any() else by["pico"],
        generated=None if by["unknown"].any() else by["output"] + by["thinking"],
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
