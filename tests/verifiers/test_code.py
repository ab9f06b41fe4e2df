"""What a program's verdict is, and that no known trick makes a wrong program correct."""

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from sandbox_probes import CHEATS

from toolkit import problems
from toolkit.errors import InputError
from toolkit.programs import Suite
from toolkit.spec import Problems
from toolkit.types import Outcome
from toolkit.verifiers import sandbox
from toolkit.verifiers.code import CodeVerifier
from toolkit.verifiers.sandbox import Recipe

CORRECT, INCORRECT, UNPARSABLE = Outcome.CORRECT, Outcome.INCORRECT, Outcome.UNPARSABLE
TIMEOUT, ERROR = Outcome.TIMEOUT, Outcome.ERROR

SQUARE = Suite("import math, random, unittest\nassert f(3) == 9\nassert f(0) == 0\n", ("f",)).as_gold()
RIGHT = "def f(x): return x * x"
SWALLOWS = "try:\n    assert f(3) == 9\nexcept Exception:\n    pass\n"


def protected() -> Recipe:
    try:
        return sandbox.isolated()
    except InputError as refusal:
        pytest.skip(f"no sandbox on this machine: {refusal}")


@pytest.fixture(scope="module")
def verifier() -> Iterator[CodeVerifier]:
    with CodeVerifier(timeout=10, isolated=protected) as made:
        yield made


@pytest.fixture(scope="module")
def unsafe() -> Iterator[CodeVerifier]:
    with CodeVerifier(timeout=10, unsafe=True) as made:
        yield made


def outcome(verifier: CodeVerifier, text: str, gold: str = SQUARE) -> Outcome:
    (verdict,) = verifier.judge([(gold, text)])
    return verdict.outcome


def asserting(test: str, *names: str) -> str:
    return Suite(test + "\n", names or ("f",)).as_gold()


@pytest.mark.parametrize("trick", CHEATS)
def test_no_trick_makes_a_wrong_program_correct(trick: str, verifier: CodeVerifier) -> None:
    assert outcome(verifier, CHEATS[trick]) is INCORRECT


@pytest.mark.parametrize(
    "trick", ["leaving at once", "an object that equals everything", "patching what tests use"]
)
def test_the_tests_stand_apart_even_without_a_sandbox(trick: str, unsafe: CodeVerifier) -> None:
    assert outcome(unsafe, CHEATS[trick]) is INCORRECT


def test_tests_that_swallow_every_error_are_not_passed_by_leaving(verifier: CodeVerifier) -> None:
    leaves = "import os\ndef f(x): os._exit(0)"
    assert outcome(verifier, leaves, asserting(SWALLOWS)) is INCORRECT


@pytest.mark.parametrize(
    ("program", "test"),
    [
        ("def f(x): return {3: 9, 0: 0}[x]", "assert f(3) == 9 and f(0) == 0"),  # it knows what it is asked
        ("def f(x): return object()", "assert f(3)"),  # the test takes anything
    ],
)
def test_what_tests_ask_for_is_all_they_get(program: str, test: str, verifier: CodeVerifier) -> None:
    """Known and open: no sandbox can tell these from right ones."""
    assert outcome(verifier, program, asserting(test)) is CORRECT


def test_outcomes_tell_wrong_from_unreadable_from_unknown(verifier: CodeVerifier) -> None:
    texts = {
        RIGHT: CORRECT,
        "def f(x): return x + x": INCORRECT,
        "def f(x): raise ValueError": INCORRECT,
        "import nothing_of_this_name\n" + RIGHT: INCORRECT,
        "def f(x) return x": UNPARSABLE,
        "def g(x): return x * x": UNPARSABLE,
        "I cannot help with that.": UNPARSABLE,
        "": UNPARSABLE,
        "f = 1\0": UNPARSABLE,
        "def f(x): return '\ud800'": UNPARSABLE,
    }
    verdicts = verifier.judge([(SQUARE, text) for text in texts])
    assert {text: verdict.outcome for text, verdict in zip(texts, verdicts, strict=True)} == texts


@pytest.mark.parametrize(
    "gold",
    [
        "assert f(3 ==",
        '# candidate: ["f"]\nassert f(3) == 9',
        "# candidate: {}",
        "f(3)\0",
        "raise SystemExit",
    ],
)
def test_tests_that_cannot_be_run_are_an_error_and_not_the_program_s_fault(
    gold: str, verifier: CodeVerifier
) -> None:
    assert outcome(verifier, RIGHT, gold) is ERROR


def test_what_cannot_be_handed_to_the_program_is_an_error(verifier: CodeVerifier) -> None:
    assert outcome(verifier, "def f(x): return x(3)", asserting("assert f(lambda x: x * x) == 9")) is ERROR


@pytest.mark.parametrize(
    "program",
    ["while True: pass", "import time\n    time.sleep(60)", "return f(x - 1) + f(x - 1) if x else 0"],
)
def test_a_program_that_does_not_end_is_a_timeout(program: str) -> None:
    with CodeVerifier(timeout=0.5, isolated=protected) as made:
        assert outcome(made, f"def f(x):\n    {program}", asserting("assert f(40) == 0")) is TIMEOUT


def test_a_poisonous_program_costs_only_itself() -> None:
    poison = [
        "import os\ndef f(x): os.kill(-1, 9)",
        "def f(x):\n    while True: pass",
        "import ctypes\ndef f(x): ctypes.string_at(0)",
        "import os\ndef f(x):\n    while True: os.fork()",
        "def f(x): return 'y' * 2**29",
    ]
    texts = [text for bad in poison for text in (bad, f"{RIGHT}  # beside {poison.index(bad)}")]
    with CodeVerifier(timeout=1, workers=2, isolated=protected) as made:
        outcomes = [verdict.outcome for verdict in made.judge([(SQUARE, text) for text in texts])]
    assert outcomes[1::2] == [CORRECT] * len(poison)
    assert CORRECT not in outcomes[0::2]


@pytest.mark.parametrize(
    ("program", "test"),
    [
        ("return [1, (2.5, None)], {'a': {3}}", "f() == ([1, (2.5, None)], {'a': {3}})"),
        ("return [1, 2]", "f() != (1, 2)"),
        ("return True", "f() is True"),
        ("return 10**5000", "f() == 10**5000"),
        ("return float('nan')", "f() != f()"),
        ("return -1e308 * 10, 0.1 + 0.2, 3 + 4j", "f() == (float('-inf'), 0.30000000000000004, 3 + 4j)"),
        (
            "return b'\\x00\\xff', bytearray(b'a'), 'ä\\ud800'",
            "f() == (b'\\x00\\xff', bytearray(b'a'), 'ä\\ud800')",
        ),
        ("return (n * n for n in range(4))", "list(f()) == [0, 1, 4, 9]"),
        ("return map(str, range(3))", "''.join(f()) == '012'"),
        ("return {'b': 1}.keys(), {'b': 1}.items()", "f() == ({'b'}, {('b', 1)})"),
        ("return range(3), frozenset({1})", "f() == (range(3), {1})"),
        ("from collections import Counter; return Counter('aab')", "f() == {'a': 2, 'b': 1}"),
        ("from collections import deque; return deque([1])", "list(f()) == [1]"),
        ("from fractions import Fraction; return Fraction(1, 3)", "f() * 3 == 1"),
        ("from decimal import Decimal; return Decimal('0.10')", "str(f()) == '0.10'"),
        (
            "import datetime; return datetime.datetime(2024, 2, 29, 1)",
            "f().isoformat() == '2024-02-29T01:00:00'",
        ),
        ("import datetime; return datetime.date(2024, 2, 29)", "f().day == 29"),
        ("return (n for n in iter(int, 1))", "next(iter([f()])) is not None"),
        ("return int, str", "f() == (int, str)"),
        ("return lambda x: x + 1", "f()(2) == 3"),
        ("raise KeyError('k')", "raises(KeyError, f)"),
        ("class Own(Exception): pass\n    raise Own", "raises(RuntimeError, f)"),
    ],
)
def test_a_value_is_to_the_tests_what_it_is_to_the_program(
    program: str, test: str, verifier: CodeVerifier
) -> None:
    raises = "def raises(kind, act):\n    try: act()\n    except kind: return True\n"
    assert outcome(verifier, f"def f():\n    {program}", asserting(f"{raises}assert {test}")) is CORRECT


def test_objects_of_the_program_can_be_built_linked_and_handed_back(verifier: CodeVerifier) -> None:
    program = """
class Node:
    def __init__(self, value): self.value, self.next = value, None
    def __len__(self): return 1 + (len(self.next) if self.next else 0)
    def __getitem__(self, n): return self.value if n == 0 else self.next[n - 1]
def total(node): return node.value + (total(node.next) if node.next else 0)
"""
    test = """
a, b = Node(3), Node(value=4)
a.next = b
assert total(a) == 7 and a.next.value == 4 and len(a) == 2 and a[1] == 4 and b.next is None
"""
    assert outcome(verifier, program, asserting(test, "Node", "total")) is CORRECT


def test_objects_of_the_program_equal_nothing_for_their_equality_is_its_own_word(
    verifier: CodeVerifier,
) -> None:
    program = "class P:\n    def __init__(self, x): self.x = x\n    def __eq__(self, other): return True\n"
    assert outcome(verifier, program, asserting("assert P(1) == P(1)", "P")) is INCORRECT


def test_a_name_of_a_builtin_can_be_the_candidate_and_no_other_builtin_is_replaced(
    verifier: CodeVerifier,
) -> None:
    program = "def sum(a, b): return a + b\ndef len(x): return 0\ndef sorted(x): return [9]"
    assert (
        outcome(
            verifier,
            program,
            asserting("assert sum(1, 2) == 3 and len([1]) == 1 and sorted([1]) == [1]", "sum"),
        )
        is CORRECT
    )


def test_the_same_program_has_the_same_verdict_each_time(verifier: CodeVerifier) -> None:
    program = "def f(): return list({'a', 'b', 'c', 'd', 'e', 'f'})"
    first = f"assert f() == {sorted('abcdef')}"
    outcomes = {outcome(verifier, f"{program}  # {n}", asserting(first)) for n in range(4)}
    assert len(outcomes) == 1


def test_the_code_is_what_was_extracted_and_layout_and_comments_are_no_difference(
    verifier: CodeVerifier,
) -> None:
    texts = [
        f"Squares:\n```python\n{RIGHT}\n```\nDone.",
        'def f(x):  # squares\n    """The square."""\n    return x*x',
        "def f(x): return x ** 2",
    ]
    fenced, documented, other = verifier.judge([(SQUARE, text) for text in texts])
    assert fenced.extracted == RIGHT + "\n"
    assert documented.extracted == texts[1]
    assert fenced.norm_sha == documented.norm_sha != other.norm_sha


def test_equal_draws_run_once(verifier: CodeVerifier) -> None:
    began = time.monotonic()
    verifier.judge([(SQUARE, RIGHT + "  # once")])
    once = time.monotonic() - began
    began = time.monotonic()
    verdicts = verifier.judge([(SQUARE, RIGHT + "  # many")] * 500)
    assert Counter(v.outcome for v in verdicts) == {CORRECT: 500}
    assert time.monotonic() - began < 100 * once


def test_a_verdict_is_the_same_from_every_thread_and_from_a_loop(verifier: CodeVerifier) -> None:
    draws = [(SQUARE, RIGHT), (SQUARE, "def f(x): return 9")]
    expected = verifier.judge(draws)
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(verifier.judge(draws))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    async def in_a_loop() -> object:
        return await asyncio.to_thread(verifier.judge, draws)

    assert [*found, asyncio.run(in_a_loop())] == [expected] * 4


def test_without_draws_nothing_starts(verifier: CodeVerifier) -> None:
    assert verifier.judge([]) == []


HUMAN = {
    "task_id": "H/0",
    "prompt": 'from typing import List\n\n\ndef half(n: int) -> int:\n    return n // 2\n\n\ndef f(xs: List[int]) -> int:\n    """Sum of halves."""\n',
    "entry_point": "f",
    "canonical_solution": "    return sum(half(x) for x in xs)\n",
    "test": "def check(candidate):\n    assert candidate([2, 5]) == 3\n    assert candidate([8]) == half(8)\n",
}
MBPP = {
    "task_id": 7,
    "text": "Write a function to count leaves.",
    "code": "class Leaf:\r\n  pass\r\ndef f(xs):\r\n  return len(xs)",
    "test_list": ["assert f([leaf]) == 1", "assert f([leaf, leaf]) == 2"],
    "test_setup_code": "leaf = Leaf()",
    "challenge_test_list": [],
}


def gold(row: Mapping[str, object], folder: Path) -> str:
    file = folder / "rows.jsonl"
    file.write_text(json.dumps(row))
    (problem,) = problems.load(Problems(source=str(file))).problems
    assert problem.answer is not None
    return problem.answer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("    return sum(half(x) for x in xs)\n", CORRECT),
        ("    return sum(half(x) for x in xs)\n\n\nNow some prose that base models go on with.", CORRECT),
        ("    return sum(half(x) for x in xs)\n\nif __name__ == '__main__':\n    print(f([", CORRECT),
        ("```python\ndef f(xs: List[int]) -> int:\n    return sum(half(x) for x in xs)\n```", CORRECT),
        ("```python\n    return sum(half(x) for x in xs)\n```", CORRECT),
        ("def f(xs):\n    return sum(x // 2 for x in xs)", CORRECT),
        ("def half(x): return 7\ndef f(xs): return 3 if len(xs) > 1 else 7", INCORRECT),
        ("    return 3", INCORRECT),
        ("I cannot.", UNPARSABLE),
        ("", UNPARSABLE),
    ],
)
def test_humaneval_takes_a_completion_or_a_whole_program(
    text: str, expected: Outcome, verifier: CodeVerifier, tmp_path: Path
) -> None:
    assert outcome(verifier, text, gold(HUMAN, tmp_path)) is expected


def test_mbpp_setup_uses_the_candidate_s_own_classes(verifier: CodeVerifier, tmp_path: Path) -> None:
    assert outcome(verifier, str(MBPP["code"]), gold(MBPP, tmp_path)) is CORRECT
    assert outcome(verifier, "class Leaf: pass\ndef f(xs): return 1", gold(MBPP, tmp_path)) is INCORRECT


@pytest.mark.parametrize("name", ["humaneval/HumanEval.jsonl.gz", "mbpp/mbpp.jsonl"])
def test_reference_solutions_of_the_benchmarks_are_correct(
    name: str, verifier: CodeVerifier, shared: Path
) -> None:
    loaded = problems.load(Problems(source=str(shared / name), limit=25)).problems
    verdicts = verifier.judge([(str(p.answer), str(p.solution)) for p in loaded])
    assert [
        (p.id, v.outcome) for p, v in zip(loaded, verdicts, strict=True) if v.outcome is not CORRECT
    ] == []


def test_closing_in_the_middle_ends_the_programs() -> None:
    made = CodeVerifier(timeout=60, workers=1, isolated=protected)
    future = made._pool.submit(made._judge, SQUARE, "def f(x):\n    while True: pass")
    while not made._runs._alive:
        assert not future.done()
    began = time.monotonic()
    made.close()
    assert future.done()
    assert time.monotonic() - began < 30
