"""Judging draws: text -> final answer -> verdict, for whatever has none yet."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice

from toolkit.answers import final_answer, norm_sha
from toolkit.ledger import Ledger
from toolkit.types import Outcome, Verdict
from toolkit.verifiers.math import MathVerifier

CHUNK = 2000  # draws whose texts are in memory at once, and verdicts in one transaction

Draw = tuple[int, str]  # row id, gold


def run(
    ledger: Ledger,
    arms: Sequence[int],
    golds: Mapping[int, str | None],
    verifier: MathVerifier,
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
        verdicts = _judge(chunk, _texts(ledger, chunk), verifier)
        ledger.add_verdicts(verifier.name, verifier.version, verdicts)
        outcomes.update(verdict.outcome for _, _, verdict in verdicts)
        if on_progress:
            on_progress(outcomes.total(), len(todo))
    return outcomes


def _unjudged(
    ledger: Ledger, arms: Sequence[int], golds: Mapping[int, str | None], verifier: MathVerifier
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


def _judge(
    chunk: Sequence[Draw], texts: Mapping[int, str], verifier: MathVerifier
) -> list[tuple[int, str | None, Verdict]]:
    answers = [final_answer(texts[draw]) for draw, _ in chunk]
    pairs = [(gold, answer) for (_, gold), answer in zip(chunk, answers, strict=True) if answer is not None]
    outcomes = iter(verifier.check_many(pairs))
    return [
        (
            draw,
            gold,
            Verdict(Outcome.UNPARSABLE if answer is None else next(outcomes), answer, norm_sha(texts[draw])),
        )
        for (draw, gold), answer in zip(chunk, answers, strict=True)
    ]
