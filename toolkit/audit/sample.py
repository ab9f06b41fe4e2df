"""Which correct draws are looked at: a stratified sample, with the weight each of them carries.

Drawing solutions alike would look at easy problems most, since those have the most correct draws. Here the
labels of an arm are spread over levels by the number of solved problems, and within a level one draw of
each problem is taken before a second of any. A draw's weight is the number of retained solutions it stands
for, so that the estimate is still of all of them. A larger sample of the same draws with the same seed holds
the smaller one, so that labels are never lost where more are wanted.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from toolkit.errors import InputError
from toolkit.ledger import Reader

NO_LEVEL = "all"


@dataclass(frozen=True, slots=True)
class Item:
    """One draw to be looked at."""

    id: str  # what the labeller sees: says nothing of arm or problem
    draw: int
    arm: str
    problem: int
    stratum: str
    weight: float  # retained solutions it stands for
    solutions: int  # correct draws of its problem


@dataclass(frozen=True, slots=True)
class Key:
    """What the labeller must not see: which draw each id is. Items are in the order of the sheet."""

    verifier: tuple[str, str]
    seed: int
    items: tuple[Item, ...]
    strata: Mapping[str, Mapping[str, int]]  # arm -> stratum -> retained solutions

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Key":
        """Raises InputError where there is no key, or it is not one."""
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            items = tuple(Item(**item) for item in raw["items"])
            return cls((raw["verifier"][0], raw["verifier"][1]), raw["seed"], items, raw["strata"])
        except FileNotFoundError:
            raise InputError(
                f"{path}: no audit here yet: make a sheet with `pricematch audit RUN --sheet`"
            ) from None
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: not an audit's key ({error}): make the sheet anew") from None


@dataclass(frozen=True, slots=True)
class Solved:
    """A problem with its correct draws."""

    problem: int
    draws: Sequence[int]


def sample(
    reader: Reader,
    arms: Mapping[str, Sequence[int]],
    problems: Sequence[int],
    *,
    verifier: tuple[str, str],
    size: int,
    seed: int,
) -> Key:
    """About `size` correct draws of each arm (ledger rows of its parts), all where there are fewer; shuffled."""
    within = frozenset(problems)
    levels = {arm: _solved(reader, rows, within, verifier) for arm, rows in arms.items()}
    items, strata = draw_sample(levels, size, np.random.default_rng(seed))
    if not items:
        raise InputError("no correct draw to audit: run `pricematch verify` first, or look at the draws")
    return Key(verifier, seed, items, strata)


def draw_sample(
    arms: Mapping[str, Mapping[str, Sequence[Solved]]], size: int, rng: np.random.Generator
) -> tuple[tuple[Item, ...], dict[str, dict[str, int]]]:
    """About `size` draws of each arm's levels, shuffled together, and the retained solutions of each level."""
    salt = int(rng.integers(2**63))
    chosen = [
        Item(_id(salt, arm, draw), draw, arm, solved.problem, level, weight, len(solved.draws))
        for arm, levels in arms.items()
        for level, number in _shares(levels, size).items()
        for solved, draw, weight in _pick(levels[level], number, *rng.spawn(1))
    ]
    items = tuple(chosen[i] for i in rng.permutation(len(chosen)))
    return items, {
        arm: {level: sum(len(s.draws) for s in solved) for level, solved in levels.items()}
        for arm, levels in arms.items()
    }


def _solved(
    reader: Reader, rows: Sequence[int], problems: frozenset[int], verifier: tuple[str, str]
) -> dict[str, list[Solved]]:
    """An arm's solved problems by level."""
    found: dict[int, tuple[str, list[int]]] = {}
    for row in rows:
        for problem, level, draws in reader.rows(
            "SELECT d.problem, p.level, group_concat(d.id) FROM draw d JOIN problem p ON p.id=d.problem JOIN verdict v "
            "ON v.draw=d.id AND v.verifier=? AND v.version=? WHERE d.arm=? AND v.outcome='correct' GROUP BY d.problem",
            (*verifier, row),
        ):
            if problem in problems:
                found.setdefault(problem, (level or NO_LEVEL, []))[1].extend(map(int, draws.split(",")))
    levels: dict[str, list[Solved]] = {}
    for problem in sorted(found):
        level, ids = found[problem]
        levels.setdefault(level, []).append(Solved(problem, sorted(ids)))
    return dict(sorted(levels.items()))


def _shares(levels: Mapping[str, Sequence[Solved]], size: int) -> dict[str, int]:
    """`size` labels over levels in proportion to their solved problems; no more than a level has solutions."""
    room = {level: sum(len(s.draws) for s in solved) for level, solved in levels.items()}
    given = dict.fromkeys(levels, 0)
    for _ in range(min(size, sum(room.values()))):
        open_levels = [level for level in levels if given[level] < room[level]]
        neediest = min(open_levels, key=lambda level: (given[level] + 0.5) / len(levels[level]))
        given[neediest] += 1
    return given


def _pick(solved: Sequence[Solved], number: int, rng: np.random.Generator) -> list[tuple[Solved, int, float]]:
    """That many draws with their weights: a draw of every problem before a second of any.

    All draws are put in that order, whatever the number: the first of them are the first of any larger number.
    """
    if not number:
        return []
    have = np.array([len(s.draws) for s in solved])
    of = np.repeat(np.arange(len(solved)), have)
    draws = np.concatenate([rng.permutation(s.draws) for s in solved])
    turn = np.arange(len(of)) - np.repeat(np.cumsum(have) - have, have)  # 0 for a problem's first
    first = np.lexsort((rng.random(len(of)), turn))[:number]
    last = turn[first[-1]]
    share = (number - (turn < last).sum()) / (turn == last).sum()  # of the draws whose turn is last
    expected = np.minimum(have, last) + np.where(have > last, share, 0.0)
    return [(solved[of[i]], int(draws[i]), float(have[of[i]] / expected[of[i]])) for i in first]


def _id(salt: int, arm: str, draw: int) -> str:
    """A letter first, so that no spreadsheet takes it for a number."""
    return "s" + hashlib.sha256(f"{salt}/{arm}/{draw}".encode()).hexdigest()[:10]
