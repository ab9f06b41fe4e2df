"""Which draws become rows, and which controls the arms are compared with."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from toolkit.spec.section import Section

GOLD = "gold"  # among a control's sources: the human solutions that came with the problems
UNVERIFIED_ROWS = 5  # per problem where nothing is filtered: 35 of them taught less than 5 (arXiv 2408.16737)

Names = Annotated[
    tuple[str, ...], BeforeValidator(lambda given: (given,) if isinstance(given, str) else given)
]

Folder = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


def check_names(key: str, names: Iterable[str], known: Sequence[str]) -> None:
    """Raises where a control refers to what is no arm, or is no dataset above it."""
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            mend = f"did you mean {near[0]!r}?" if near else f"give one of {', '.join(known)}"
            raise ValueError(f"{key}: {name!r} is no dataset, or none above it: {mend}")


class Control(Section):
    """A dataset made for comparison: from the draws of arms, pooled, or from human solutions.

    Applied in this order: which draws, the filters of `dataset`, which problems, rows per problem, then rows
    or tokens to match. The arms themselves are the cost-matched datasets.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    members: Annotated[Names, Field(min_length=1)] = Field(alias="from")  # arms, or gold
    draws: Annotated[int, Field(gt=0)] | None = None  # the first N of every problem: lower coverage
    draws_of: str | None = None  # as many draws per problem as that arm had planned
    problems_of: str | None = None  # only problems of which that dataset has a row
    per_problem: Annotated[int, Field(gt=0)] | None = None  # None: dataset.per_problem
    rows_of: str | None = None  # as many rows as that dataset has: number-matched
    tokens_of: str | None = None  # as many tokens of solutions as that dataset has: token-matched

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        for one, other in (("rows_of", "tokens_of"), ("draws", "draws_of")):
            if getattr(self, one) is not None and getattr(self, other) is not None:
                raise ValueError(f"give {one} or {other}, not both")
        return self

    @property
    def references(self) -> dict[str, str]:
        """Key -> the arm or dataset it names."""
        named = {key: getattr(self, key) for key in ("draws_of", "problems_of", "rows_of", "tokens_of")}
        return {key: name for key, name in named.items() if name is not None}


class Dataset(Section):
    """Which draws become rows, and which further datasets are made to compare the arms with."""

    filter: Literal["verified", "judged", "majority", "none"] = (
        "verified"  # judged: correct where there is a gold, and found sound by the judge
    )
    dedup: Literal["none", "exact", "normalised", "equations"] = "none"  # one row per distinct solution
    near_duplicates: Annotated[float, Field(gt=0, le=1)] | None = (
        None  # of one problem: Jaccard of their n-grams of three words from which a solution is left out
    )
    per_problem: Annotated[int, Field(gt=0)] | None = None  # rows at most; None: all, or 5 if filter is none
    weighting: Literal["rows", "problems"] = "rows"  # problems: rows repeat until every problem has as many
    include_gold: bool = False  # one row more per problem: its human solution
    decontaminate: Names = ()  # test sets: path.jsonl, or hub id[:split]
    tokens: str = "characters"  # what tokens_of counts: characters, words, or a tokenizer's folder or hub id
    controls: dict[Folder, Control] = {}
    push_to_hub: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")] | None = None  # owner/name

    @property
    def cap(self) -> int | None:
        """Rows per problem, at most. Unverified samples have a bound of their own (trap 24)."""
        return UNVERIFIED_ROWS if self.per_problem is None and self.filter == "none" else self.per_problem
