"""What was written for a dataset, and what was held equal between it and the others."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from toolkit.dataset.build import Chosen


@dataclass(frozen=True, slots=True)
class Summary:
    """What was written for one dataset; `skipped` is the reason why nothing was, else None."""

    arm: str  # the dataset's name: an arm's, or a control's
    rows: int  # as written, copies included
    problems: int  # with at least one row
    skipped: str | None = None
    control: bool = False
    arms: tuple[str, ...] = ()  # whose draws it is made of
    filter: str = "verified"
    matching: str = "not stated"  # what was held equal, in words: no figure should be shown without it
    distinct: int = 0  # rows before any was repeated
    human: int = 0  # of them human solutions
    considered: int = 0  # solutions that passed the filter
    dropped: Mapping[str, int] | None = None  # of those, by reason
    copies: Mapping[str, int] | None = None  # where rows repeat, so that every problem weighs the same
    matched: tuple[Mapping[str, Any], ...] = ()


def matching(chosen: Chosen, match: str | None) -> str:
    """What was held equal between this dataset and the others (trap 22)."""
    if chosen.recipe.control is None:
        kind = {"price": "money spent", "flops": "FLOPs spent", "samples": "number of samples"}.get(
            match or ""
        )
        return f"cost: equal {kind}" if match in ("price", "flops") else kind or "not stated"
    said = [_held_equal(m) for m in chosen.matched]
    return "; ".join(said) or f"nothing: all that was kept of {' and '.join(chosen.recipe.control.members)}"


def _held_equal(matched: Mapping[str, Any]) -> str:
    of = matched["of"]
    if matched["by"] == "draws":
        count = matched["per_problem"]
        return f"draws: {'as many per problem as ' + of + ' (' + str(count) + ')' if of else f'the first {count} per problem'}"
    if matched["by"] == "per_problem":
        return f"diversity: at most {matched['at_most']} per problem"
    if matched["by"] == "problems":
        return f"coverage: the problems of {of} ({matched['got']} of its {matched['wanted']})"
    return f"{matched['by']}: as many as {of} ({matched['got']:,} against {matched['wanted']:,})"
