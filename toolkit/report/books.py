"""What a page takes from the ledger: spend, attempts, prices, versions, and solutions worth looking at."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolkit.errors import redact
from toolkit.ledger import Reader, Spend
from toolkit.report.facts import Facts, Json
from toolkit.types import Problem

SAMPLES = 24  # solutions shown unless the run file says otherwise
LONGEST = 6000  # characters of one text; the rest is cut, and the page says so
PER_MILLION = 10**6  # picodollars per token in a dollar per million tokens
CAUSES = 12  # rows of the table of attempts


@dataclass(frozen=True, slots=True)
class Solution:
    arm: str
    idx: int
    outcome: str
    extracted: str | None
    finish: str
    text: str
    length: int  # characters before it was cut


@dataclass(frozen=True, slots=True)
class Sample:
    """One problem with a solution of each arm that has one."""

    problem: str
    question: str | None  # None where the caller's problems do not hold it
    gold: str | None
    solutions: tuple[Solution, ...]


@dataclass(frozen=True, slots=True)
class Books:
    """What the page takes from the ledger."""

    last: float | None = None  # end of the last attempt, seconds since the epoch
    spend: Spend = field(default_factory=Spend)
    unpriced: bool = False
    attempts: Sequence[tuple[str, str, int]] = ()  # state, cause, how many
    draws: Mapping[str, int] = field(default_factory=dict)  # per arm
    versions: Mapping[str, Sequence[str]] = field(default_factory=dict)  # arm -> model versions as served
    prices: Mapping[str, Json] = field(default_factory=dict)  # arm -> the last price row used
    samples: Sequence[Sample] = ()


def read(path: Path, found: Facts, problems: Mapping[str, Problem]) -> Books:
    """The books of a run; empty ones where there is no ledger yet."""
    if not path.is_file():
        return Books()
    with Reader(path) as reader:
        named = {name: arm for arm, name, _, _ in reader.arms() if not found.arms or name in found.arms}
        last, unpriced = next(
            reader.rows("SELECT MAX(COALESCE(ended, created)), SUM(reserved_pico IS NULL) FROM attempt")
        )
        wanted = ((found.run or {}).get("report") or {}).get("samples", SAMPLES)
        return Books(
            last,
            reader.spend(),
            bool(unpriced),
            _attempts(reader),
            {name: _one(reader, "SELECT COUNT(*) FROM draw WHERE arm=?", arm) for name, arm in named.items()},
            {name: _served(reader, arm) for name, arm in named.items()},
            {name: row for name, arm in named.items() if (row := _price(reader, arm))},
            _samples(reader, named, problems, wanted),
        )


def _one(reader: Reader, sql: str, *args: Any) -> Any:
    return next(reader.rows(sql, args), (None,))[0]


def _attempts(reader: Reader) -> list[tuple[str, str, int]]:
    sql = (
        "SELECT state, COALESCE(cause, ''), COUNT(*) FROM attempt GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT ?"
    )
    return [(state, redact(cause)[:200], n) for state, cause, n in reader.rows(sql, (CAUSES,))]


def _served(reader: Reader, arm: int) -> list[str]:
    sql = "SELECT DISTINCT model_version FROM attempt WHERE arm=? AND model_version <> '' ORDER BY 1"
    return [version for (version,) in reader.rows(sql, (arm,))]


def _price(reader: Reader, arm: int) -> Json | None:
    """The last price row an arm's attempts used, in dollars per million tokens."""
    sql = "SELECT row_json FROM price WHERE id=(SELECT MAX(price_id) FROM attempt WHERE arm=?)"
    found = _one(reader, sql, arm)
    if not found:
        return None
    row = json.loads(found)
    names = {"input": "input", "cached": "cached_input", "output": "output", "thinking": "thinking"}
    rates = {word: row[key] / PER_MILLION for key, word in names.items() if row.get(key) is not None}
    return rates | {key: row.get(key) for key in ("date", "source")}


def _samples(
    reader: Reader, arms: Mapping[str, int], problems: Mapping[str, Problem], wanted: int
) -> list[Sample]:
    """Problems spread over the run, all arms side by side; every second problem shows a draw that failed."""
    drawn = [
        {p for (p,) in reader.rows("SELECT DISTINCT problem FROM draw WHERE arm=?", (arm,))}
        for arm in arms.values()
    ]
    drawn = [d for d in drawn if d]
    if not drawn or wanted <= 0:
        return []
    shared = sorted(set.intersection(*drawn) or set.union(*drawn))
    number = min(max(wanted // len(drawn), 1), len(shared))
    chosen = [shared[(2 * i + 1) * len(shared) // (2 * number)] for i in range(number)]
    return [_sample(reader, arms, problems, row, right=i % 2 == 0) for i, row in enumerate(chosen)]


def _sample(
    reader: Reader, arms: Mapping[str, int], problems: Mapping[str, Problem], row: int, *, right: bool
) -> Sample:
    key, sha = next(reader.rows("SELECT key, sha FROM problem WHERE id=?", (row,)))
    problem = problems.get(key)
    same = problem if problem is not None and problem.sha == sha else None
    solutions = [_solution(reader, name, arm, row, right) for name, arm in arms.items()]
    marks = ",".join("?" * len(arms))
    sql = f"SELECT MAX(v.gold) FROM draw d JOIN verdict v ON v.draw=d.id WHERE d.arm IN ({marks}) AND d.problem=?"
    gold = _one(reader, sql, *arms.values(), row)
    return Sample(
        key,
        cut(same.question) if same else None,
        gold or (same.answer if same else None),
        tuple(s for s in solutions if s is not None),
    )


def _solution(reader: Reader, name: str, arm: int, problem: int, right: bool) -> Solution | None:
    """The first draw of the wanted kind, or else the first draw; judged by the newest verifier."""
    sql = (
        "SELECT d.idx, COALESCE(v.outcome, 'unverified'), v.extracted, d.finish, SUBSTR(t.text, 1, ?), LENGTH(t.text) "
        "FROM draw d JOIN draw_text t ON t.draw=d.id LEFT JOIN verdict v ON v.draw=d.id AND (v.verifier, v.version)="
        "(SELECT verifier, version FROM verdict WHERE draw=d.id ORDER BY version DESC LIMIT 1) "
        "WHERE d.arm=? AND d.problem=? ORDER BY (v.outcome IS 'correct')=? DESC, d.idx LIMIT 1"
    )
    row = next(reader.rows(sql, (LONGEST, arm, problem, right)), None)
    if row is None:
        return None
    idx, outcome, extracted, finish, text, length = row
    return Solution(name, idx, outcome, cut(extracted, 200) if extracted else None, finish, text, length)


def cut(text: str, longest: int = LONGEST) -> str:
    return (
        text if len(text) <= longest else f"{text[:longest]}… [cut: {longest:,} of {len(text):,} characters]"
    )
