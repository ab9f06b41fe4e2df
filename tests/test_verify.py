from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from toolkit import verify
from toolkit.answers import norm_sha
from toolkit.ledger import Ledger
from toolkit.types import Outcome, Problem, Verdict
from toolkit.verifiers.math import MathVerifier

TEXTS = ("2 + 2 = 4. The answer is 4.", "The answer is 5.", "I do not know.")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite") as made:
        yield made


@pytest.fixture
def verifier() -> Iterator[MathVerifier]:
    with MathVerifier(timeout=10, workers=1) as made:
        yield made


def fill(ledger: Ledger, arm: str = "cheap", problems: int = 2) -> tuple[int, list[int]]:
    """An arm with the three texts drawn for each problem."""
    row = ledger.add_arm(arm, "m", "p", {}, arm)
    ids = ledger.add_problems([Problem(f"p{i}", f"question {i}", "4") for i in range(problems)])
    ledger.import_draws(row, [(p, i, text, None) for p in ids for i, text in enumerate(TEXTS)])
    return row, ids


def stored(ledger: Ledger, version: str = MathVerifier.version) -> list[tuple[object, ...]]:
    return list(
        ledger.rows(
            "SELECT d.problem, d.idx, v.outcome, v.extracted, v.norm_sha, v.gold FROM draw d "
            "JOIN verdict v ON v.draw=d.id WHERE v.version=? ORDER BY d.id",
            (version,),
        )
    )


def test_every_draw_gets_its_outcome_answer_and_identity(ledger: Ledger, verifier: MathVerifier) -> None:
    arm, (p, _) = fill(ledger)
    done = verify.run(ledger, [arm], {p: "4"}, verifier)
    assert done == {Outcome.CORRECT: 1, Outcome.INCORRECT: 1, Outcome.UNPARSABLE: 1}
    assert stored(ledger) == [
        (p, 0, "correct", "4", norm_sha(TEXTS[0]), "4"),
        (p, 1, "incorrect", "5", norm_sha(TEXTS[1]), "4"),
        (p, 2, "unparsable", None, norm_sha(TEXTS[2]), "4"),
    ]


def test_draws_without_a_gold_are_left_alone(ledger: Ledger, verifier: MathVerifier) -> None:
    arm, (p, q) = fill(ledger)
    assert verify.run(ledger, [arm], {p: None}, verifier).total() == 0
    assert verify.run(ledger, [arm], {q: "5"}, verifier).total() == 3
    assert {row[0] for row in stored(ledger)} == {q}


def test_a_rerun_judges_nothing_twice(ledger: Ledger, verifier: MathVerifier) -> None:
    arm, ids = fill(ledger)
    golds = dict.fromkeys(ids, "4")
    assert verify.run(ledger, [arm], golds, verifier).total() == 6
    assert verify.run(ledger, [arm], golds, verifier).total() == 0
    ledger.import_draws(arm, [(ids[0], 3, "The answer is 4.", None)])
    assert verify.run(ledger, [arm], golds, verifier) == {Outcome.CORRECT: 1}


def test_a_mended_gold_rejudges_only_its_own_draws(ledger: Ledger, verifier: MathVerifier) -> None:
    arm, (p, q) = fill(ledger)
    verify.run(ledger, [arm], {p: "4", q: "4"}, verifier)
    assert verify.run(ledger, [arm], {p: "4", q: "5"}, verifier).total() == 3
    outcomes = {(row[0], row[1]): row[2] for row in stored(ledger)}
    assert outcomes[p, 0] == "correct"
    assert (outcomes[q, 0], outcomes[q, 1]) == ("incorrect", "correct")


def test_only_the_arms_asked_for_are_judged(ledger: Ledger, verifier: MathVerifier) -> None:
    cheap, ids = fill(ledger, "cheap")
    strong, _ = fill(ledger, "strong")
    golds = dict.fromkeys(ids, "4")
    assert verify.run(ledger, [cheap], golds, verifier).total() == 6
    assert verify.run(ledger, [cheap, strong], golds, verifier).total() == 6


def test_progress_ends_at_the_total_over_several_chunks(
    ledger: Ledger, verifier: MathVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "CHUNK", 4)
    arm, ids = fill(ledger, problems=3)
    seen: list[tuple[int, int]] = []
    verify.run(
        ledger, [arm], dict.fromkeys(ids, "4"), verifier, lambda done, total: seen.append((done, total))
    )
    assert seen == [(4, 9), (8, 9), (9, 9)]
    assert [row[2] for row in stored(ledger)] == ["correct", "incorrect", "unparsable"] * 3


def test_an_answer_in_algebra_is_judged_beside_plain_ones(ledger: Ledger, verifier: MathVerifier) -> None:
    arm = ledger.add_arm("a", "m", "p", {}, "s")
    (p,) = ledger.add_problems([Problem("p", "q", r"2\sqrt{2}")])
    texts = [r"\boxed{\sqrt{8}}", "no answer", r"\boxed{\sqrt{2}}", r"\boxed{2\sqrt{2}}"]
    ledger.import_draws(arm, [(p, i, text, None) for i, text in enumerate(texts)])
    verify.run(ledger, [arm], {p: r"2\sqrt{2}"}, verifier)
    assert [row[2] for row in stored(ledger)] == ["correct", "unparsable", "incorrect", "correct"]


class Shouting:
    """A verifier of another kind: an answer is right if it is written in capitals."""

    name, version = "capitals", "1"

    def judge(self, draws: Sequence[tuple[str, str]]) -> list[Verdict]:
        return [
            Verdict(Outcome.CORRECT if text.isupper() else Outcome.INCORRECT, gold, "same", "list")
            for gold, text in draws
        ]


def test_what_a_draw_is_worth_is_the_verifiers_to_say(ledger: Ledger) -> None:
    arm, (p, _) = fill(ledger)
    ledger.import_draws(arm, [(p, 3, "LOUD", None)])
    done = verify.run(ledger, [arm], {p: "tests of p"}, Shouting())
    assert done == {Outcome.CORRECT: 1, Outcome.INCORRECT: 3}
    rows = list(ledger.rows("SELECT extracted, gold FROM verdict WHERE verifier='capitals' AND version='1'"))
    assert rows == [("tests of p", "tests of p")] * 4


def test_verdicts_that_another_version_changed_are_listed(ledger: Ledger, verifier: MathVerifier) -> None:
    arm, (p, q) = fill(ledger)
    verify.run(ledger, [arm], {p: "4", q: "4"}, verifier)
    draws = [row[0] for row in ledger.rows("SELECT id FROM draw ORDER BY id")]
    old = [(draw, "4", Verdict(Outcome.CORRECT, "4", "")) for draw in draws]
    ledger.add_verdicts("math", "old", old)
    changed = verify.changes(ledger, [arm], "math", "old", verifier.version)
    assert [(c.problem, c.idx) for c in changed] == [(p, 1), (p, 2), (q, 1), (q, 2)]
    assert changed[0].outcome == (Outcome.CORRECT, Outcome.INCORRECT)
    assert changed[0].extracted == ("4", "5")
    assert verify.changes(ledger, [arm], "math", "old", "old") == []
    assert verify.changes(ledger, [arm + 1], "math", "old", verifier.version) == []
