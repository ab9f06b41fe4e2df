import re

import pytest

import prompts
from toolkit.word_problems import LARGEST, LEVELS, SPLITS, generate

EQUATION = re.compile(r"(\d+)([-+*/])(\d+)=(\d+)")
OPERATION = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__, "/": lambda a, b: a / b}


@pytest.fixture(scope="module")
def problems():
    return generate("train", limit=1000)


def test_same_arguments_give_the_same_problems():
    assert generate("test", limit=40, seed=3) == generate("test", limit=40, seed=3)
    assert generate("test", limit=40, seed=3) != generate("test", limit=40, seed=4)


def test_a_longer_list_starts_with_the_shorter_one():
    assert generate("train", limit=50)[:20] == generate("train", limit=20)


def test_no_question_is_in_two_splits_or_twice_in_one_whatever_the_seed():
    questions = {
        split: [p.question for s in (0, 1) for p in generate(split, limit=1500, seed=s)] for split in SPLITS
    }
    for split in SPLITS:
        first = questions[split][:1500]
        assert len(set(first)) == len(first)
        for other in set(SPLITS) - {split}:
            assert not set(questions[split]) & set(questions[other])


def test_other_names_do_not_carry_a_problem_into_another_split():
    names_hidden = {
        split: {re.sub(r"\b[A-Z][a-z]+\b", "X", p.question) for p in generate(split, limit=3000)}
        for split in ("pretrain", "test")
    }
    assert not names_hidden["pretrain"] & names_hidden["test"]


def test_every_equation_of_a_solution_holds_and_the_last_one_is_the_answer(problems):
    for problem in problems:
        equations = EQUATION.findall(problem.solution)
        for left, op, right, result in equations:
            assert OPERATION[op](int(left), int(right)) == int(result), problem
            assert 0 < int(result) <= LARGEST
        assert equations[-1][3] == problem.answer
        assert problem.solution.endswith(f"\nThe answer is {problem.answer}.")


def test_a_level_is_its_number_of_steps_and_levels_are_balanced(problems):
    for level, steps in LEVELS.items():
        of_level = [p for p in problems if p.level == level]
        assert len(of_level) == len(problems) / len(LEVELS)
        counts = [len(EQUATION.findall(p.solution)) for p in of_level]
        # a day's work may be multiplied before it is added, which takes one more line
        assert min(counts) == steps
        assert all(
            n == steps or (n == steps + 1 and p.subject == "work")
            for n, p in zip(counts, of_level, strict=True)
        )


def test_solutions_are_written_in_several_ways(problems):
    styles = {re.sub(r"\d+[-+*/]\d+=\d+", "E", p.solution.split("\n")[0]) for p in problems}
    assert {"E.", "First, E dollars.", "E dollars."} <= styles
    orders = {bool(re.match(r"\D*\d\*\d\d=", p.solution)) for p in problems if p.subject == "groups"}
    assert orders == {True, False}


def test_ids_name_the_split_and_the_place(problems):
    assert problems[17].id == "train-00017"
    assert len({p.id for p in problems}) == len(problems)


def test_an_unknown_split_is_refused_with_the_known_ones():
    with pytest.raises(LookupError, match="pretrain, train, validation, test"):
        generate("dev", limit=1)


def test_the_prompt_asks_for_the_sentence_solutions_end_with(problems):
    asked = prompts.render(prompts.load("word-problems"), question=problems[0].question)
    assert problems[0].question in asked
    assert "The answer is N." in asked
