"""Questions with gold answers, and what is said where a file has none."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from toolkit import problems
from toolkit.errors import InputError
from toolkit.problems import Loaded
from toolkit.programs import Suite
from toolkit.spec import Problems
from toolkit.types import Problem

GSM = {"question": "Kim has 12 apples and buys 30. How many?", "answer": "12 + 30 = <<12+30=42>>42\n#### 42"}
MATH = {
    "problem": "Add halves.",
    "level": "Level 5",
    "type": "Algebra",
    "solution": r"So $\boxed{\frac{1}{2}} $ twice is $\boxed{1}$.",
}


def write(folder: Path, *rows: Any) -> Path:
    """A JSONL file of these rows; strings are lines as they are."""
    file = folder / "q.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def load(file: Path, **spec: Any) -> Loaded:
    return problems.load(Problems(source=str(file), **spec))


def mistake(file: Path, **spec: Any) -> str:
    with pytest.raises(InputError) as error:
        load(file, **spec)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_gsm8k_rows_have_their_gold_after_the_hashes(tmp_path: Path) -> None:
    assert load(write(tmp_path, GSM)).problems == [
        Problem("train-00000", GSM["question"], "42", solution=GSM["answer"])
    ]


def test_math_rows_have_their_gold_in_the_last_box(tmp_path: Path) -> None:
    assert load(write(tmp_path, MATH)).problems == [
        Problem("train-00000", "Add halves.", "1", MATH["solution"], "5", "Algebra")
    ]


def test_an_answer_of_its_own_wins_over_the_solutions(tmp_path: Path) -> None:
    rows = [{**MATH, "answer": " 7 "}, {**MATH, "answer": 0}, {**MATH, "answer": ""}]
    assert [p.answer for p in load(write(tmp_path, *rows)).problems] == ["7", "0", "1"]


def test_a_given_id_is_kept_and_rows_without_one_are_numbered_by_split(tmp_path: Path) -> None:
    rows = [{**GSM, "id": "a"}, {**GSM, "idx": 0}, {**GSM, "unique_id": "x/1"}, GSM]
    loaded = load(write(tmp_path, *rows), split="test")
    assert [p.id for p in loaded.problems] == ["a", "0", "x/1", "test-00003"]


@pytest.mark.parametrize(
    ("level", "expected"),
    [("Level 3", "3"), ("Level ?", None), (4, "4"), ("", None), (None, None), ("hard", "hard")],
)
def test_a_level_is_its_number_where_it_is_known(tmp_path: Path, level: Any, expected: str | None) -> None:
    assert load(write(tmp_path, {**MATH, "level": level})).problems[0].level == expected


def test_the_first_n_are_taken_and_the_rest_is_not_read(tmp_path: Path) -> None:
    file = write(tmp_path, GSM, GSM, "not JSON")
    assert len(load(file, limit=2).problems) == 2
    assert "line 3" in mistake(file)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{'question': 1}", ["not JSON", "one JSON object"]),
        ('{"question": "a", "answer": ', ["not JSON"]),
        ('["a", "b"]', ["a JSON list, not an object"]),
        ("3", ["a JSON int, not an object"]),
        ('{"answer": "3"}', ["question or problem", "every row needs its question"]),
        ('{"question": "  ", "answer": "3"}', ["every row needs its question"]),
        ('{"question": 7, "answer": "3"}', ["every row needs its question"]),
    ],
)
def test_a_malformed_row_is_named_by_its_line(tmp_path: Path, line: str, words: list[str]) -> None:
    file = write(tmp_path, GSM, "", line)
    message = mistake(file)
    assert message.startswith(f"{file} line 3: ")
    for word in words:
        assert word in message


def test_an_id_used_twice_names_both_places(tmp_path: Path) -> None:
    file = write(tmp_path, {**GSM, "id": "a"}, GSM, {**MATH, "id": "a"})
    message = mistake(file)
    assert f"{file} line 1" in message
    assert f"{file} line 3" in message
    assert "'a'" in message


def test_rows_without_a_gold_are_left_out_and_counted(tmp_path: Path) -> None:
    goldless = [{**MATH, "solution": r"So $\boxed{}$."}, {"question": "Why?"}]
    loaded = load(write(tmp_path, GSM, *goldless, MATH), limit=2)
    assert [p.answer for p in loaded.problems] == ["42", "1"]
    assert [p.id for p in loaded.problems] == ["train-00000", "train-00003"]  # as if nothing were left out
    assert len(loaded.notes) == 1
    assert loaded.notes[0].startswith("2 problems of ")


@pytest.mark.parametrize("rows", [[], ["", ""], [{"question": "Why?"}]])
def test_a_file_without_a_problem_to_verify_is_refused(tmp_path: Path, rows: list[Any]) -> None:
    file = write(tmp_path, *rows)
    message = mistake(file)
    assert str(file) in message
    assert "no problem with a gold answer" in message


def test_a_missing_file_is_named_with_what_a_source_can_be(tmp_path: Path) -> None:
    message = mistake(tmp_path / "nowhere.jsonl")
    assert "nowhere.jsonl: no such file" in message
    assert "builtin:word-problems" in message


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_a_row(tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl"
    row = json.dumps({**GSM, "question": "Wie viele Äpfel?"}, ensure_ascii=False)
    file.write_bytes(b"\xef\xbb\xbf" + f"{row}\r\n\r\n{row}\r\n".encode())
    assert [p.question for p in load(file).problems] == ["Wie viele Äpfel?"] * 2


def test_what_is_asked_is_the_identity_and_the_gold_is_not() -> None:
    one, mended, other = (
        Problem("a", "Why?", "1"),
        Problem("b", "Why?", "2"),
        Problem("a", "Why not?", "1"),
    )
    assert one.sha == mended.sha != other.sha


def test_the_builtin_source_has_its_splits_and_a_default_length() -> None:
    train, test = (problems.load(Problems(split=split)).problems for split in ("train", "test"))
    assert len(train) == len(test) == problems.DEFAULT_LIMIT
    assert not {p.question for p in train} & {p.question for p in test}
    assert problems.load(Problems(limit=3)).problems == train[:3]
    assert problems.load(Problems(limit=3, seed=1)).problems != train[:3]


def test_a_split_the_builtin_source_lacks_is_named_with_those_it_has() -> None:
    with pytest.raises(InputError, match=r"problems\.split.*'dev'.*train, validation, test"):
        problems.load(Problems(split="dev"))


OFFLINE = """
from toolkit import problems
from toolkit.errors import InputError
from toolkit.spec import Problems
try:
    problems.load(Problems(source="openai/gsm8k"))
except InputError as error:
    print(error)
"""


def test_a_hub_data_set_without_a_network_is_one_line_with_a_way_out(tmp_path: Path) -> None:
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE],
        env=os.environ | offline,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    said = done.stdout.splitlines()
    assert len(said) == 1
    for word in ("problems.source 'openai/gsm8k'", "hub", "--set problems.source=FILE.jsonl"):
        assert word in said[0]


def test_all_of_gsm8k_train_has_a_gold_and_an_id_of_its_own(shared: Path) -> None:
    loaded = load(shared / "gsm8k" / "train.jsonl")
    assert len(loaded.problems) == 7473
    assert len({p.id for p in loaded.problems}) == 7473
    assert loaded.notes == []
    assert all(p.answer for p in loaded.problems)


def test_math_train_lacks_two_golds_and_that_is_said(shared: Path) -> None:
    loaded = load(shared / "math" / "train.jsonl")
    assert len(loaded.problems) == 7498
    assert len({p.id for p in loaded.problems}) == 7498
    assert loaded.notes[0].startswith("2 problems of ")
    assert {p.level for p in loaded.problems} == {"1", "2", "3", "4", "5", None}
    assert all(p.answer and p.subject for p in loaded.problems)


MBPP = {
    "task_id": 11,
    "text": "Write a function to add.",
    "code": "def sum(a, b):\r\n    return a + b",
    "test_list": ["assert sum(1, 2) == 3", "assert sum(0, 0) == 0 "],
    "test_setup_code": "",
    "challenge_test_list": ["assert sum(-1, 1) == 0"],
}
HUMANEVAL = {
    "task_id": "HumanEval/9",
    "prompt": '\n\nimport math\n\n\ndef twice(x: int) -> int:\n    """Two times x."""\n',
    "entry_point": "twice",
    "canonical_solution": "    return 2 * x\n",
    "test": "def check(candidate):\n    assert candidate(2) == 4\n",
}


def test_mbpp_rows_ask_with_their_tests_and_have_them_as_gold(tmp_path: Path) -> None:
    (problem,) = load(write(tmp_path, MBPP)).problems
    assert problem.id == "11"
    assert (
        problem.question == "Write a function to add.\nTests:\nassert sum(1, 2) == 3\nassert sum(0, 0) == 0"
    )
    assert problem.solution == MBPP["code"]
    suite = Suite.parse(str(problem.answer))
    assert suite.names == ("sum",)
    assert suite.source.split("\n") == [*MBPP["test_list"], ""]


def test_sanitized_mbpp_rows_are_understood_and_setup_stands_before_the_tests(tmp_path: Path) -> None:
    row = {key: value for key, value in MBPP.items() if key != "text"}
    row |= {"prompt": "Write it.", "test_imports": ["import math"], "test_setup_code": "x = 1"}
    (problem,) = load(write(tmp_path, row)).problems
    assert problem.question.startswith("Write it.\nTests:\n")
    assert Suite.parse(str(problem.answer)).source.startswith("import math\nx = 1\nassert ")


def test_humaneval_rows_keep_the_prompt_for_bare_completions(tmp_path: Path) -> None:
    (problem,) = load(write(tmp_path, HUMANEVAL)).problems
    assert problem.id == "HumanEval/9"
    assert problem.question == str(HUMANEVAL["prompt"]).strip("\n")
    assert problem.solution == f"{HUMANEVAL['prompt']}{HUMANEVAL['canonical_solution']}"
    suite = Suite.parse(str(problem.answer))
    assert (suite.names, suite.prompt) == (("twice",), HUMANEVAL["prompt"])
    assert suite.source.startswith("import math\n")
    assert "def twice" not in suite.source  # the tests call the candidate's
    assert suite.source.endswith("check(twice)\n")


def test_a_row_of_one_s_own_may_bring_its_test_program(tmp_path: Path) -> None:
    row = {"question": "Write f.", "test_program": "#### not a number\nassert f(1) == 2\n"}
    (problem,) = load(write(tmp_path, row)).problems
    assert problem.answer == row["test_program"]


def test_code_problems_without_tests_have_no_gold(tmp_path: Path) -> None:
    loaded = load(write(tmp_path, {**MBPP, "test_list": []}, HUMANEVAL))
    assert [problem.id for problem in loaded.problems] == ["HumanEval/9"]
    assert loaded.notes[0].startswith("1 problems of ")


@pytest.mark.parametrize(
    "row", [{**MBPP, "test_list": ["assert sum("]}, {**MBPP, "test_list": [3]}, {**HUMANEVAL, "prompt": None}]
)
def test_code_problems_that_cannot_be_tested_are_named_by_their_line(
    row: dict[str, Any], tmp_path: Path
) -> None:
    file = write(tmp_path, row)
    assert mistake(file).startswith(f"{file} line 1: its tests cannot be used")


def test_a_gzipped_file_is_read_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl.gz"
    file.write_bytes(gzip.compress(json.dumps(GSM).encode()))
    assert [problem.answer for problem in load(file).problems] == ["42"]


@pytest.mark.parametrize(("name", "count"), [("humaneval/HumanEval.jsonl.gz", 164), ("mbpp/mbpp.jsonl", 974)])
def test_all_code_problems_have_tests_that_are_python(shared: Path, name: str, count: int) -> None:
    loaded = load(shared / name)
    assert len({problem.id for problem in loaded.problems}) == count
    assert loaded.notes == []
    for problem in loaded.problems:
        suite = Suite.parse(str(problem.answer))
        compile(suite.source, problem.id, "exec")
        assert suite.names, problem.id
