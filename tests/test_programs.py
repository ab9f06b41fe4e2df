"""Tests as golds, and the readings of a solution's text."""

import pytest

from toolkit.programs import Option, Suite, entry_names, fenced, free_names, options, preamble

PROMPT = "import math\n\n\ndef helper(x):\n    return x\n\n\ndef f(x):\n    '''Doc.'''\n"
GIVEN = "import math\ndef helper(x):\n    return x\n"
BARE = Suite("assert f(1)", ("f",))
PROMPTED = Suite("assert f(1)", ("f",), PROMPT)


def codes(text: str, suite: Suite = BARE) -> list[str]:
    return [option.code for option in options(text, suite)]


@pytest.mark.parametrize(
    "suite", [BARE, PROMPTED, Suite("", ()), Suite("# a\nassert f('\\n', \"'\")\n", ("f", "ä"))]
)
def test_a_gold_is_its_suite_again(suite: Suite) -> None:
    assert Suite.parse(suite.as_gold()) == suite


def test_a_gold_is_a_python_program() -> None:
    compile(PROMPTED.as_gold(), "gold", "exec")


def test_a_gold_without_a_first_line_of_ours_wants_its_free_names() -> None:
    gold = "import os\nx = len([f(1)])\nassert g(x) == os.sep"
    assert Suite.parse(gold) == Suite(gold, ("f", "g"))


@pytest.mark.parametrize(
    "gold", ["# candidate: ", "# candidate: 3\n", "# candidate: {}\nassert f()", "assert f("]
)
def test_a_gold_that_is_none_is_a_syntax_error(gold: str) -> None:
    with pytest.raises(SyntaxError):
        Suite.parse(gold)


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("assert f(1) == g", ("f", "g")),
        ("def check(c):\n    assert c(1)\ncheck(f)", ("f",)),
        ("for i in range(3): assert f(i)", ("f",)),
        ("assert [x for x in f()] == (lambda y: y)(1)", ("f",)),
        ("import a.b\nfrom c import d as e\nassert a.x(e)", ()),
        ("try: f()\nexcept ValueError as error: print(error)", ("f",)),
    ],
)
def test_free_names_are_those_the_tests_do_not_bind(source: str, names: tuple[str, ...]) -> None:
    assert free_names(source) == names


def test_the_candidate_may_have_a_builtin_s_name_where_the_reference_has_it() -> None:
    assert entry_names("assert sum(1, 2) == len('abc')", "def sum(a, b): return a + b") == ("sum",)
    assert entry_names("assert f(1)", "not Python (") == ("f",)
    assert entry_names("assert f(1)", "def other(): pass") == ("f",)


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("```python\na\n```", ["a\n"]),
        ("```\na\n```", ["a\n"]),
        ("~ ```Python title=x\na\nb\n```", []),
        ("``` py\na\n```\ntext\n```python3\nb\n```", ["a\n", "b\n"]),
        ("```bash\nrm\n```\n```json\n{}\n```", []),
        ("```python\nnever closed", ["never closed"]),
        ("1. So:\n   ```python\n   a\n   ```", ["   a\n"]),
        ("inline `a` and ```b```", []),
        ("```python\n'''\n``` inside\n'''\n```", ["'''\n``` inside\n'''\n"]),
    ],
)
def test_blocks_are_those_of_python_or_of_no_language(text: str, blocks: list[str]) -> None:
    assert fenced(text) == blocks


def test_the_last_block_is_tried_first() -> None:
    assert codes("```python\na = 1\n```\n```python\nb = 2\n```") == ["b = 2\n", "a = 1\n"]


def test_of_many_blocks_the_last_few_are_looked_at() -> None:
    text = "```python\na = 1\n```\n" * 10_000
    assert len(options(text, PROMPTED)) < 30


def test_a_block_gets_the_prompt_s_imports_and_helpers_and_then_the_prompt() -> None:
    assert options("```python\nx\n```", PROMPTED) == [
        Option(GIVEN, "x\n", False),
        Option("", "x\n", False),
        Option(PROMPT, "x\n", False),
    ]


def test_without_a_block_the_text_is_the_program_or_goes_on_from_the_prompt() -> None:
    assert options("    return 1", PROMPTED) == [
        Option(GIVEN, "    return 1", True),
        Option(PROMPT, "    return 1", True),
    ]
    assert options("x = 1", BARE) == [Option("", "x = 1", True)]


def test_line_ends_are_those_of_unix() -> None:
    assert codes("a\r\nb\rc") == ["a\nb\nc"]


def test_the_preamble_leaves_the_candidate_out() -> None:
    assert preamble(PROMPT, ["f"]) == GIVEN
    assert preamble("def f(", ["f"]) == preamble("", ["f"]) == ""
