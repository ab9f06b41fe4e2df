"""The allocation that buys most: greedy on expected gain per amount of money.

For a given chance p each further draw of a problem brings less than the one before, and so does the mean over
any belief about p; with several models a draw of one lowers the gain of all. So within a group of like
problems the best next purchase has the steepest gain per money, the slopes only fall along its path, and
taking all groups' purchases in order of slope is optimal up to the last one bought when there is one model
(Fox 1966), and near it for several. Where a request carries a prompt to pay, the purchase considered is the
block of draws with the best slope, which keeps slopes falling.
"""

from dataclasses import dataclass

import numpy as np

from toolkit.forecast.ability import Floats, Ints
from toolkit.policies.book import Book
from toolkit.policies.groups import Groups, group
from toolkit.policies.nouns import Member, State, Targets
from toolkit.policies.tables import Tables, add, tables

_JUMPS = 8  # purchases considered at once where opening a request has a price of its own
_PRUNE = 8  # after the first steps: steps between looks at which groups can still matter
_TRIED = 5000  # purchases tried after the first that did not fit


def _steps(most: int) -> Ints:
    """More draws of a problem that are considered: every number up to 8, then about a fifth more each."""
    steps = [*range(9)]
    while steps[-1] < most:
        steps.append(min(most, steps[-1] + max(1, steps[-1] // 5)))
    return np.array(steps[: most + 1] if most < 9 else steps, dtype=np.int64)


_Entry = tuple[Ints, Ints, Ints, Floats, Floats]  # the fields of _Purchases, one step of all groups


@dataclass(frozen=True, slots=True)
class _Purchases:
    """What could be bought, all groups' paths in order of their steps; one entry per purchase."""

    group: Ints
    member: Ints
    to: Ints  # more draws of that member, in all
    cost: Floats  # per problem
    slope: Floats  # gain per cost, falling along a group's path


def allocate(book: Book, state: State, money: float, only: frozenset[int], *, most: int = 512) -> Targets:
    """Targets that spend at most `money` on the members in `only`, at most `most` more draws of each problem."""
    groups = group(state.known, book.goal)
    steps = _steps(most)
    table = tables(book, groups, steps)
    found = _paths(book.members, table, groups, (steps, money, only))
    return _bought(found, groups, state, money)


def _paths(
    members: tuple[Member, ...], table: Tables, groups: Groups, asked: tuple[Ints, float, frozenset[int]]
) -> _Purchases:
    steps, money, only = asked
    cap = table.brings[0].shape[-1] - 1
    prices = [m.cost(steps) for m in members]
    at = np.zeros((len(members), len(groups.sizes)), dtype=np.int64)
    slope = np.full(len(groups.sizes), np.inf)
    active = np.flatnonzero(table.have < cap)
    log: list[_Entry] = []
    while len(active):
        member, to, cost, steep = _steepest(members, table, (active, at[:, active]), (prices, only))
        slope[active] = np.minimum(slope[active], steep)
        alive = slope[active] > 0
        active, member, to, cost = active[alive], member[alive], to[alive], cost[alive]
        log.append((active, member, steps[to], cost, slope[active].copy()))
        at[member, active] = to
        if len(log) < _PRUNE or len(log) % _PRUNE == 0:  # each look sorts all purchases so far
            active = active[slope[active] > _last_slope(log, groups.sizes, money)]
    return _joined(log)


def _joined(log: list[_Entry]) -> _Purchases:
    if not log:
        none = np.zeros(0, dtype=np.int64)
        return _Purchases(none, none, none, np.zeros(0), np.zeros(0))
    group, member, to, cost, slope = (np.concatenate(part) for part in zip(*log, strict=True))
    return _Purchases(group, member, to, cost, slope)


def _last_slope(log: list[_Entry], sizes: Ints, money: float) -> float:
    """Purchases flatter than this cannot be afforded: steeper ones already take all the money."""
    slope = np.concatenate([entry[4] for entry in log])
    cost = np.concatenate([entry[3] * sizes[entry[0]] for entry in log])
    order = np.argsort(-slope, kind="stable")
    over = np.flatnonzero(np.cumsum(cost[order]) > money)
    return float(slope[order[over[0]]]) if len(over) else 0.0


def _steepest(
    members: tuple[Member, ...],
    table: Tables,
    where: tuple[Ints, Ints],
    terms: tuple[list[Floats], frozenset[int]],
) -> tuple[Ints, Ints, Floats, Floats]:
    """Per active group: the member, its step, the cost and the slope of the best purchase; slope 0 for none."""
    (active, at), (prices, only) = where, terms
    weights, have = table.weights[active], table.have[active]
    now = [table.brings[j][cell[active], :, at[j]] for j, cell in enumerate(table.cell)]
    size = len(active)
    member, step = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
    paid, steepest = np.zeros(size), np.zeros(size)
    for j in sorted(only):
        worth = _worth(table, have, [n for i, n in enumerate(now) if i != j]) * weights[..., None]
        held = np.einsum("qkd,qkd->q", worth, now[j])
        jumps = min(members[j].per_request, _JUMPS) if members[j].cost_per_request else 1
        for jump in range(1, jumps + 1):
            to = np.minimum(at[j] + jump, len(prices[j]) - 1)
            then = table.brings[j][table.cell[j][active], :, to]
            gain = np.einsum("qkd,qkd->q", worth, then) - held
            cost = prices[j][to] - prices[j][at[j]]
            slope = np.where(cost > 0, gain / np.where(cost > 0, cost, 1.0), 0.0)
            better = slope > steepest * (1 + 1e-9)
            member[better], step[better] = j, to[better]
            paid[better], steepest[better] = cost[better], slope[better]
    return member, step, paid, steepest


def _worth(table: Tables, have: Ints, others: list[Floats]) -> Floats:
    """(groups x factor x new ones): the count reached if the member in question brings so many new ones."""
    cap = table.brings[0].shape[-1] - 1
    reached = np.eye(cap + 1)[have][:, None, :]
    if not others:
        shape = (len(have), table.weights.shape[1], cap + 1)
        reached = np.broadcast_to(reached, shape)
    for other in others:
        reached = add(np.broadcast_to(reached, other.shape), other)
    capped = np.minimum(np.add.outer(np.arange(cap + 1.0), np.arange(cap + 1.0)), cap)
    return np.asarray(reached @ capped)


def _bought(found: _Purchases, groups: Groups, state: State, money: float) -> Targets:
    """The steepest purchases the money buys; the first that does not fit a whole group goes to its first
    problems, and flatter ones are tried with what is left."""
    more = np.zeros((len(state.known.draws), len(groups.sizes)), dtype=np.int64)
    order = np.argsort(-found.slope, kind="stable")
    whole = found.cost[order] * groups.sizes[found.group[order]]
    fits = int(np.searchsorted(np.cumsum(whole), money * (1 + 1e-12), side="right"))
    bought = order[:fits]
    np.maximum.at(more, (found.member[bought], found.group[bought]), found.to[bought])
    targets = state.known.draws + more[:, groups.of]
    return _rest(
        found, groups, (targets, state.known.draws), (order[fits:], money - float(whole[:fits].sum()))
    )


def _rest(
    found: _Purchases, groups: Groups, draws: tuple[Targets, Ints], rest: tuple[Ints, float]
) -> Targets:
    (targets, before), (order, left) = draws, rest
    blocked: set[int] = set()
    cheapest = float(found.cost.min(initial=np.inf))
    for i in order[:_TRIED]:
        if left < cheapest:
            break
        q, cost = int(found.group[i]), float(found.cost[i])
        if q in blocked:
            continue
        count = min(int(left / cost), int(groups.sizes[q]))
        chosen = np.flatnonzero(groups.of == q)[:count]
        targets[found.member[i], chosen] = before[found.member[i], chosen] + found.to[i]
        left -= count * cost
        if count < groups.sizes[q]:  # its next purchases build on this one
            blocked.add(q)
    return targets
