"""What a run says, in words: the verdict, the comparison, the caveats.

No sentence claims more than its interval supports: a winner is named only where the interval of the
difference leaves out 0, or, without one, where the two intervals do not overlap.
"""

from itertools import combinations
from pathlib import Path

from toolkit.report import figures
from toolkit.report.facts import Facts, Json, load
from toolkit.report.figures import known

MATCHES = {"price": "price", "flops": "FLOPs", "samples": "numbers of samples"}
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


def _data(facts: Facts) -> str:
    arms = [a for a in facts.arms if known(facts.coverage(a))]
    if not arms:
        return "No verdict yet: coverage has not been measured; `pricematch measure` does it."
    sizes = {arm: facts.measured[arm].get("problems") for arm in arms}
    same = len(set(sizes.values())) == 1
    of = f" of {figures.count(sizes[arms[0]])} problems" if same else ""
    covers = [f"{arm} {figures.share(facts.coverage(arm))}" for arm in arms]
    covers[0] = f"{arms[0]} covers {figures.share(facts.coverage(arms[0]))}{of}"
    sentences = [f"{_matching(facts, arms)}, {figures.joined(covers)}{_pairs(facts, arms)}."]
    if not same:
        listed = figures.joined([f"{a} {figures.count(n)}" for a, n in sizes.items()])
        sentences.append(
            f"The arms were measured on different numbers of problems ({listed}): not like for like."
        )
    return " ".join([*sentences, *_unfinished(facts, arms), *_drift(facts, arms)])


def _matching(facts: Facts, arms: list[str]) -> str:
    ks = [str(facts.k(a)) for a in arms]
    if len(arms) == 1:
        return f"With {ks[0]} draws per problem"
    draws = f"{ks[0]} draws per problem each" if len(set(ks)) == 1 else f"{' vs '.join(ks)} draws per problem"
    return f"At equal {MATCHES.get(facts.match, facts.match)} ({draws})"


def _pairs(facts: Facts, arms: list[str]) -> str:
    pairs = list(combinations(arms, 2))
    if not pairs:
        return "; there is no other arm to compare it with"
    said = [_pair(facts, a, b) for a, b in pairs]
    if len(pairs) == 1:
        return f": {said[0]}"
    return ". " + "; ".join(f"{a} against {b}: {s}" for (a, b), s in zip(pairs, said, strict=True))


def _pair(facts: Facts, a: str, b: str) -> str:
    at = (facts.k(a), facts.k(b))
    listed = [d for d in (facts.metrics or {}).get("differences") or [] if _is_between(d, (a, b), at)]
    return compare((a, b), facts.coverage(a), facts.coverage(b), paired(listed, a, b), "covers")


def _is_between(d: Json, arms: tuple[str, str], ks: tuple[int | None, int | None]) -> bool:
    stored = ((d.get("a"), d.get("b")), (d.get("k_a"), d.get("k_b")))
    return stored in ((arms, ks), (arms[::-1], ks[::-1]))


def paired(listed: list[Json], a: str, b: str) -> Json | None:
    """The paired difference a - b among these, whichever way round it was stored."""
    for d in listed:
        x: Json = d.get("points") or {}
        if not known(x):
            continue
        if (d.get("a"), d.get("b")) == (a, b):
            return x
        if (d.get("b"), d.get("a")) == (a, b):
            return _negative(x)
    return None


def compare(
    names: tuple[str, str], x: Json | None, y: Json | None, difference: Json | None, verb: str
) -> str:
    """What may be said of two estimates: who is ahead and by how much, or that neither is shown to be.

    `difference` is the paired one, first minus second; it decides where it is given.
    """
    a, b = names
    if difference is not None:
        if difference["low"] <= 0 <= difference["high"]:
            return (
                f"the paired difference, {a} minus {b}, is {figures.points(difference)}, "
                "which includes 0: not distinguishable"
            )
        better, by = (a, difference) if difference["value"] > 0 else (b, _negative(difference))
        gain, low, high = (figures.decimal(100 * by[part]) for part in ("value", "low", "high"))
        return f"{better} {verb} {gain} points [{low}, {high}] more"
    if x is None or y is None or (x["low"] <= y["high"] and y["low"] <= x["high"]):
        return f"the intervals overlap, so neither is shown to be ahead: it is open which {verb} more"
    better = a if x["value"] > y["value"] else b
    gain = figures.decimal(100 * abs(x["value"] - y["value"]))
    return f"{better} {verb} {gain} points more (the intervals do not overlap)"


def _negative(x: Json) -> Json:
    return {"value": -x["value"], "low": -x["high"], "high": -x["low"]}


def _unfinished(facts: Facts, arms: list[str]) -> list[str]:
    short = [a for a in arms if (facts.planned_k(a) or 0) > (facts.k(a) or 0)]
    if not short:
        return []
    listed = figures.joined([f"{a} at {facts.k(a)} of {facts.planned_k(a)} planned draws" for a in short])
    return [f"The run is short of its plan ({listed}), so the match holds only as far as the spends agree."]


def _drift(facts: Facts, arms: list[str]) -> list[str]:
    """The plan matches expectations; a bill that came out otherwise is said."""
    spends = [facts.spent(a) for a in arms]
    known_spends = [s for s in spends if s is not None]
    if len(arms) < 2 or len(known_spends) < len(arms) or max(known_spends) <= 0:
        return []
    if min(known_spends) >= (1 - DRIFT) * max(known_spends):
        return []
    listed = figures.joined([f"{a} {amount(facts, s)}" for a, s in zip(arms, spends, strict=True)])
    return [f"The plans were matched, the actual spends were not quite: {listed}."]


def amount(facts: Facts, value: float | None) -> str:
    """A spend in the matched currency."""
    if facts.match == "flops":
        return figures.flops(value)
    return figures.usd(value) if facts.match == "price" else f"{figures.count(value)} draws"


def _student(facts: Facts, student: str, x: Json) -> str:
    arms = {a: e for a, e in (x.get("arms") or {}).items() if known(e)}
    base = f"The student {student} has pass@1 {figures.share(x.get('base'))} before finetuning"
    if not arms:
        return f"{base}; no finetuned student was evaluated."
    reached = [f"{figures.share(e)} on {arm}’s data" for arm, e in arms.items()]
    differences = x.get("differences") or []
    said = [
        compare((f"{a}’s data", f"{b}’s data"), arms[a], arms[b], paired(differences, a, b), "teaches")
        for a, b in combinations(arms, 2)
    ]
    tail = f": {'; '.join(said)}" if said else ""
    return f"{base} and, {_steps(facts, student, list(arms))}, reaches {figures.joined(reached)}{tail}."


def _steps(facts: Facts, student: str, arms: list[str]) -> str:
    steps = {a: facts.trainings.get((student, a), {}).get("steps") for a in arms}
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
    k, planned = facts.k(arm), facts.planned_k(arm)
    covered = f"{figures.share(facts.coverage(arm))} @{k}" if k is not None else figures.NONE
    return {
        "arm": arm,
        "model": model_of(facts, arm),
        "draws/problem": figures.count(planned if planned is not None else k),
        "spend": spend_of(facts, arm),
        "coverage@k": covered,
        "distinct correct/solved": figures.quantity(facts.diversity(arm).get("unique_per_solved")),
        **{f"{s} pass@1": figures.share((x.get("arms") or {}).get(arm)) for s, x in facts.students.items()},
    }


def model_of(facts: Facts, arm: str) -> str:
    found = facts.planned.get(arm, {}).get("model")
    members = ((facts.run or {}).get("arms") or {}).get(arm) or [arm]
    first = members.get("models") if isinstance(members, dict) else members
    written = ((facts.run or {}).get("models") or {}).get((first or [arm])[0]) or {}
    return str(found or written.get("model") or figures.NONE)


def spend_of(facts: Facts, arm: str) -> str:
    """Actual dollars, with FLOPs where they are what is matched; a dash before anything was measured."""
    found = facts.measured.get(arm)
    if found is None:
        return figures.NONE
    dollars = figures.usd(found.get("usd"))
    return f"{dollars}, {figures.flops(found.get('flops'))}" if facts.match == "flops" else dollars


# -- what a reader must know before believing the verdict


def caveats(facts: Facts) -> list[str]:
    said: list[str] = []
    if facts.measured and all(m.get("false_positive_rate") is None for m in facts.measured.values()):
        said.append(
            "The false positive rate was not measured: a draw counts as correct by its final answer alone, "
            "whatever its reasoning."
        )
    for arm, m in facts.measured.items():
        said += _about_arm(facts, arm, m)
    for student, x in facts.students.items():
        arms = [e for e in (x.get("arms") or {}).values() if known(e)]
        if arms and all(e["value"] == 0 for e in arms):
            said.append(
                f"The student {student} scores 0 after finetuning: a tiny student may score 0 on problems far from "
                "what it was trained on, and then says nothing about the data."
            )
        said += [str(n) for n in x.get("notes") or []]
    if facts.students:
        said.append(
            "Finetuning is matched by steps, not by rows or epochs: the smaller dataset is repeated more often. "
            "Each arm was trained once, so the intervals hold the spread over problems, not over training seeds."
        )
    if sum(len(x.get("arms") or {}) for x in facts.students.values()) > 2 or len(facts.measured) > 2:
        said.append("Intervals are 95 % for each comparison alone, not corrected for their number.")
    said += [str(n) for n in (facts.plan or {}).get("notes") or []]
    said += [str(n) for n in (facts.metrics or {}).get("notes") or []]
    return list(dict.fromkeys(said))


def _about_arm(facts: Facts, arm: str, m: Json) -> list[str]:
    said = []
    outcomes = m.get("outcomes") or {}
    if outcomes.get("unverified"):
        said.append(
            f"{figures.count(outcomes['unverified'])} draws of {arm} are not verified: `pricematch verify` does it."
        )
    if (m.get("truncated") or 0) >= 0.05:
        said.append(
            f"{figures.percent(m['truncated'])} of {arm}’s draws were cut at max_tokens: they are paid for and mostly lost."
        )
    k = str(facts.planned_k(arm))
    if k in (m.get("not_estimated") or {}):
        said.append(f"Coverage@{k} of {arm} is not estimated: {m['not_estimated'][k]}.")
    return said
