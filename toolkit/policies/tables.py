"""What so many more draws of a member would bring: chances of 0, 1, .. cap new distinct correct ones."""

from dataclasses import dataclass

import numpy as np

from toolkit.forecast.ability import Floats, Ints, binomials, likelihood
from toolkit.forecast.duplicates import new_kinds
from toolkit.policies.book import Book
from toolkit.policies.groups import Groups
from toolkit.policies.joint import FACTOR_WEIGHTS

_FOLLOWED = 64  # correct draws followed one by one; beyond, the number of kinds stands still
_REMEMBERED = 4000  # tables of one record each, some 20 kB


@dataclass(frozen=True, slots=True)
class Tables:
    """What so many more draws of a member would bring, for every kind of problem."""

    weights: Floats  # groups x factor: how hard the problems of a group are
    have: Ints  # groups
    cell: tuple[Ints, ...]  # per member: its row of `brings`, by group
    brings: tuple[Floats, ...]  # per member (cells x factor x steps x cap + 1): chances of 0..cap new ones

    def reached(self, steps: Ints) -> Floats:
        """(groups x cap + 1) chances of 0..cap distinct correct ones after steps[member, group] more draws."""
        now = self.start()
        for j, cell in enumerate(self.cell):
            now = add(now, self.brings[j][cell, :, steps[j]])
        return np.asarray(np.einsum("qk,qkd->qd", self.weights, now))

    def start(self) -> Floats:
        cap = self.brings[0].shape[-1] - 1
        return np.repeat(np.eye(cap + 1)[self.have][:, None, :], self.weights.shape[1], axis=1)


def add(a: Floats, b: Floats) -> Floats:
    """Sum of two independent counts by their chances on the last axis; the last column holds all above."""
    out = np.zeros_like(a)
    last = a.shape[-1] - 1
    for i in range(last + 1):
        out[..., i:] += a[..., i : i + 1] * b[..., : last + 1 - i]
        if i:
            out[..., last] += a[..., i] * b[..., last + 1 - i :].sum(axis=-1)
    return out


def tables(book: Book, groups: Groups, steps: Ints) -> Tables:
    """For `steps` more draws, ascending, under what the book expects."""
    weights = np.tile(FACTOR_WEIGHTS, (len(groups.sizes), 1))
    cells, brings = [], []
    for j, given in enumerate(book.expected.given):
        width = int(groups.draws[j].max(initial=0)) + 1
        codes, cell = np.unique(groups.draws[j] * width + groups.correct[j], return_inverse=True)
        draws, correct = codes // width, codes % width
        weights = weights * (likelihood(draws, correct) @ given.T)[cell]
        brings.append(_remembered(book, j, (draws, correct), steps))
        cells.append(cell)
    return Tables(weights / weights.sum(axis=1, keepdims=True), groups.have, tuple(cells), tuple(brings))


def _remembered(book: Book, j: int, counts: tuple[Ints, Ints], steps: Ints) -> Floats:
    """The rounds of a policy, and its rehearsals, meet the same records again and again."""
    keys = [(j, len(steps), int(steps[-1]), int(m), int(c)) for m, c in zip(*counts, strict=True)]
    new = np.array([i for i, key in enumerate(keys) if key not in book.memory], dtype=np.int64)
    if len(book.memory) + len(new) > _REMEMBERED:
        book.memory.clear()
        new = np.arange(len(keys))
    if len(new):
        found = _brings(book, j, (counts[0][new], counts[1][new]), steps)
        book.memory.update({keys[i]: one for i, one in zip(new, found, strict=True)})
    return np.stack([book.memory[key] for key in keys])


def _brings(book: Book, j: int, counts: tuple[Ints, Ints], steps: Ints) -> Floats:
    (draws, correct), cap, given = counts, book.goal.cap, book.expected.given[j]
    likely = likelihood(draws, correct)
    posterior = given[None] * likely[:, None]
    posterior /= np.maximum(posterior.sum(axis=2, keepdims=True), 1e-300)  # cells x factor x grid
    most = int(min(steps.max(initial=0), _FOLLOWED)) if cap > 1 else 1
    among = np.stack([binomials(int(t), most) for t in steps])  # steps x grid x correct
    out = np.empty((*posterior.shape[:2], len(steps), cap + 1))
    seen = np.minimum(correct, _FOLLOWED) if cap > 1 else np.zeros_like(correct)
    for c in np.unique(seen):
        here = seen == c
        kinds = np.eye(2) if cap == 1 else new_kinds(book.members[j].duplicates, int(c), most, cap)
        by_chance = among @ kinds  # steps x grid x cap + 1
        out[here] = np.einsum("ckg,tgd->cktd", posterior[here], by_chance, optimize=True)
    return out
