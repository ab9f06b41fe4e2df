"""What a run says, in words: the verdict, and the comparison in a table.

No sentence claims more than its interval supports: a winner is named only where the interval of the
difference leaves out 0, or, without one, where the two intervals do not overlap.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

from toolkit.report import figures, pairs
from toolkit.report.facts import Facts, Json, load
from toolkit.report.figures import known

MATCHES = {"price": "price", "flops": "FLOPs", "samples": "numbers of samples"}
WHOSE = "’s data"
DRIFT = 0.05  # relative difference of actual spends from which the verdict speaks of it


def _facts(source: Path | Facts) -> Facts:
    return load(source) if isinstance(source, Path) else source


# -- the verdict


def verdict(source: Path | Facts) -> str:
    """The verdict in plain sentences."""
    return " ".join(paragraphs(source))


def paragraphs(source: Path | Facts) -> list[str]:
    """The verdict, a paragraph for the data and one for each student."""
    facts = _facts(source)
    return [_data(facts), *(_student(facts, name, x) for name, x in facts.students.items())]


def compared(facts: Facts) -> list[str]:
    """The arms the verdict is about: those with a figure to compare."""
    return [arm for arm in facts.measured if known(facts.reached(arm))]


def _data(facts: Facts) -> str:
    arms = [a for a in facts.arms if a in compared(facts)]
    if not arms:
        return "No verdict yet: coverage has not been measured; `pricematch measure` does it."
    sizes = {arm: facts.measured[arm].get("problems") for arm in arms}
    same = len(set(sizes.values())) == 1
    of = f" of {figures.count(sizes[arms[0]])} problems" if same else ""
    sentences = [f"{_matching(facts, arms)}, {_reached(facts, arms, of)}{_pairs(facts, arms)}."]
    if not same:
        listed = figures.joined([f"{a} {figures.count(n)}" for a, n in sizes.items()])
        sentences.append(
            f"The arms were measured on different numbers of problems ({listed}): not like for like."
        )
    return " ".join([*sentences, *_unfinished(facts, arms), *_drift(facts, arms)])


def _matching(facts: Facts, arms: list[str]) -> str:
    draws = [draws_of(facts, a) for a in arms]
    if len(arms) == 1:
        return f"With {draws[0]} draws per problem"
    said = (
        f"{draws[0]} draws per problem each"
        if len(set(draws)) == 1
        else f"{' vs '.join(draws)} draws per problem"
    )
    return f"At equal {MATCHES.get(facts.match, facts.match)} ({said})"


def draws_of(facts: Facts, arm: str) -> str:
    """Draws per problem that an arm is compared at; an average where outcomes decided them."""
    if not facts.adaptive(arm):
        return str(facts.k(arm))
    drawn = facts.drawn(arm)
    return "varying" if drawn is None else f"about {figures.decimal(drawn)}"


def _reached(facts: Facts, arms: list[str], of: str) -> str:
    """cheap covers 70 % of 200 problems and strong 64 %; of an adaptive arm, what it solved."""
    said, before = [], ""
    for arm in arms:
        verb = "solves" if facts.adaptive(arm) else "covers"
        said.append(f"{arm} {verb + ' ' if verb != before else ''}{figures.share(facts.reached(arm))}{of}")
        before, of = verb, ""
    return figures.joined(said)


def _pairs(facts: Facts, arms: list[str]) -> str:
    both = list(combinations(arms, 2))
    if not both:
        return "; there is no other arm to compare it with"
    said = {pair: _pair(facts, *pair) for pair in both}
    scores = {arm: x for arm in arms if (x := facts.reached(arm)) is not None}
    return f": {said[both[0]]}" if len(both) == 1 else f". {pairs.told(said, scores)}"


def _pair(facts: Facts, a: str, b: str) -> str:
    return pairs.compare((a, b), facts.reached(a), facts.reached(b), between(facts, a, b), "covers")


def between(facts: Facts, a: str, b: str) -> Json | None:
    """The paired difference a - b at what both are compared at."""
    at = {arm: None if facts.adaptive(arm) else facts.k(arm) for arm in (a, b)}
    stored = (facts.metrics or {}).get("differences") or []
    fitting = [
        d for d in stored
        if {d.get("a"), d.get("b")} == {a, b} and (d.get("k_a"), d.get("k_b")) == (at[d["a"]], at[d["b"]])
    ]  # fmt: skip
    return pairs.paired(fitting, a, b)


def _unfinished(facts: Facts, arms: list[str]) -> list[str]:
    short = [a for a in arms if not facts.adaptive(a) and (facts.planned_k(a) or 0) > (facts.k(a) or 0)]
    if not short:
        return []
    said = figures.joined([f"{a} at {facts.k(a)} of {facts.planned_k(a)} planned draws" for a in short])
    return [f"The run is short of its plan ({said}), so the match holds only as far as the spends agree."]


def _drift(facts: Facts, arms: list[str]) -> list[str]:
    """The plan matches expectations; a bill that came out otherwise is said."""
    spends = [facts.spent(a) for a in arms]
    known_spends = [s for s in spends if s is not None]
    if len(arms) < 2 or len(known_spends) < len(arms) or max(known_spends) <= 0:
        return []
    if facts.match == "samples" or min(known_spends) >= (1 - DRIFT) * max(known_spends):
        return []
    said = figures.joined([f"{a} {amount(facts, s)}" for a, s in zip(arms, spends, strict=True)])
    return [f"The plans were matched, the actual spends were not quite: {said}."]


def amount(facts: Facts, value: float | None) -> str:
    """A spend in the matched currency."""
    if facts.match == "flops":
        return figures.flops(value)
    return figures.usd(value) if facts.match == "price" else f"{figures.count(value)} draws"


# -- students


def _student(facts: Facts, student: str, x: Json) -> str:
    scores = {d: e for d, e in (x.get("arms") or {}).items() if known(e)}
    base = f"The student {student} has pass@1 {figures.share(x.get('base'))} before finetuning"
    if not scores:
        return f"{base}; no finetuned student was evaluated."
    controls = {d: e for d, e in scores.items() if facts.datasets.get(d, {}).get("control")}
    arms = {d: e for d, e in scores.items() if d not in controls} or scores
    differences = x.get("differences") or []
    said = {(a, b): _taught(differences, arms, a, b) for a, b in combinations(arms, 2)}
    one = next(iter(said.values()), "")
    tail = f": {one}" if len(said) == 1 else f". {pairs.told(said, arms, WHOSE)}" if said else ""
    first = f"{base} and, {_trained(facts, student, list(arms))}, reaches {_scored(arms)}{tail}."
    if not controls or arms is scores:
        return first
    return f"{first} Controls, which were not matched by {MATCHES.get(facts.match, facts.match)}: {_scored(controls)}."


def _scored(scores: Mapping[str, Json]) -> str:
    return figures.joined([f"{figures.share(e)} on {name}{WHOSE}" for name, e in scores.items()])


def _taught(differences: Sequence[Json], scores: Mapping[str, Json], a: str, b: str) -> str:
    """Two datasets, absolute and relative, each named."""
    points = pairs.paired(differences, a, b)
    said = pairs.compare((f"{a}{WHOSE}", f"{b}{WHOSE}"), scores[a], scores[b], points, "teaches")
    if points is None or points["low"] <= 0 <= points["high"]:
        return said
    better, worse = (a, b) if points["value"] > 0 else (b, a)
    relative = pairs.paired(differences, better, worse, "relative")
    return f"{said} (absolute; relative {figures.gain(relative)})" if known(relative) else said


def _trained(facts: Facts, student: str, arms: list[str]) -> str:
    """after 150 steps each, mean of 3 seeds"""
    seeds = (facts.evaluation or {}).get("seeds") or 1
    return _steps(facts, student, arms) + (f", mean of {seeds} seeds" if seeds > 1 else "")


def _steps(facts: Facts, student: str, arms: list[str]) -> str:
    steps = {a: facts.trainings.get((student, a, 0), {}).get("steps") for a in arms}
    if None in steps.values():
        return "after finetuning"
    if len(set(steps.values())) == 1:
        return (
            f"after {figures.count(steps[arms[0]])} steps each"
            if len(arms) > 1
            else f"after {steps[arms[0]]} steps"
        )
    return (
        f"after {figures.joined([f'{n} steps on {a}’s data' for a, n in steps.items()])} (NOT step-matched)"
    )


# -- the table the command line prints


def comparison(source: Path | Facts) -> list[dict[str, str]]:
    """One row per arm, and one for the base student where students were evaluated; all cells are text."""
    facts = _facts(source)
    rows = [_row(facts, arm) for arm in facts.arms]
    if facts.students:
        blank = dict.fromkeys(rows[0] if rows else ["arm"], figures.NONE)
        base = {f"{s} pass@1": figures.share(x.get("base")) for s, x in facts.students.items()}
        rows.append({**blank, "arm": "base, not finetuned", **base})
    return rows


def _row(facts: Facts, arm: str) -> dict[str, str]:
    measured = arm in facts.measured
    k, planned = facts.k(arm), facts.planned_k(arm)
    covered = f"{figures.share(facts.coverage(arm))} @{k}" if k is not None else figures.NONE
    draws = figures.count(planned if planned is not None else k)
    if measured and facts.adaptive(arm):
        covered, draws = f"{figures.share(facts.reached(arm))} solved", draws_of(facts, arm)
    return {
        "arm": arm,
        "model": model_of(facts, arm),
        "draws/problem": draws,
        "spend": spend_of(facts, arm),
        "coverage@k": covered,
        "distinct correct/solved": figures.quantity(facts.diversity(arm).get("unique_per_solved")),
        **{f"{s} pass@1": figures.share((x.get("arms") or {}).get(arm)) for s, x in facts.students.items()},
    }


def model_of(facts: Facts, arm: str) -> str:
    found = facts.planned.get(arm, {}).get("model")
    written = [facts.model(key).get("model") for key in facts.members(arm)]
    return str(found or " + ".join(str(m) for m in written if m) or figures.NONE)


def spend_of(facts: Facts, arm: str) -> str:
    """Actual dollars, with FLOPs where they are what is matched; a dash before anything was measured."""
    found = facts.measured.get(arm)
    if found is None:
        return figures.NONE
    dollars = figures.usd(found.get("usd"))
    return f"{dollars}, {figures.flops(found.get('flops'))}" if facts.match == "flops" else dollars
