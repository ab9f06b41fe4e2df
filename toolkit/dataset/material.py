"""What datasets are made from."""

from collections.abc import Mapping
from dataclasses import dataclass
from string import Template
from typing import Protocol

from toolkit import spec
from toolkit.ledger import Reader
from toolkit.types import Problem


class Part(Protocol):
    """One ledger row of an arm. An arm of one model has one, a mixture several."""

    @property
    def row(self) -> int: ...  # its id in the ledger

    @property
    def planned(self) -> int | None: ...  # draws per problem; others are left out. None: all count


@dataclass(frozen=True, slots=True)
class Drawn:
    """The plainest part there is."""

    row: int
    planned: int | None = None


@dataclass(frozen=True)
class Material:
    """What datasets are made from."""

    reader: Reader
    problems: Mapping[int, Problem]  # by ledger id: draws of other problems are left out
    prompt: Template
    verifier: tuple[str, str]  # name and version of the verdicts that count
    spec: spec.Dataset
    seed: int = 0
    judge_version: str | None = None  # None: the only one there is
    held_out: Mapping[str, frozenset[str]] | None = (
        None  # name of a problem set never to be trained on -> its shas
    )
