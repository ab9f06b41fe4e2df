import pytest

from toolkit.answers import (
    LONGEST,
    final_answer,
    gold_answer,
    last_boxed,
    norm_sha,
    normalise_solution,
    own_solution,
)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("6 x 7 = 42. The answer is 42.", "42"),
        ("The answer is: $X$", "X"),
        (r"Final Answer: The final answer is $\frac{1}{2}$. I hope it is correct.", r"\frac{1}{2}"),
        ("He pays 3 * 4 = 12.\n#### 1,234", "1234"),
        (r"so \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        (r"\boxed{1} no, \boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\fbox{3}", "3"),
        (r"\boxed 2", "2"),
        ("**Answer:** **$18**", "18"),
        ("The answer is $129,200.", "129200"),
        ("The answer is $3.50.", "3.50"),
        (r"The answer is -\$5", "-5"),
        ("The answer is:\n\n$$\nx = 3\n$$\nDone.", "x = 3"),
        ("The answer is $(3,4)$ and $(5,6)$.", "$(3,4)$ and $(5,6)$"),
        ("The answer is 7. Wait, no. The answer is 8.", "8"),
        ("The answer is 1.5 because half of 3 is 1.5.", "1.5 because half of 3 is 1.5"),
        ("16 - 3 = 13\nA: 26", "26"),
        ("#### Step 1\nAdd.\n#### Step 2\nThe answer is 5.", "5"),
        ("So\n#### x = 3", "x = 3"),
    ],
)
def test_the_final_answer_is_read_from_the_usual_formats(text: str, answer: str) -> None:
    assert final_answer(text) == answer


def test_a_box_outranks_hashes_and_hashes_outrank_words() -> None:
    assert final_answer("The answer is 1.\n#### 2") == "2"
    assert final_answer("#### 2\n\\boxed{3} The answer is 1.") == "3"


def test_an_unbalanced_box_yields_to_the_last_balanced_one() -> None:
    assert last_boxed(r"\boxed{7} and then \boxed{\frac{1}{2}") == "7"
    assert last_boxed(r"\boxed{\frac{1}{2}") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I add 2 and 3.",
        "The answer is NO_SOLUTION",
        "The answer is: it cannot be determined from this.",
        r"\boxed{}",
        "The answer is unknown.",
        "The answer is " + "9" * (LONGEST + 1),
    ],
)
def test_no_answer_and_refusals_are_none(text: str) -> None:
    assert final_answer(text) is None


@pytest.mark.parametrize(
    "start", ["\nQ: ", "\n\nProblem:\n", "\nQuestion: ", "\n**Problem 2:** ", "\n## Question: "]
)
def test_a_new_problem_of_the_models_own_is_cut_off(start: str) -> None:
    text = f"2 + 2 = 4. The answer is 4.{start}What is 3 + 3?\nThe answer is 6."
    assert own_solution(text) == "2 + 2 = 4. The answer is 4."
    assert final_answer(text) == "4"


def test_a_restated_question_at_the_start_is_not_a_new_problem() -> None:
    assert final_answer("\nQuestion: what is 2 + 2?\nThe answer is 4.") == "4"


def test_gold_answers_follow_both_conventions() -> None:
    assert gold_answer("5 * <<5*2=10>>2 = 10\n#### 1,000") == "1000"
    assert gold_answer(r"We get \fbox{1}, then $\boxed{\sqrt{2}}$.") == r"\sqrt{2}"
    assert gold_answer("no convention") is None


def test_spacing_and_latex_variants_are_one_solution() -> None:
    variants = [
        r"We get $\left( \dfrac{1}{2} \right)$, so 2 + 3 = 5.",
        "We get (\\frac{1}{2}),\n\n  so 2+3 = 5.",
        r"We  get \(( \tfrac{1}{2} )\), so\, 2 +3=5.  ",
    ]
    assert len({norm_sha(text) for text in variants}) == 1


@pytest.mark.parametrize(
    "other", ["We have 12 cats.", "we have 1 2 cats.", "we have 12 dogs.", "we have12 cats."]
)
def test_different_solutions_stay_different(other: str) -> None:
    assert norm_sha(other) != norm_sha("we have 12 cats.")


def test_what_follows_the_solution_is_not_part_of_its_identity() -> None:
    assert normalise_solution("The answer is 4.\nQ: and now?") == normalise_solution("The answer is 4.")


def test_an_identity_is_sixteen_hex_digits_even_of_broken_text() -> None:
    assert len(norm_sha("\ud800")) == 16
    int(norm_sha(""), 16)
