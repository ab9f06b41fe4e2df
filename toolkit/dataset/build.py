"""Which rows each dataset gets: the arms' own, then the controls that are matched to them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from toolkit.dataset import pool, select
from toolkit.dataset.material import Material, Part
from toolkit.dataset.rows import measure
from toolkit.dataset.screen import Removed, Screen
from toolkit.dataset.select import Candidates, Ints, Mask
from toolkit.errors import InputError
from toolkit.spec import GOLD, Control, Dataset

NO_CORRECT_DRAW = "no correct draw"
NOTHING = {
    "verified": NO_CORRECT_DRAW,
    "judged": "no draw that is correct and judged sound",
    "majority": "no problem on whose answer most draws agree",
    "none": "no draw",
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """A dataset to be made."""

    name: str
    arms: tuple[str, ...]  # whose draws it is made of
    parts: tuple[Part, ...]  # of these arms
    human: bool = False  # with the human solutions among the candidates
    control: Control | None = None  # None: an arm's own dataset


@dataclass(slots=True)
class Chosen:
    """The rows of one dataset, and what led to them."""

    recipe: Recipe
    rows: Candidates
    rank: Ints = field(
        default_factory=lambda: np.empty(0, np.int64)
    )  # within the problem: low ranks stay longest
    copies: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    considered: int = 0  # candidates that passed the filter
    dropped: Counter[str] = field(default_factory=Counter)  # rows, by reason
    removed: list[Removed] = field(default_factory=list)  # lines of removed.jsonl
    matched: list[dict[str, Any]] = field(default_factory=list)  # what was held equal, to which dataset
    skipped: str | None = None

    def keep(self, mask: Mask, why: str) -> None:
        if count := int(np.sum(~mask)):
            self.dropped[why] += count
        self.rows = self.rows.where(mask)
        self.rank = self.rank[mask] if len(self.rank) else self.rank


def recipes(material: Material, arms: Mapping[str, Sequence[Part]]) -> list[Recipe]:
    """The arms' own datasets, then the controls, in the run's order."""
    own = [Recipe(name, (name,), tuple(parts)) for name, parts in arms.items()]
    controls = []
    for name, control in material.spec.controls.items():
        members = tuple(m for m in control.members if m != GOLD)
        if lacking := [m for m in members if m not in arms]:
            raise InputError(
                f"dataset.controls.{name}.from: arm {lacking[0]!r} has no draws: sample it first"
            )
        parts = tuple(part for member in members for part in arms[member])
        controls.append(Recipe(name, members, parts, GOLD in control.members, control))
    return own + controls


def choose(
    material: Material,
    recipe: Recipe,
    screen: Screen,
    made: Mapping[str, Chosen],
    planned: Mapping[str, int | None],
) -> Chosen:
    """The rows of a dataset. `made` are those before it, `planned` every arm's draws per problem."""
    control = recipe.control or Control.model_validate({"from": recipe.arms})
    draws = _draws(recipe.name, control, planned)
    chosen = Chosen(recipe, _candidates(material, recipe, draws))
    chosen.considered = len(chosen.rows)
    if not chosen.considered:
        chosen.skipped = NOTHING[material.spec.filter] if recipe.parts else "no problem has a human solution"
        return chosen
    _clean(material, chosen, screen)
    _cap(material, chosen, control)
    if control.draws_of or control.draws:
        chosen.matched.append({"by": "draws", "of": control.draws_of, "per_problem": draws})
    if control.problems_of:
        _same_problems(chosen, made[control.problems_of])
    if material.spec.include_gold and not recipe.human:
        _with_humans(material, chosen, screen, made.get(control.problems_of or ""))
    _match(material, chosen, control, made)
    if not len(chosen.rows) and not chosen.skipped:
        chosen.skipped = f"nothing is left of {chosen.considered} rows: {_told(chosen.dropped)}"
    weighted = material.spec.weighting == "problems"
    chosen.copies = (
        select.copies(chosen.rows.problem, chosen.rank) if weighted else np.ones(len(chosen.rows), np.int64)
    )
    return chosen


def _draws(name: str, control: Control, planned: Mapping[str, int | None]) -> int | None:
    """The first draws of every problem that a control may use; None: all."""
    if control.draws_of is None:
        return control.draws
    draws = planned[control.draws_of]
    if draws is None:
        raise InputError(
            f"dataset.controls.{name}.draws_of: {control.draws_of} has no one number of draws for all problems: write draws: N"
        )
    return draws


def _candidates(material: Material, recipe: Recipe, draws: int | None) -> Candidates:
    found = [pool.candidates(material, recipe.parts, draws)] if recipe.parts else []
    return select.joined([*found, *([pool.humans(material)] if recipe.human else [])])


def _clean(material: Material, chosen: Chosen, screen: Screen) -> None:
    """Without what must not be trained on, and without repeats."""
    mask, lines = screen.clean(chosen.rows)
    chosen.keep(mask, "held out or contaminated")
    chosen.removed += lines
    if material.spec.dedup != "none":
        chosen.keep(select.first_of_equals(chosen.rows), f"{material.spec.dedup} duplicate")
    if material.spec.near_duplicates is not None:
        mask, lines = screen.apart(chosen.rows, material.spec.near_duplicates)
        chosen.keep(mask, "near duplicate")
        chosen.removed += lines


def _cap(material: Material, chosen: Chosen, control: Control) -> None:
    chosen.rank = select.preference(chosen.rows, material.seed)
    cap = control.per_problem or material.spec.cap
    if cap is not None:
        chosen.keep(chosen.rank < cap, f"above {cap} per problem")
    if control.per_problem:
        chosen.matched.append({"by": "per_problem", "of": None, "at_most": cap})


def _same_problems(chosen: Chosen, other: Chosen) -> None:
    chosen.keep(np.isin(chosen.rows.problem, other.rows.problem), f"problem not in {other.recipe.name}")
    chosen.matched.append(
        {
            "by": "problems",
            "of": other.recipe.name,
            "wanted": len(np.unique(other.rows.problem)),
            "got": len(np.unique(chosen.rows.problem)),
        }
    )


def _with_humans(material: Material, chosen: Chosen, screen: Screen, among: Chosen | None) -> None:
    """One row more per problem, of the first rank; where problems are matched, of those alone."""
    human = pool.humans(material)
    human = human.where(screen.clean(human)[0])
    if among is not None:
        human = human.where(np.isin(human.problem, among.rows.problem))
    later = chosen.rank + np.isin(chosen.rows.problem, human.problem)
    ranks = dict(zip(chosen.rows.draw.tolist(), later.tolist(), strict=True))
    chosen.rows = select.joined([human, chosen.rows])
    chosen.rank = np.array([ranks.get(draw, 0) for draw in chosen.rows.draw.tolist()], np.int64)


def _match(material: Material, chosen: Chosen, control: Control, made: Mapping[str, Chosen]) -> None:
    """As many rows, or tokens, as another dataset has. Skipped where there are fewer: it would not be matched."""
    other = made.get(control.rows_of or control.tokens_of or "")
    if other is None:
        return
    if other.skipped:
        chosen.skipped = f"{other.recipe.name}, to which it is matched, was skipped: {other.skipped}"
        return
    by_rows = control.rows_of is not None
    weight = np.ones(len(chosen.rows), np.int64) if by_rows else measure(material, chosen.rows)
    wanted = len(other.rows) if by_rows else int(measure(material, other.rows).sum())
    unit = _unit(material.spec, by_rows)
    if weight.sum() < wanted:
        chosen.skipped = f"{int(weight.sum())} {unit} are fewer than the {wanted} of {other.recipe.name}: match {other.recipe.name} to it instead"
        return
    mask = select.fair(chosen.rows.problem, chosen.rank, weight, wanted, material.seed)
    chosen.keep(mask, f"to match the {unit} of {other.recipe.name}")
    chosen.matched.append(
        {"by": unit, "of": other.recipe.name, "wanted": wanted, "got": int(weight[mask].sum())}
    )


def _unit(spec: Dataset, by_rows: bool) -> str:
    if by_rows:  # repeats of rows come later, and are not matched
        return "distinct rows" if spec.weighting == "problems" else "rows"
    return spec.tokens if spec.tokens in ("characters", "words") else f"tokens of {spec.tokens}"


def _told(counted: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {why}" for why, count in counted.items())
