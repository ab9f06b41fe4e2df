"""What the ledger holds of an arm's solutions: candidates as columns of numbers, texts one page at a time."""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import groupby, islice

import numpy as np

from toolkit.answers import final_answer, norm_sha, own_solution
from toolkit.dataset import select
from toolkit.dataset.material import Material, Part
from toolkit.dataset.needs import JUDGE, judge_version
from toolkit.dataset.select import HUMAN, Candidates, Mask
from toolkit.equations import equations_sha
from toolkit.majority import vote
from toolkit.types import Outcome
from toolkit.verifiers.math import quick

PAGE = 1000  # texts in memory at once
BLOCK = 50_000  # ledger rows turned into columns at once


def solution(text: str) -> str:
    """What a row teaches: the model's own solution, without the problems it went on to invent (trap 14)."""
    return own_solution(text).strip()


def candidates(material: Material, parts: Sequence[Part], draws: int | None = None) -> Candidates:
    """The solutions of these parts that pass the filter; of every problem and part the first `draws` alone.

    Raises InputError where the ledger lacks the verdicts that the filter needs.
    """
    found = select.joined(
        _of_part(
            material,
            position,
            part.row,
            min((n for n in (part.planned, draws) if n is not None), default=None),
        )
        for position, part in enumerate(parts)
    )
    known = np.fromiter(material.problems, np.int64, len(material.problems))
    found = _keyed(material, found.where(np.isin(found.problem, known)))
    return _agreeing(material, found) if material.spec.filter == "majority" else found


def humans(material: Material) -> Candidates:
    """The human solutions that came with the problems."""
    given = {key: p.solution for key, p in material.problems.items() if p.solution and p.solution.strip()}
    marks = np.full(len(given), HUMAN, np.int64)
    keys = [identity(text.strip(), material.spec.dedup) for text in given.values()]
    problem = np.fromiter(given, np.int64, len(given))
    return select.joined([Candidates(marks, problem, marks, marks, np.array(keys, np.uint64))])


def texts(material: Material, chosen: Candidates) -> Iterator[tuple[int, str]]:
    """(position, solution) of every candidate, in their order, a page in memory at a time."""
    for start in range(0, len(chosen), PAGE):
        ids = chosen.draw[start : start + PAGE].tolist()
        page = dict(
            material.reader.rows(
                f"SELECT draw, text FROM draw_text WHERE draw IN ({','.join('?' * len(ids))})", ids
            )
        )
        for position, draw in enumerate(ids, start):
            human = material.problems[int(chosen.problem[position])].solution if draw == HUMAN else None
            yield position, (human or "").strip() if draw == HUMAN else solution(page[draw])


def by_problem(material: Material, chosen: Candidates) -> Iterator[tuple[list[int], list[str]]]:
    """(positions, solutions) of one problem after the other."""
    problems = chosen.problem.tolist()
    for _, group in groupby(texts(material, chosen), key=lambda pair: problems[pair[0]]):
        pairs = list(group)
        yield [position for position, _ in pairs], [text for _, text in pairs]


# -- reading


def _of_part(material: Material, position: int, row: int, draws: int | None) -> Candidates:
    columns = _query(material, row, draws)
    pieces = []
    while block := list(islice(columns, BLOCK)):
        draw, problem, idx, sha, judged = zip(*block, strict=True)
        piece = Candidates(
            np.array(draw),
            np.array(problem),
            np.array(idx),
            np.full(len(draw), position, np.int64),
            np.array([0 if s is None else int(s, 16) for s in sha], np.uint64),
        )
        pieces.append(
            piece if material.spec.filter != "judged" else piece.where(_free(material, problem, judged))
        )
    return select.joined(pieces)


def _free(material: Material, problem: Sequence[int], judged: Sequence[int]) -> Mask:
    """Draws that the verifier has judged, or could not judge because their problem has no gold."""
    goldless = {key for key, p in material.problems.items() if p.answer is None}
    return np.array([bool(done) or p in goldless for p, done in zip(problem, judged, strict=True)], bool)


def _query(
    material: Material, row: int, draws: int | None
) -> Iterator[tuple[int, int, int, str | None, int]]:
    """(draw, problem, idx, identity, judged by the verifier) of the row's draws that pass the filter."""
    judge = judge_version(material, row)
    wanted = {
        "verified": "v.outcome='correct'",
        "judged": "j.outcome='correct' AND COALESCE(v.outcome, 'correct')='correct'",
        "majority": "1",
        "none": "EXISTS(SELECT 1 FROM draw_text t WHERE t.draw=d.id AND TRIM(t.text, ' '||char(9,10,13))<>'')",
    }[material.spec.filter]
    identity = (
        "COALESCE(NULLIF(v.equations_sha, ''), v.norm_sha)"
        if material.spec.dedup == "equations"
        else "v.norm_sha"
    )
    return material.reader.rows(
        f"SELECT d.id, d.problem, d.idx, {identity}, v.draw IS NOT NULL FROM draw d "
        "JOIN attempt a ON a.id=d.attempt "
        "LEFT JOIN verdict v ON v.draw=d.id AND v.verifier=:verifier AND v.version=:version "
        "LEFT JOIN verdict j ON j.draw=d.id AND j.verifier=:judge_name AND j.version=:judge "
        f"WHERE d.arm=:row AND a.purpose IN ('sample','pilot') AND (:draws IS NULL OR d.idx<:draws) AND {wanted} "
        "ORDER BY d.problem, d.idx",
        {
            "verifier": material.verifier[0],
            "version": material.verifier[1],
            "judge_name": JUDGE,
            "judge": judge,
            "row": row,
            "draws": draws,
        },
    )


# -- what only the text tells


def _keyed(material: Material, found: Candidates) -> Candidates:
    """With the identities that the ledger does not hold: of the very text, and of draws without a verdict."""
    unknown = np.ones(len(found), bool) if material.spec.dedup == "exact" else found.key == 0
    if unknown.any():
        lacking = found.where(unknown)
        found.key[unknown] = np.array(
            [identity(text, material.spec.dedup) for _, text in texts(material, lacking)], np.uint64
        )
    return found


def identity(text: str, level: str) -> int:
    """A number that is equal for equal solutions, at the level of `dataset.dedup`."""
    if level == "exact":
        return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())
    listed = equations_sha(text) if level == "equations" else ""
    return int(listed or norm_sha(text), 16)


def _agreeing(material: Material, found: Candidates) -> Candidates:
    """The draws that gave the answer most draws of their problem gave; none where two answers tie."""
    kept = np.zeros(len(found), bool)
    for positions, solutions in by_problem(material, found):
        kept[positions] = vote([final_answer(text) for text in solutions], _same).agree
    return found.where(kept)


def _same(one: str, other: str) -> bool:
    return quick(one, other) is Outcome.CORRECT
