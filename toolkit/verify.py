"""Judging draws: text -> verdict, for whatever has none yet. What "correct" means is the verifier's."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from toolkit.ledger import Ledger, Reader
from toolkit.types import Outcome, Verdict

CHUNK = 2000  # draws whose texts are in memory at once, and verdicts in one transaction

Draw = tuple[int, str]  # row id, gold


class Verifier(Protocol):
    """Judges draws. Taking the answer, or the program, out of a text is part of judging it."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str:
        """Another version is another judgement: its verdicts stand beside the old ones."""
        ...

    def judge(self, draws: Sequence[tuple[str, str]]) -> list[Verdict]:
        """One verdict per (gold, text), in order. A bad text is an outcome, never an exception."""
        ...


@dataclass(frozen=True, slots=True)
class Change:
    """A draw on which two versions of a verifier disagree."""

    draw: int
    arm: int
    problem: int
    idx: int
    gold: str | None
    extracted: tuple[str | None, str | None]  # by the old version, by the new one
    outcome: tuple[Outcome, Outcome]


def run(
    ledger: Ledger,
    arms: Sequence[int],
    golds: Mapping[int, str | None],
    verifier: Verifier,
    on_progress: Callable[[int, int], None] | None = None,
) -> Counter[Outcome]:
    """Judge every draw of these arms that has no verdict of this verifier version at its current gold.

    `golds` maps problem row ids to golds; draws of other problems, or of problems without a gold, are left
    alone. Truncated draws are judged like any other. Returns the outcomes of what was judged now.
    `on_progress(done, total)` is called after each chunk.
    """
    todo = _unjudged(ledger, arms, golds, verifier)
    outcomes: Counter[Outcome] = Counter()
    for chunk in _chunks(todo):
        texts = _texts(ledger, chunk)
        verdicts = verifier.judge([(gold, texts[draw]) for draw, gold in chunk])
        rows = [(draw, gold, verdict) for (draw, gold), verdict in zip(chunk, verdicts, strict=True)]
        ledger.add_verdicts(verifier.name, verifier.version, rows)
        outcomes.update(verdict.outcome for verdict in verdicts)
        if on_progress:
            on_progress(outcomes.total(), len(todo))
    return outcomes


def changes(reader: Reader, arms: Sequence[int], verifier: str, old: str, new: str) -> list[Change]:
    """The draws of these arms, judged by both versions, whose outcome is not the same; in draw order."""
    marks = ",".join("?" * len(arms))
    rows = reader.rows(
        "SELECT d.id, d.arm, d.problem, d.idx, b.gold, a.extracted, b.extracted, a.outcome, b.outcome "
        "FROM draw d JOIN verdict a ON a.draw=d.id AND a.verifier=? AND a.version=? "
        "JOIN verdict b ON b.draw=d.id AND b.verifier=? AND b.version=? "
        f"WHERE d.arm IN ({marks}) AND a.outcome<>b.outcome ORDER BY d.id",
        (verifier, old, verifier, new, *arms),
    )
    return [
        Change(draw, arm, problem, idx, gold, (before, after), (Outcome(was), Outcome(now)))
        for draw, arm, problem, idx, gold, before, after, was, now in rows
    ]


def _unjudged(
    ledger: Ledger, arms: Sequence[int], golds: Mapping[int, str | None], verifier: Verifier
) -> list[Draw]:
    # Read to its end before anything is written: an open cursor would hold a lock against the writer.
    marks = ",".join("?" * len(arms))
    rows = ledger.rows(
        "SELECT d.id, d.problem, v.draw, v.gold FROM draw d LEFT JOIN verdict v "
        f"ON v.draw=d.id AND v.verifier=? AND v.version=? WHERE d.arm IN ({marks}) ORDER BY d.id",
        (verifier.name, verifier.version, *arms),
    )
    return [
        (draw, gold)
        for draw, problem, judged, judged_gold in rows
        if (gold := golds.get(problem)) is not None and (judged is None or judged_gold != gold)
    ]


def _chunks(todo: Sequence[Draw]) -> Iterator[list[Draw]]:
    rest = iter(todo)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk


def _texts(ledger: Ledger, chunk: Sequence[Draw]) -> dict[int, str]:
    marks = ",".join("?" * len(chunk))
    rows = ledger.rows(
        f"SELECT draw, text FROM draw_text WHERE draw IN ({marks})", [draw for draw, _ in chunk]
    )
    return dict(rows)
