"""Solutions for the page itself: a few problems spread over the run, all arms side by side."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from toolkit.ledger import Reader
from toolkit.report.facts import Facts
from toolkit.types import Problem

SAMPLES = 24  # solutions shown unless the run file says otherwise
LONGEST = 6000  # characters of one text; the rest is cut, and the page says so


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


def read(path: Path, facts: Facts, problems: Mapping[str, Problem]) -> list[Sample]:
    """Problems spread over the run; every second one shows a draw that failed."""
    wanted = int(((facts.run or {}).get("report") or {}).get("samples", SAMPLES))
    if not path.is_file() or wanted <= 0:
        return []
    with Reader(path) as reader:
        return _samples(reader, shown(reader, facts), problems, wanted)


def shown(reader: Reader, facts: Facts) -> dict[str, int]:
    """Ledger arms whose draws are compared: name -> row; of an arm asked in several ways, the latest."""
    named = {name: row for row, name, _, _ in reader.arms()}
    wanted = {part for arm in facts.arms for part in facts.parts(arm)} if facts.arms else set(named)
    return {name: row for name, row in named.items() if name in wanted}


def _samples(
    reader: Reader, arms: Mapping[str, int], problems: Mapping[str, Problem], wanted: int
) -> list[Sample]:
    drawn = [
        {p for (p,) in reader.rows("SELECT DISTINCT problem FROM draw WHERE arm=?", (arm,))}
        for arm in arms.values()
    ]
    drawn = [d for d in drawn if d]
    if not drawn:
        return []
    shared = sorted(set.intersection(*drawn) or set.union(*drawn))
    number = min(max(wanted // len(drawn), 1), len(shared))
    chosen = [shared[(2 * i + 1) * len(shared) // (2 * number)] for i in range(number)]
    return [_sample(reader, arms, problems, row, right=i % 2 == 0) for i, row in enumerate(chosen)]


def _sample(
    reader: Reader, arms: Mapping[str, int], problems: Mapping[str, Problem], row: int, *, right: bool
) -> Sample:
    key, sha = next(reader.rows("SELECT key, sha FROM problem WHERE id=?", (row,)))
    same = asked(problems, key, sha)
    solutions = [_solution(reader, name, arm, row, right) for name, arm in arms.items()]
    marks = ",".join("?" * len(arms))
    sql = f"SELECT MAX(v.gold) FROM draw d JOIN verdict v ON v.draw=d.id WHERE d.arm IN ({marks}) AND d.problem=?"
    (gold,) = next(reader.rows(sql, (*arms.values(), row)))
    return Sample(
        key,
        cut(same.question) if same else None,
        gold or (same.answer if same else None),
        tuple(s for s in solutions if s is not None),
    )


def asked(problems: Mapping[str, Problem], key: str, sha: str) -> Problem | None:
    """The problem of that id, if it is the very one that was asked."""
    found = problems.get(key)
    return found if found is not None and found.sha == sha else None


def _solution(reader: Reader, name: str, arm: int, problem: int, right: bool) -> Solution | None:
    """The first draw of the wanted kind, or else the first draw; judged by the newest verifier."""
    sql = (
        "SELECT d.idx, COALESCE(v.outcome, 'unverified'), v.extracted, d.finish, SUBSTR(t.text, 1, ?), LENGTH(t.text) "
        "FROM draw d JOIN draw_text t ON t.draw=d.id LEFT JOIN verdict v ON v.draw=d.id AND (v.verifier, v.version)="
        "(SELECT verifier, version FROM verdict WHERE draw=d.id AND verifier <> 'judge' ORDER BY version DESC LIMIT 1) "
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
