import pytest

from toolkit.answers import (
    LONGEST,
    final_answer,
    gold_answer,
    joined_boxes,
    last_boxed,
    loose_answer,
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


def test_boxes_with_only_a_joining_word_between_them_are_a_list() -> None:
    assert joined_boxes(r"so \boxed{-2} \quad \text{and} \quad \boxed{1}.") == "-2, 1"
    assert joined_boxes(r"\boxed{2}, \boxed{3}, \boxed{5}") == "2, 3, 5"
    assert joined_boxes(r"\boxed{1} papers and \boxed{2} bins") == "1, 2"
    assert joined_boxes(r"\boxed{1} is the first guess. \boxed{2}") is None
    assert joined_boxes(r"\boxed{1}") is None


def test_a_stated_final_answer_after_the_box_outranks_it() -> None:
    text = r"she has $\boxed{255}$ more. Final Answer: The final answer is $10455$. I hope it is correct."
    assert final_answer(text) == "10455"
    assert final_answer(r"so \boxed{3}. The final answer is positive.") == "3"


@pytest.mark.parametrize("mark", ["\n<human>: ", "\nUser: ", "<|im_start|>user\n", "<|eot_id|>"])
def test_what_follows_the_models_turn_is_cut_off(mark: str) -> None:
    assert final_answer(f"The answer is 4.{mark}Thanks. The answer is 6.") == "4"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The largest $n$ is 34.", "34"),
        (r"Therefore $x \geq 5$ is the solution.", r"x \geq 5"),
        ("so the number is 10 which is 1,000.99 in all", "1000.99"),
        ("The answer is 7, and 8 is not.", "7, and 8 is not"),
        ("It is 3 or 5.", None),
        ("There are 3 dozen eggs", None),
        ("I cannot say", None),
        ("The answer is NO_SOLUTION", None),
    ],
)
def test_prose_counts_by_its_last_formula_or_number_unless_it_names_alternatives(
    text: str, answer: str | None
) -> None:
    assert loose_answer(text) == answer
