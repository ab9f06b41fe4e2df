"""What a ledger holds of an arm, counted per problem: draws, correct ones, equal solutions.

SQLite packs a block of verdicts into a few long texts and numpy takes them apart, so that no draw ever
becomes a Python object. Verdicts and draws are both read in the order they lie in the file, the texts of
draws not at all.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.estimators import Ints
from toolkit.ledger import Reader
from toolkit.types import Outcome

Words = NDArray[np.uint64]

UNVERIFIED = "unverified"
# Level of identity -> its value in SQL. A solution without calculations is compared by its normalised text.
LEVELS = {
    "exact": "v.exact_sha",
    "normalised": "v.norm_sha",
    "equations": "CASE v.equations_sha WHEN '' THEN v.norm_sha ELSE v.equations_sha END",
}
OUTCOMES = tuple(o.value for o in Outcome)
BLOCK = 65_536  # draws whose verdicts are one query: some megabytes of text
_CODES = 16  # of a judged draw: its outcome, and 8 more where it was cut at max_tokens
_ALL = 2**62  # above any draw index
_SEPARATOR = "\x1f"
_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # odd: keeps equal solutions of different problems apart


@dataclass(frozen=True, slots=True)
class Tally:
    """An arm's draws of some problems; arrays are in the order of the problems unless they say otherwise."""

    drawn: Ints
    judged: Ints  # draws with a verdict, whatever it says
    correct: Ints
    owner: Ints  # for each correct draw: whose it is, an index into the problems
    identity: Mapping[str, Words]  # level -> for each correct draw: equal means the same solution
    outcomes: Mapping[str, int]  # of all draws; "unverified" among them
    truncated: int  # draws cut at max_tokens


@dataclass(frozen=True, slots=True)
class Counted:
    """A ledger row's draws, and those of them that every problem was given whatever came out."""

    prefix: Tally
    all: Tally  # the same object where the row was not drawn adaptively


@dataclass(frozen=True, slots=True)
class Distinct:
    """The different correct solutions of each problem; an entry stands for `count` of them."""

    of: Ints  # whose they are, an index into the problems
    multiplicity: Ints  # (entries x parts): how often each part of the arm drew one of them
    count: Ints

    def per_problem(self, problems: int) -> Ints:
        return np.bincount(self.of, weights=self.count, minlength=problems).astype(np.int64)


def count(
    reader: Reader, prefixes: Mapping[int, int | None], problems: Sequence[int], verifier: tuple[str, str]
) -> dict[int, Counted]:
    """The draws of these ledger rows, counted in one pass over the verdicts of this verifier (name, version).

    `prefixes` gives for each row the draws of a problem that were given whatever came out; None is all. A
    level whose identities are not known for every correct draw is left out of `identity`.
    """
    scope = _Scope(reader, _places(problems), len(problems), verifier)
    cells = _scan(scope, prefixes)
    found = {}
    for i, (row, below) in enumerate(prefixes.items()):
        everything = _tally(scope, cells, _Window(row, None, (2 * i, 2 * i + 1)))
        begun = everything if below is None else _tally(scope, cells, _Window(row, below, (2 * i,)))
        found[row] = Counted(begun, everything)
    return found


def distinct(tallies: Sequence[Tally], level: str) -> Distinct | None:
    """The different correct solutions that the parts of an arm drew together; None where not known.

    Solutions are told apart by 64 bits, as in the ledger.
    """
    if any(level not in t.identity for t in tallies):
        return None
    owner = np.concatenate([t.owner for t in tallies])
    words = np.concatenate([t.identity[level] for t in tallies])
    part = np.repeat(np.arange(len(tallies)), [len(t.owner) for t in tallies])
    keys = words + owner.astype(np.uint64) * _SPREAD
    order = np.argsort(keys)
    first = np.empty(len(keys), bool)
    first[:1], first[1:] = True, keys[order][1:] != keys[order][:-1]
    solution = np.cumsum(first) - 1
    of = owner[order][first]
    times = np.bincount(solution * len(tallies) + part[order], minlength=len(of) * len(tallies))
    return _collapsed(of, times.reshape(len(of), len(tallies)))


# -- inside


@dataclass(frozen=True, slots=True)
class _Scope:
    """What is being counted."""

    reader: Reader
    place: Ints  # ledger id of a problem -> its index among those counted, -1 for others
    problems: int
    verifier: tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Window:
    """Some draws of a ledger row: those with an index below `below`, which are in these cells."""

    row: int
    below: int | None
    cells: tuple[int, ...]


@dataclass(slots=True)
class _Cells:
    """Running counts. Cell 2i holds the draws of row i inside its prefix, cell 2i + 1 those beyond it."""

    judged: Ints  # (cells x problems)
    codes: Ints  # (cells x codes)
    cell: list[NDArray[np.int8]] = field(default_factory=list)  # these: for each correct draw, in blocks
    owner: list[NDArray[np.int32]] = field(default_factory=list)
    words: dict[str, list[Words]] = field(default_factory=lambda: {level: [] for level in LEVELS})

    @classmethod
    def empty(cls, cells: int, problems: int) -> "_Cells":
        return cls(np.zeros((cells, problems), np.int64), np.zeros((cells, _CODES), np.int64))

    def add(self, block: Sequence[Any], place: Ints) -> None:
        packed = np.fromstring(block[0] or "", dtype=np.int64, sep=",")
        rest, code = np.divmod(packed, _CODES)
        problem, cell = np.divmod(rest, len(self.judged))
        owner = _at(place, problem)
        ours, right = owner >= 0, code % 8 == 0
        np.add.at(self.judged, (cell[ours], owner[ours]), 1)
        np.add.at(self.codes, (cell[ours], code[ours]), 1)
        kept = ours[right]
        self.cell.append(cell[right][kept].astype(np.int8))
        self.owner.append(owner[right][kept].astype(np.int32))
        for level, text in zip(LEVELS, block[1:], strict=True):
            words = _words(text)
            if len(words) != len(kept):
                self.words.pop(level, None)  # some solution has no such identity
            elif level in self.words:
                self.words[level].append(words[kept])

    def correct(self, cells: tuple[int, ...]) -> tuple[Ints, dict[str, Words]]:
        """Owners and identities of the correct draws in these cells."""
        here = np.isin(np.concatenate(self.cell), cells)
        words = {level: np.concatenate(blocks)[here] for level, blocks in self.words.items()}
        return np.concatenate(self.owner)[here].astype(np.int64), words


def _block_sql(reader: Reader, prefixes: Mapping[int, int | None]) -> str:
    """One row per block of draw ids: packed numbers of the judged draws, and a text per level of the correct ones."""
    has = {name for (name,) in reader.rows("SELECT name FROM pragma_table_info('verdict')")}
    cell = " ".join(
        f"WHEN {row} THEN {2 * i}" + ("" if below is None else f" + (d.idx >= {below})")
        for i, (row, below) in enumerate(prefixes.items())
    )
    outcome = " ".join(f"WHEN '{name}' THEN {i}" for i, name in enumerate(OUTCOMES))
    right = f"FILTER (WHERE v.outcome='correct' AND d.arm IN ({','.join(map(str, prefixes))}))"
    levels = (sql if sql == LEVELS["normalised"] or "exact_sha" in has else "NULL" for sql in LEVELS.values())
    return (
        f"SELECT group_concat((d.problem * {2 * len(prefixes)} + CASE d.arm {cell} END) * {_CODES} "
        f"+ CASE v.outcome {outcome} ELSE {len(OUTCOMES) - 1} END + 8 * (d.finish='length')), "
        + ", ".join(f"group_concat({sql}, char({ord(_SEPARATOR)})) {right}" for sql in levels)
        + " FROM verdict v CROSS JOIN draw d ON d.id=v.draw "
        "WHERE v.draw >= ? AND v.draw < ? AND v.verifier=? AND v.version=?"
    )


def _scan(scope: _Scope, prefixes: Mapping[int, int | None]) -> _Cells:
    cells = _Cells.empty(2 * len(prefixes), scope.problems)
    if not prefixes:
        return cells
    sql = _block_sql(scope.reader, prefixes)
    (last,) = next(scope.reader.rows("SELECT MAX(id) FROM draw"))
    for start in range(0, (last or 0) + 1, BLOCK):
        cells.add(next(scope.reader.rows(sql, (start, start + BLOCK, *scope.verifier))), scope.place)
    return cells


def _tally(scope: _Scope, cells: _Cells, window: _Window) -> Tally:
    which = list(window.cells)
    judged, codes = cells.judged[which].sum(axis=0), cells.codes[which].sum(axis=0)
    owner, words = cells.correct(window.cells)
    drawn = _draws(scope, window)
    unverified = int(drawn.sum() - judged.sum())
    outcomes = (codes[: _CODES // 2] + codes[_CODES // 2 :]).tolist()
    cut = int(codes[_CODES // 2 :].sum())
    if unverified:
        cut += int(_draws(scope, window, cut_unjudged=True).sum())
    return Tally(
        drawn=drawn,
        judged=judged,
        correct=np.bincount(owner, minlength=scope.problems),
        owner=owner,
        identity=words,
        outcomes=dict(zip(OUTCOMES, outcomes, strict=False)) | {UNVERIFIED: unverified},
        truncated=cut,
    )


def _draws(scope: _Scope, window: _Window, *, cut_unjudged: bool = False) -> Ints:
    """The window's draws of each problem; or only those cut at max_tokens that have no verdict."""
    sql = "SELECT problem, COUNT(*) FROM draw d WHERE arm=? AND idx<?"
    arguments: tuple[Any, ...] = (window.row, _ALL if window.below is None else window.below)
    if cut_unjudged:
        sql += (
            " AND finish='length' AND NOT EXISTS "
            "(SELECT 1 FROM verdict WHERE draw=d.id AND verifier=? AND version=?)"
        )
        arguments += scope.verifier
    rows = np.array(list(scope.reader.rows(sql + " GROUP BY problem", arguments)), np.int64).reshape(-1, 2)
    at = _at(scope.place, rows[:, 0])
    drawn = np.zeros(scope.problems, np.int64)
    drawn[at[at >= 0]] = rows[at >= 0, 1]
    return drawn


def _places(problems: Sequence[int]) -> Ints:
    """For each ledger id up to the largest: the index among these problems, or -1; the last entry is -1."""
    place = np.full(max(problems, default=0) + 2, -1, np.int64)
    place[np.asarray(problems, np.int64)] = np.arange(len(problems))
    return place


def _at(place: Ints, problem: Ints) -> Ints:
    return place[np.minimum(problem, len(place) - 1)]


def _words(text: str | None) -> Words:
    """Identities as 64-bit words, from their hex digits; a word of its own for what is not 16 of them."""
    if not text:
        return np.empty(0, np.uint64)
    number, loose = divmod(len(text) + 1, 17)
    if not loose and text[16::17] == _SEPARATOR * (number - 1):
        packed = _packed(text.replace(_SEPARATOR, ""))
        if len(packed) == 8 * number:
            return np.frombuffer(packed, ">u8").astype(np.uint64)
    return np.array([_word(identity) for identity in text.split(_SEPARATOR)], np.uint64)


def _word(identity: str) -> int:
    packed = _packed(identity)
    if len(packed) != 8:
        packed = hashlib.blake2b(identity.encode(), digest_size=8).digest()
    return int.from_bytes(packed, "big")


def _packed(digits: str) -> bytes:
    try:
        return bytes.fromhex(digits)
    except ValueError:
        return b""


def _collapsed(of: Ints, times: Ints) -> Distinct:
    """Equal entries counted instead of repeated: a problem has few different multiplicities."""
    base = int(times.max(initial=0)) + 1
    if (int(of.max(initial=0)) + 1) * base ** times.shape[1] >= 2**63:
        return Distinct(of, times, np.ones(len(of), np.int64))
    keys = of.astype(np.int64)
    for column in times.T:
        keys = keys * base + column
    keys, number = np.unique(keys, return_counts=True)
    columns = []
    for _ in range(times.shape[1]):
        keys, column = np.divmod(keys, base)
        columns.append(column)
    return Distinct(keys, np.column_stack(columns[::-1]), number)
