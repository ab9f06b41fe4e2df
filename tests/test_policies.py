"""Who is asked how often: every policy under one cap, near the best, and estimates that stay unbiased."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from toolkit import estimators, forecast, policies
from toolkit.forecast.ability import Floats, Ints
from toolkit.policies import (
    Book,
    Cascade,
    Difficulty,
    Goal,
    Imagined,
    Known,
    Member,
    Mix,
    Policy,
    State,
    Uniform,
    UntilCorrect,
    checks,
    expected,
    nothing_known,
    play,
    price_of,
)
from toolkit.policies.allocate import allocate
from toolkit.policies.groups import group
from toolkit.policies.joint import FACTOR_WEIGHTS, LOADINGS, joint, loading_weights
from toolkit.policies.nouns import within
from toolkit.policies.tables import tables

PILOT = 100


def chances(problems: int, seed: int = 0) -> Floats:
    """A weak and a strong model that find the same problems hard."""
    rng = np.random.default_rng(seed)
    hard = rng.standard_normal(problems)
    own = rng.standard_normal((2, problems))
    logits = np.array([[-1.5], [0.5]]) + 2 * (0.85 * hard + 0.53 * own)
    return np.asarray(1 / (1 + np.exp(-logits)))


def world(problems: int = 400, seed: int = 0, theta: float = 20.0) -> Imagined:
    return Imagined(chances(problems, seed), (theta, theta), np.random.default_rng(seed))


def after_pilot(truth: Imagined, draws: int = 4) -> Known:
    known = nothing_known(2, truth.chances.shape[1])
    targets = known.draws.copy()
    targets[:, :PILOT] = draws
    found = [truth.draw(j, targets[j], known) for j in range(2)]
    return Known(targets, np.stack([f[0] for f in found]), np.stack([f[1] for f in found]))


def members(known: Known, prompt: float = 0.0, per_request: int = 1) -> list[Member]:
    return [
        Member(
            name,
            forecast.fit(known.draws[j], known.correct[j]),
            price,
            prompt * price,
            per_request,
            forecast.fit_duplicates(known.correct[j], known.distinct[j]),
        )
        for j, (name, price) in enumerate((("weak", 1.0), ("strong", 12.0)))
    ]


@pytest.fixture(scope="module")
def known() -> Known:
    return after_pilot(world())


@pytest.fixture(scope="module")
def plans(known: Known) -> dict[int, Book]:
    """Books by the goal's cap."""
    made = members(known)
    return {cap: policies.book(made, known, Goal(cap)) for cap in (1, 4)}


EVERY: list[Policy] = [
    Uniform("weak"),
    Uniform("strong"),
    UntilCorrect("weak", 1, 32),
    UntilCorrect("weak", 3, 32),
    Difficulty("weak"),
    Cascade("weak", "strong"),
    Mix(1),
    Mix(5),
]


# --- the cap ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("cap", [1, 4])
@pytest.mark.parametrize("policy", EVERY, ids=lambda p: f"{p.name}-{getattr(p, 'rounds', '')}")
@pytest.mark.parametrize("money", [0.0, 0.5, 13.0, 777.7, 5000.0])
def test_no_policy_spends_more_than_is_left(
    plans: dict[int, Book], known: Known, policy: Policy, cap: int, money: float
) -> None:
    played = play(policy, plans[cap], State(known, money), world(seed=5))
    paid = price_of(plans[cap].members, known, played.known.draws)
    assert played.spent <= money * (1 + 1e-9)
    assert paid == pytest.approx(played.spent)


@pytest.mark.parametrize("policy", EVERY, ids=lambda p: f"{p.name}-{getattr(p, 'rounds', '')}")
def test_prompts_billed_once_per_request_count_under_the_cap(known: Known, policy: Policy) -> None:
    """Trap 7: draws in one request share a prompt; every new request pays it again."""
    made = policies.book(members(known, prompt=2.0, per_request=4), known)
    played = play(policy, made, State(known, 20000.0), world(seed=5))
    assert 0 < played.spent <= 20000.0


def test_a_request_of_four_draws_pays_one_prompt_and_a_fifth_draw_another(known: Known) -> None:
    member = members(known, prompt=2.0, per_request=4)[0]
    assert member.cost(np.array([0, 1, 4, 5])).tolist() == [0.0, 3.0, 6.0, 9.0]


def test_a_ratio_of_8_75_buys_8_draws_and_never_9(known: Known) -> None:
    """Trap 12: rounding up would give one arm more money than the other."""
    fresh = nothing_known(1, 400)
    made = policies.book([replace(members(known)[0], cost_per_draw=4.0)], fresh)
    targets = Uniform("weak").next_targets(made, State(fresh, 35.0 * 400))
    assert targets is not None
    assert set(targets[0].tolist()) == {8}
    assert price_of(made.members, fresh, targets) == 32.0 * 400


def test_equal_money_buys_by_the_price_of_a_draw_not_of_a_token(known: Known) -> None:
    """Traps 6, 8, 9: at equal token prices a model that thinks ten times as long gets a tenth of the draws."""
    fresh, price = nothing_known(2, 400), 0.001
    terse, verbose = (
        replace(m, cost_per_draw=price * n) for m, n in zip(members(known), (200, 2000), strict=True)
    )
    made = policies.book([terse, verbose], fresh)
    bought = [Uniform(name).next_targets(made, State(fresh, 10 * 2.0 * 400)) for name in ("weak", "strong")]
    assert [int(t[j].max()) for j, t in enumerate(bought) if t is not None] == [100, 10]


def test_targets_count_the_pilots_draws(plans: dict[int, Book], known: Known) -> None:
    money = 400 * 8.0 - 4 * PILOT  # what brings everyone to eight
    targets = Uniform("weak").next_targets(plans[1], State(known, money))
    assert targets is not None
    assert set(targets[0].tolist()) == {8}
    assert np.array_equal(targets[1], known.draws[1])


def test_what_does_not_fit_is_left_out_whole(known: Known, plans: dict[int, Book]) -> None:
    wanted = known.draws + 3
    kept = within(plans[1].members, State(known, 100.0), wanted)
    more = kept - known.draws
    assert set(more[0].tolist()) == {0, 3}
    assert price_of(plans[1].members, known, kept) <= 100.0


@pytest.mark.parametrize("cost", [0.0, -1.0, float("nan"), float("inf")])
def test_a_draw_without_a_positive_price_is_refused(known: Known, cost: float) -> None:
    with pytest.raises(ValueError, match="weak: a draw needs a positive"):
        Member("weak", members(known)[0].fit, cost)


def test_an_unknown_member_is_named_with_those_there_are(plans: dict[int, Book], known: Known) -> None:
    with pytest.raises(ValueError, match="no member week: there are weak, strong"):
        Uniform("week").next_targets(plans[1], State(known, 10.0))


# --- the allocation --------------------------------------------------------------------------------


def small(seed: int, cap: int) -> tuple[Book, State]:
    """Five problems with different records."""
    truth = world(seed=seed)
    found = after_pilot(truth)
    few = found.of(np.array([0, 1, 2, 3, PILOT]))
    return policies.book(members(found), few, Goal(cap)), State(few, 0.0)


def gain(made: Book, state: State, targets: Ints) -> float:
    """Expected total of the goal under the book's expectation."""
    groups = group(state.known, made.goal, finished=False)
    total = 0.0
    for i in range(state.known.problems):
        steps = np.unique(np.concatenate(([0], targets[:, i] - state.known.draws[:, i])))
        table = tables(made, groups, steps)
        at = np.searchsorted(steps, targets[:, i] - state.known.draws[:, i])
        reached = table.reached(np.repeat(at[:, None], len(groups.sizes), axis=1))
        total += float(reached[groups.of[i]] @ np.arange(made.goal.cap + 1))
    return total


@pytest.mark.parametrize("cap", [1, 4])
@pytest.mark.parametrize("seed", range(3))
def test_one_models_allocation_is_the_best_there_is(seed: int, cap: int) -> None:
    made, state = small(seed, cap)
    money = 6
    groups = group(state.known, made.goal, finished=False)
    table = tables(made, groups, np.arange(money + 1))
    worth = np.array(  # draws x problems
        [
            (table.reached(np.array([[t], [0]]).repeat(len(groups.sizes), 1)) @ np.arange(cap + 1))[groups.of]
            for t in range(money + 1)
        ]
    )
    spread = [e for e in itertools.product(range(money + 1), repeat=5) if sum(e) == money]
    best = max(worth[list(extra), range(5)].sum() for extra in spread)
    targets = allocate(made, state, float(money), frozenset({0}))
    found = worth[targets[0] - state.known.draws[0], range(5)].sum()
    assert found == pytest.approx(best, rel=1e-6)


def test_no_money_goes_to_what_is_solved(plans: dict[int, Book], known: Known) -> None:
    targets = Mix(1).next_targets(plans[1], State(known, 5000.0))
    assert targets is not None
    assert not (targets - known.draws)[:, known.solved == 1].any()


def test_problems_with_fewer_correct_draws_get_more(known: Known) -> None:
    alone = Known(known.draws[:1], known.correct[:1], known.distinct[:1])
    made = policies.book(members(known)[:1], alone, Goal(4))
    targets = Difficulty("weak").next_targets(made, State(alone, 5000.0))
    assert targets is not None
    more, right = (targets - alone.draws)[0, :PILOT], alone.correct[0, :PILOT]
    assert more[right == 1].mean() > more[right == 3].mean() > more[right == 4].mean() == 0


def test_unlike_prices_and_chances_are_mixed(plans: dict[int, Book], known: Known) -> None:
    played = play(Mix(5), plans[1], State(known, 20000.0), world(seed=5))
    assert ((played.known.draws - known.draws).sum(axis=1) > 0).all()


def test_the_mix_expects_at_least_what_each_member_alone_does(plans: dict[int, Book], known: Known) -> None:
    state = State(known, 3000.0)
    mixed = allocate(plans[1], state, 3000.0, frozenset({0, 1}))
    few = np.arange(0, 400, 7)

    def reached(targets: Ints) -> float:
        return gain(plans[1], State(known.of(few), 0.0), targets[:, few])

    for only in ({0}, {1}):
        alone = allocate(plans[1], state, 3000.0, frozenset(only))
        assert reached(mixed) >= reached(alone) * 0.999


def test_where_a_prompt_is_dear_draws_come_in_full_requests(known: Known) -> None:
    made = policies.book(members(known, prompt=5.0, per_request=4), known)
    targets = Difficulty("weak").next_targets(made, State(known, 4000.0))
    assert targets is not None
    more = (targets - known.draws)[0]
    assert (more[more > 0] >= 4).mean() > 0.95


def test_the_same_state_gives_the_same_targets(known: Known) -> None:
    first, again = (
        Mix(3).next_targets(policies.book(members(known), known), State(known, 999.0)) for _ in range(2)
    )
    assert first is not None
    assert np.array_equal(first, again)


def test_hundreds_of_thousands_of_problems_are_planned_by_their_groups(
    plans: dict[int, Book], known: Known
) -> None:
    many = known.of(np.tile(np.arange(400), 500))
    assert len(group(many, Goal(4)).sizes) < 200
    targets = Mix(1).next_targets(plans[4], State(many, 1e6))
    assert targets is not None
    assert price_of(plans[4].members, many, targets) <= 1e6


def test_records_too_many_to_plan_one_by_one_are_rounded_but_solved_stays_solved() -> None:
    rng = np.random.default_rng(0)
    draws = rng.integers(0, 400, (2, 20000))
    correct = rng.binomial(draws, 0.02)
    groups = group(Known(draws, correct, np.minimum(correct, 1)), Goal(4), finished=False)
    assert len(groups.sizes) <= 6000
    assert np.array_equal((groups.correct > 0)[:, groups.of], correct > 0)


# --- abilities that go together --------------------------------------------------------------------


def test_the_factor_leaves_each_models_own_distribution_alone(known: Known) -> None:
    row = members(known)[0].fit.mean
    for loading in LOADINGS:
        assert FACTOR_WEIGHTS @ joint([row], loading).given[0] == pytest.approx(row, abs=2e-3)


def test_models_that_fail_together_are_found_to() -> None:
    truth = world(problems=1000)
    together = after_pilot(truth, draws=8)
    apart = Known(
        *(np.stack([a[0], np.roll(a[1], 50)]) for a in (together.draws, together.correct, together.distinct))
    )
    likeliest = [
        LOADINGS[int(np.argmax(loading_weights(members(k), k.of(np.arange(50, PILOT)))))]
        for k in (together, apart)
    ]
    assert likeliest[0] > likeliest[1]


def test_a_strong_model_is_expected_to_bring_less_where_both_fail_together(known: Known) -> None:
    fits = [m.fit.mean for m in members(known)]
    made = policies.book(members(known), known)
    failed = Known(np.array([[8], [0]]), np.array([[0], [0]]), np.array([[0], [0]]))

    def solves(loading: float) -> float:
        book = replace(made, expected=joint(fits, loading), memory={})
        table = tables(book, group(failed, Goal(1)), np.array([0, 1]))
        return float(table.reached(np.array([[0], [1]]))[0, 1])

    assert solves(0.92) < 0.8 * solves(0.0)


# --- adaptive policies -----------------------------------------------------------------------------


def test_until_correct_stops_at_its_number_or_its_trials(plans: dict[int, Book], known: Known) -> None:
    played = play(UntilCorrect("weak", 2, 24), plans[1], State(known, 1e9), world(seed=5))
    draws, correct = played.known.draws[0], played.known.correct[0]
    assert ((correct >= 2) | (draws == 24)).all()
    assert not played.known.draws[1, PILOT:].any()


def test_a_cascade_asks_the_strong_model_only_where_the_weak_one_failed(
    plans: dict[int, Book], known: Known
) -> None:
    played = play(Cascade("weak", "strong"), plans[1], State(known, 4000.0), world(seed=5))
    strong = np.flatnonzero((played.known.draws - known.draws)[1])
    assert len(strong)
    assert not played.known.correct[0, strong].any()


def test_rounds_reach_uniforms_coverage_for_less(plans: dict[int, Book], known: Known) -> None:
    uniform = play(Uniform("weak"), plans[1], State(known, 8000.0), world(seed=5))
    for policy in (Mix(8), Cascade("weak", "strong")):
        played = play(policy, plans[1], State(known, 4000.0), world(seed=5))
        assert played.known.solved.mean() >= uniform.known.solved.mean()


def test_a_forecast_holds_what_the_policy_then_reaches(plans: dict[int, Book], known: Known) -> None:
    for policy in (Uniform("weak"), Mix(5), UntilCorrect("weak", 1, 32)):
        outlook = expected(policy, plans[1], State(known, 4000.0))
        reached = play(policy, plans[1], State(known, 4000.0), world(seed=5)).known
        assert outlook.coverage.low <= reached.solved.mean() <= outlook.coverage.high
        assert outlook.distinct.low <= reached.counted(Goal(4)).mean() <= outlook.distinct.high
        assert outlook.cost.high <= 4000.0 * (1 + 1e-9)


def test_forecasts_are_repeatable(plans: dict[int, Book], known: Known) -> None:
    first, again = (expected(Mix(3), plans[1], State(known, 1000.0)) for _ in range(2))
    assert first == again


# --- unbiased estimates ----------------------------------------------------------------------------

ENOUGH, MOST, TRIALS = 2, 12, 6000


@pytest.fixture(scope="module")
def stopped() -> tuple[Known, float]:
    """Until two are correct, at most twelve trials, on problems of one chance; and that chance."""
    truth = Imagined(np.full((1, TRIALS), 0.3), (1e12,), np.random.default_rng(1))
    fresh = nothing_known(1, TRIALS)
    made = policies.book([Member("weak", forecast.fit(np.array([4]), np.array([1])), 1.0)], fresh)
    return play(UntilCorrect("weak", ENOUGH, MOST), made, State(fresh, 1e9), truth).known, 0.3


@pytest.mark.parametrize("k", [1, 3, 6, 12])
def test_counting_paths_is_unbiased_where_asking_stopped_at_success(
    stopped: tuple[Known, float], k: int
) -> None:
    known, p = stopped
    values = policies.coverage_when_stopped(
        known.draws[0], known.correct[0], k, totals=checks(ENOUGH, MOST), enough=ENOUGH
    )
    error = values.std() / np.sqrt(TRIALS)
    assert values.mean() == pytest.approx(1 - (1 - p) ** k, abs=4 * error + 1e-9)


def test_the_plain_estimator_is_biased_where_asking_stopped_at_success(stopped: tuple[Known, float]) -> None:
    known, p = stopped
    plain = estimators.coverage(known.draws[0], known.correct[0], 1)
    assert plain.mean() - p > 20 * plain.std() / np.sqrt(TRIALS)


def test_the_draws_everyone_got_are_unbiased_after_any_policy(stopped: tuple[Known, float]) -> None:
    known, p = stopped
    rng = np.random.default_rng(2)
    problem = np.repeat(np.arange(TRIALS), 2)  # the first two, known to be drawn whatever came out
    index = np.tile([0, 1], TRIALS)
    late = np.flatnonzero(known.draws[0] > 2)
    problem, index = np.concatenate((problem, late)), np.concatenate((index, np.full(len(late), 2)))
    draws, correct = policies.prefix(problem, index, rng.random(len(index)) < p, first=2, problems=TRIALS)
    assert set(draws.tolist()) == {2}
    found = estimators.coverage(draws, correct, 2)
    assert found.mean() == pytest.approx(1 - (1 - p) ** 2, abs=4 * found.std() / np.sqrt(TRIALS))


def test_paths_are_counted_as_by_hand() -> None:
    """One correct is enough, looked at after every draw: stopped at draw 3, the first two were wrong."""
    totals = np.array([1, 2, 3, 4])
    for k, value in ((1, 0.0), (2, 0.0), (3, 1.0)):
        found = policies.coverage_when_stopped(np.array([3]), np.array([1]), k, totals=totals, enough=1)
        assert found.tolist() == [value]


def test_counts_at_which_the_rule_never_stops_are_refused() -> None:
    with pytest.raises(ValueError, match="would not have stopped"):
        policies.coverage_when_stopped(
            np.array([3]), np.array([0]), 1, totals=np.array([1, 2, 3, 4]), enough=1
        )


def test_more_draws_than_a_problem_ever_gets_are_refused() -> None:
    with pytest.raises(ValueError, match="k=5 is beyond the 4 trials"):
        policies.coverage_when_stopped(
            np.array([4]), np.array([0]), 5, totals=np.array([1, 2, 3, 4]), enough=1
        )
