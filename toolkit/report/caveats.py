"""What a reader must know before believing the verdict."""

from collections.abc import Iterator

from toolkit.report import figures
from toolkit.report.facts import Facts, Json
from toolkit.report.figures import known

CUT = 0.05  # share of truncated draws from which it is said


def caveats(facts: Facts) -> list[str]:
    """In the order of the page, each once."""
    said = [*_reasoning(facts), *_problems(facts)]
    for arm, m in facts.measured.items():
        said += _about_arm(facts, arm, m)
    for student, x in facts.students.items():
        said += _about_student(student, x)
    said += _training(facts)
    if sum(len(x.get("arms") or {}) for x in facts.students.values()) > 2 or len(facts.measured) > 2:
        said.append("Intervals are 95 % for each comparison alone, not corrected for their number.")
    for found in (facts.plan, facts.metrics):
        said += map(_sentence, (found or {}).get("notes") or [])
    return list(dict.fromkeys(said))


def warnings(facts: Facts) -> list[str]:
    """What stands beside the verdict, because it limits what the verdict can mean."""
    said = []
    if facts.metrics is None and (facts.datasets or facts.students):
        said.append(
            "Nothing was measured of the draws: without gold answers there is no coverage to compare."
        )
    if adaptive := [arm for arm in facts.measured if facts.adaptive(arm)]:
        are = "was" if len(adaptive) == 1 else "were"
        said.append(
            f"The draws of {figures.joined(adaptive)} {are} chosen by outcomes: what is compared is the share of "
            "problems solved, not coverage at a k."
        )
    if warning := (facts.audit or {}).get("warning"):
        said.append(f"False positives were judged by a model: {warning}.")
    return said


def _reasoning(facts: Facts) -> Iterator[str]:
    if facts.measured and all(m.get("false_positive_rate") is None for m in facts.measured.values()):
        yield (
            "The false positive rate was not measured: a draw counts as correct by its final answer alone, "
            "whatever its reasoning."
        )
    if warning := (facts.audit or {}).get("warning"):
        yield f"False positives were judged by a model: {warning}."


def _problems(facts: Facts) -> Iterator[str]:
    asked = (facts.plan or {}).get("problems")
    for arm, m in facts.measured.items():
        measured = m.get("problems")
        if asked and measured and measured < asked:
            yield (
                f"Of {figures.count(asked)} planned problems {figures.count(measured)} are measured: the others have "
                "no gold answer, or no draw."
            )
            return
        if (m.get("outcomes") or {}).get("unverified"):
            yield (
                f"{figures.count(m['outcomes']['unverified'])} draws of {arm} are not verified: "
                "`pricematch verify` does it."
            )


def _about_arm(facts: Facts, arm: str, m: Json) -> Iterator[str]:
    if m.get("adaptive"):
        yield (
            f"The draws of {arm} depended on outcomes. It is compared by the problems it solved, which its spend "
            f"bought; its coverage@{facts.k(arm)} rests on the first draws, which every problem got whatever came out."
        )
    if (m.get("truncated") or 0) >= CUT:
        yield (
            f"{figures.percent(m['truncated'])} of {arm}’s draws were cut at max_tokens: they are paid for and "
            "mostly lost."
        )
    k = str(facts.planned_k(arm))
    if k in (m.get("not_estimated") or {}):
        yield f"Coverage@{k} of {arm} is not estimated: {m['not_estimated'][k]}."
    for level, why in (m.get("not_computed") or {}).items():
        yield f"Distinct solutions of {arm} by the identity “{level}” are not counted: {why}."


def _about_student(student: str, x: Json) -> Iterator[str]:
    arms = [e for e in (x.get("arms") or {}).values() if known(e)]
    if arms and all(e["value"] == 0 for e in arms):
        yield (
            f"The student {student} scores 0 after finetuning: a tiny student may score 0 on problems far from "
            "what it was trained on, and then says nothing about the data."
        )
    yield from map(_sentence, x.get("notes") or [])


def _training(facts: Facts) -> Iterator[str]:
    if not facts.students:
        return
    matched = ((facts.evaluation or {}).get("matching") or {}).get("training", "steps")
    if matched == "steps":
        yield "Finetuning is matched by steps, not by rows or epochs: the smaller dataset is repeated more often."
    else:
        yield f"Finetuning is matched by {matched}, so that steps differ between datasets."


def _sentence(note: object) -> str:
    """A note of an earlier stage, as a sentence."""
    said = str(note).strip().rstrip(".")
    return f"{said[:1].upper()}{said[1:]}."
