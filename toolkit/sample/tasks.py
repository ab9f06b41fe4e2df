"""What is missing, as requests: each some consecutive draws of one problem, in the order they are asked."""

import hashlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from toolkit.arms import Stream


@dataclass(frozen=True, slots=True)
class Task:
    """Consecutive draws of one problem, to be asked in one request."""

    stream: Stream
    position: int  # of the problem
    first: int
    n: int
    parent: int | None = None
    avoid: int | None = None  # the server where it failed last

    @property
    def progress(self) -> float:
        """How far into its arm's plan this task lies, 0 to 1: the merge key between arms."""
        rounds, problems = -(-self.stream.k // self.stream.n), len(self.stream.requests)
        return (self.first // self.stream.n * problems + self.position + 0.5) / (rounds * problems)

    @property
    def label(self) -> str:
        """Such as `draws 4 to 7`."""
        return f"draws {self.first} to {self.first + self.n - 1}"


def tasks(stream: Stream, missing: Sequence[Sequence[int]]) -> Iterator[Task]:
    """The stream's missing draws as requests, draw-index-major. Nothing is built ahead."""
    for start in range(0, stream.k, stream.n):
        for position, indices in enumerate(missing):
            for first, n in _runs(_between(indices, start, start + stream.n)):
                yield Task(stream, position, first, n)


def seed_of(run_seed: int, arm: str, problem: str, first: int) -> int:
    """The seed of one request: 31 bits that nothing else shares."""
    digest = hashlib.sha256(f"{run_seed}|{arm}|{problem}|{first}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def _between(indices: Sequence[int], low: int, high: int) -> Sequence[int]:
    """The ascending indices in [low, high)."""
    return indices[bisect_left(indices, low) : bisect_left(indices, high)]


def _runs(indices: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(first, length) of each stretch of consecutive indices."""
    if not indices:
        return
    if indices[-1] - indices[0] == len(indices) - 1:  # one stretch: the common case
        yield indices[0], len(indices)
        return
    for _, group in groupby(enumerate(indices), key=lambda pair: pair[1] - pair[0]):
        stretch = [index for _, index in group]
        yield stretch[0], len(stretch)
