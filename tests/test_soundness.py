from fractions import Fraction

import pytest

from toolkit import word_problems
from toolkit.soundness import evaluate, flaw

QUESTION = "Mia has 12 eggs. Mia gives half of the eggs to Tom. Mia finds 3 boxes with 4 eggs each. How many?"


def test_every_worked_solution_of_the_generator_is_sound() -> None:
    for problem in word_problems.generate("pretrain", limit=1000):
        assert problem.solution is not None
        assert problem.answer is not None
        assert flaw(problem.question, problem.solution, problem.answer) is None, problem.solution


@pytest.mark.parametrize(
    ("solution", "found"),
    [
        ("12/2=6. 3*4=12. 6+12=18. The answer is 18.", None),
        ("4*3=12. 12/2=6. 12+6=18. The answer is 18.", None),
        ("The answer is 18.", "no calculation"),
        ("12/2=5. 3*4=13. 5+13=18. The answer is 18.", "untrue"),
        ("12/0=6. 3*4=12. 6+12=18. The answer is 18.", "untrue"),
        ("9*2=18. The answer is 18.", "a number from nowhere"),
        ("6+12=18. 12/2=6. The answer is 18.", "a number from nowhere"),  # before it was worked out
        ("12/2=6. 3*4=12. The answer is 18.", "another answer"),
    ],
)
def test_a_right_answer_is_flawed_where_its_calculations_are(solution: str, found: str | None) -> None:
    assert flaw(QUESTION, solution, "18") == found


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("2*(3+4)", Fraction(14)),
        ("0.1+0.2", Fraction(3, 10)),
        ("-3+5", Fraction(2)),
        ("007+1", Fraction(8)),
        ("1/0", None),
        ("2**9**9", None),
        ("x+1", None),
        ("", None),
    ],
)
def test_sums_are_exact_and_nothing_else_is_evaluated(written: str, value: Fraction | None) -> None:
    assert evaluate(written) == value
