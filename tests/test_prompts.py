"""Shipped prompts: they render, their shots are right, and no shot is a row of a benchmark."""

import json
import re
from collections.abc import Iterator
from fractions import Fraction
from importlib.resources import files
from pathlib import Path

import pytest

import prompts
from toolkit.programs import entry_names, fenced

SHIPPED = sorted(f.name.removesuffix(".md") for f in files(prompts).iterdir() if f.name.endswith(".md"))
FILLED = {
    "question": "What is QUESTION?",
    "solution": "The SOLUTION.",
    "answer": "ANSWER",
    "instruction": "INSTRUCTION",
}
SHARED = Path(__file__).parents[1].parent / "shared" / "data"
EQUATION = re.compile(r"([\d.]+(?: [-+*/] [\d.]+)+) = ([\d.]*\d)")


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_prompt_renders_with_nothing_left_to_fill(name: str) -> None:
    template = prompts.load(name)
    values = {key: FILLED.get(key, key.upper()) for key in template.get_identifiers()}
    text = prompts.render(template, **values)
    assert template.is_valid()
    assert all(value in text for value in values.values())


@pytest.mark.parametrize("name", ["gsm8k", "math"])
def test_a_missing_name_is_named(name: str) -> None:
    with pytest.raises(LookupError, match=r"\$question"):
        prompts.render(prompts.load(name), problem="What?")


def test_an_unknown_prompt_error_names_the_known_ones() -> None:
    with pytest.raises(LookupError, match=r"gsm8k.*math"):
        prompts.load("no-such-prompt")


@pytest.mark.parametrize("name", ["gsm8k", "math", "mbpp", "humaneval"])
def test_a_sampling_prompt_asks_the_question_and_never_the_gold(name: str) -> None:
    assert prompts.load(name).get_identifiers() == ["question"]


def test_the_question_stands_last_and_the_model_goes_on_from_there() -> None:
    assert prompts.render(prompts.load("gsm8k"), question="Why?").endswith("\n\nQ: Why?\nA:")
    assert prompts.render(prompts.load("math"), question="Why?").endswith("\n\nProblem:\nWhy?\n\nSolution:")


def test_a_dollar_in_the_question_stays_as_it_is() -> None:
    text = prompts.render(prompts.load("math"), question="Find $x$ for $$2x = \\$4$$.")
    assert "\nFind $x$ for $$2x = \\$4$$.\n" in text


def test_every_gsm8k_shot_ends_in_its_number_and_its_arithmetic_holds() -> None:
    shots = list(_gsm8k_shots())
    assert len(shots) == 8
    for _, solution in shots:
        said = re.search(r"The answer is (\d+)\.$", solution)
        equations = EQUATION.findall(solution)
        assert said, solution
        assert equations, solution
        for left, right in equations:
            assert _value(left) == Fraction(right), f"{left} = {right}"
        assert Fraction(equations[-1][1]) == int(said[1]), solution


def test_every_math_shot_ends_in_a_final_answer_that_its_solution_derives() -> None:
    shots = list(_math_shots())
    assert len(shots) == 4
    for _, solution in shots:
        body, _, tail = solution.rpartition("\nFinal Answer: ")
        said = re.fullmatch(r"The final answer is \$(.+)\$\. I hope it is correct\.", tail)
        assert said, solution
        assert body.rstrip(".").endswith((f"= {said[1]}$", f"${said[1]}$")), solution


def test_the_math_answers_are_right() -> None:
    slope = Fraction(7 + 5, 2 + 4)
    committees = [n for n in range(2**9) if n.bit_count() == 4]
    two_bakers = sum((n & 0b11111).bit_count() == 2 for n in committees)
    right = (
        str(7 - 2 * slope),
        str((pow(3, 2026, 10) + pow(4, 2027, 10)) % 10),
        Fraction(two_bakers, len(committees)),
    )
    tails = [solution.rpartition("The final answer is ")[2] for _, solution in _math_shots()]
    assert tails[0].startswith(f"${right[0]}$")
    assert tails[1].startswith(f"${right[1]}$")
    assert tails[2].startswith(f"$\\frac{{{right[2].numerator}}}{{{right[2].denominator}}}$")
    assert tails[3].startswith("$4\\sqrt{5}$")
    assert 4**2 * 5 == (16 // 2) ** 2 + 4**2


def test_every_mbpp_shot_passes_the_tests_it_shows() -> None:
    shots = list(_mbpp_shots())
    assert len(shots) == 3
    for question, solution in shots:
        asked, tests = question.split("\nTests:\n")
        (program,) = fenced(solution)
        assert asked.startswith("Write a function")
        assert len(tests.splitlines()) == 3
        assert entry_names(tests, program)
        exec(f"{program}\n{tests}", {})  # our own text, not a model's


def test_the_code_prompts_ask_last_and_for_one_fenced_block() -> None:
    asked = prompts.render(prompts.load("mbpp"), question="Write f.\nTests:\nassert f()")
    assert asked.endswith("\n\nTask:\nWrite f.\nTests:\nassert f()\nProgram:")
    function = 'def f():\n    """Cost in $."""'
    assert fenced(prompts.render(prompts.load("humaneval"), question=function)) == [f"{function}\n"]


def test_no_shot_is_a_problem_of_the_benchmarks() -> None:
    if not SHARED.is_dir():
        pytest.skip(f"no shared data at {SHARED}")
    shots = [_shingles(question) for question, _ in [*_gsm8k_shots(), *_math_shots(), *_mbpp_shots()]]
    for question in _benchmark_questions():
        theirs = _shingles(question)
        for shot in shots:
            assert len(shot & theirs) < 0.3 * len(shot | theirs), question


def _gsm8k_shots() -> Iterator[tuple[str, str]]:
    for block in prompts.render(prompts.load("gsm8k"), question="").split("\n\n")[:-1]:
        question, _, solution = block.removeprefix("Q: ").partition("\nA: ")
        yield question, solution


def _math_shots() -> Iterator[tuple[str, str]]:
    for block in prompts.render(prompts.load("math"), question="").split("Problem:\n")[1:-1]:
        question, _, solution = block.strip().partition("\n\nSolution:\n")
        yield question, solution


def _mbpp_shots() -> Iterator[tuple[str, str]]:
    for block in prompts.render(prompts.load("mbpp"), question="").split("Task:\n")[1:-1]:
        question, _, solution = block.strip().partition("\nProgram:\n")
        yield question, solution


def _value(expression: str) -> Fraction:
    """Exact value of `a op b op ...` with the usual precedence."""
    terms = []
    sign = 1
    for term in re.split(r" ([-+]) ", expression):
        if term in "+-":
            sign = 1 if term == "+" else -1
            continue
        first, *rest = re.split(r" ([*/]) ", term)
        value = Fraction(first)
        for op, factor in zip(rest[::2], rest[1::2], strict=True):
            value = value * Fraction(factor) if op == "*" else value / Fraction(factor)
        terms.append(sign * value)
    return sum(terms, Fraction(0))


def _shingles(text: str) -> set[tuple[str, ...]]:
    """Runs of four words, numbers left out: what a near match shares."""
    words = re.findall(r"[a-z]+", text.lower())
    return set(zip(words, words[1:], words[2:], words[3:], strict=False))


def _benchmark_questions() -> Iterator[str]:
    for folder, key in (("gsm8k", "question"), ("math", "problem"), ("mbpp", "text")):
        for path in sorted((SHARED / folder).glob("*.jsonl")):
            with path.open(encoding="utf-8") as lines:
                yield from (row[key] for row in map(json.loads, lines) if key in row)
