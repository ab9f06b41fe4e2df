import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from toolkit.answers import final_answer, gold_answer
from toolkit.types import Outcome
from toolkit.verifiers.math import MathVerifier, quick

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
SOLUTIONS_6B = DATA / "gsm8k" / "solutions_6b.jsonl"
MATH_TRAIN = DATA / "math" / "train.jsonl"

CORRECT, INCORRECT = Outcome.CORRECT, Outcome.INCORRECT


@pytest.fixture(scope="module")
def verifier() -> Iterator[MathVerifier]:
    with MathVerifier(timeout=10, workers=1) as made:
        yield made


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("18", "18"),
        ("18", "18.00"),
        ("1/2", "0.5"),
        (r"\frac{3}{4}", "0.75"),
        (r"-\dfrac{3}{4}", "-3/4"),
        ("1234", "1,234"),
        (r"\$42409", "42409"),
        ("50", r"50\%"),
        ("0.5", "50%"),
        ("10", "10 percent"),
        ("18", "18 dollars"),
        ("7", "7 miles per hour"),
        ("-5", "\N{MINUS SIGN}5"),
        ("5", "$5$."),
    ],
)
def test_plain_numbers_are_equal_without_algebra(gold: str, answer: str) -> None:
    assert quick(gold, answer) is CORRECT


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("18", "19"),
        ("1/3", "0.333333"),
        ("100000000", "100000001"),
        ("5", "-5"),
        ("50%", "0.5%"),
        ("18", "19 dollars"),
    ],
)
def test_plain_numbers_compare_exactly(gold: str, answer: str) -> None:
    assert quick(gold, answer) is INCORRECT


@pytest.mark.parametrize(
    "answer", ["3 dozen", "x+1", "1/0", "6 hours and 5 minutes", "9" * 400, "1e9", r"\sqrt{2}", ""]
)
def test_what_is_no_plain_number_is_left_to_algebra(answer: str) -> None:
    assert quick("36", answer) is None


def test_algebra_decides_the_rest(verifier: MathVerifier) -> None:
    pairs = {
        (r"\sqrt{2}", "2^{1/2}"): CORRECT,
        ("x+1", "1+x"): CORRECT,
        (r"\frac12", "1/2"): CORRECT,
        ("10", "x=10"): CORRECT,
        (r"\text{Evelyn}", "Evelyn"): CORRECT,
        ("(3,4)", "$(3, 4)$"): CORRECT,
        ("3", r"\pi"): INCORRECT,
        (r"\sqrt{3}", r"\sqrt{2}"): INCORRECT,
    }
    assert dict(zip(pairs, verifier.check_many(pairs), strict=True)) == pairs


def test_a_poisonous_answer_times_out_and_its_neighbours_are_right() -> None:
    pairs = [("x+1", "1+x"), ("1", "(10000000)!"), ("7", "7"), (r"\sqrt{8}", r"2\sqrt{2}")]
    with MathVerifier(timeout=2, workers=1) as impatient:
        assert impatient.check_many(pairs) == [CORRECT, Outcome.TIMEOUT, CORRECT, CORRECT]


def test_the_verdict_is_the_same_from_a_thread_and_an_event_loop(verifier: MathVerifier) -> None:
    pairs = [(r"\sqrt{12}", r"2\sqrt{3}"), ("y", "2y")]
    seen: list[list[Outcome]] = []
    thread = threading.Thread(target=lambda: seen.append(verifier.check_many(pairs)))
    thread.start()
    thread.join()
    seen.append(asyncio.run(asyncio.to_thread(verifier.check_many, [*pairs, ("z", "z+z")]))[:2])
    assert seen == [[CORRECT, INCORRECT]] * 2


def test_a_pair_is_compared_once() -> None:
    with MathVerifier(timeout=10, workers=1) as once:
        first = once.check_many([("x+1", "1+x")])
        once.close()
        assert once.check_many([("x+1", "1+x")] * 3) == first * 3
        assert not once._workers._children  # no process was needed again


def test_easy_pairs_start_no_process() -> None:
    with MathVerifier() as easy:
        easy.check_many([("18", "18"), ("18", "19.5"), (r"\pi", r"\pi")])
        assert not easy._workers._children


@pytest.mark.skipif(not SOLUTIONS_6B.is_file(), reason=f"no {SOLUTIONS_6B}")
@pytest.mark.parametrize("model", ["6b_finetuning", "6b_verification"])
def test_gsm8k_solutions_are_judged_as_officially(verifier: MathVerifier, model: str) -> None:
    rows = [json.loads(line) for line in SOLUTIONS_6B.read_text().splitlines()]
    golds = [final_answer(row["ground_truth"]) for row in rows]
    answers = [final_answer(row[model]["solution"]) for row in rows]
    judged = verifier.check_many(
        [(gold or "", answer or "none") for gold, answer in zip(golds, answers, strict=True)]
    )
    assert [outcome is CORRECT for outcome in judged] == [row[model]["is_correct"] for row in rows]


@pytest.mark.skipif(not MATH_TRAIN.is_file(), reason=f"no {MATH_TRAIN}")
def test_every_math_gold_equals_the_answer_of_its_own_solution(verifier: MathVerifier) -> None:
    rows = [json.loads(line) for line in MATH_TRAIN.read_text().splitlines()]
    answers = [final_answer(row["solution"]) for row in rows]
    without = [row["idx"] for row, answer in zip(rows, answers, strict=True) if answer is None]
    assert without == [5341, 5343]  # their box is empty in the data
    pairs = [(row["answer"], a) for row, a in zip(rows, answers, strict=True) if a is not None]
    assert set(verifier.check_many(pairs)) == {CORRECT}
    assert all(gold_answer(row["solution"]) for row in rows if row["idx"] not in without)
