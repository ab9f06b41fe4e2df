"""Programs as answers: the tests that are a code problem's gold, and the code in a solution's text.

The gold of a code problem is a Python program that runs to its end when the candidate is right. Its first
line may be a comment that says what the candidate defines and which code it goes on from, so that the gold
stays one readable string: `# candidate: {"names": ["area"], "prompt": ""}`.
"""

import ast
import builtins
import contextlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

_MARK = "# candidate: "
_FENCED = re.compile(r"^[ \t]*```[ \t]*(\w*)[^\n`]*\n(.*?)(?:^[ \t]*```[ \t]*$|\Z)", re.DOTALL | re.MULTILINE)
_PYTHON = frozenset({"", "py", "python", "python3"})
_BUILTIN = frozenset(dir(builtins))
_OPTIONS = 8  # blocks of one text that are looked at, from the last: a text of ten thousand costs no more


@dataclass(frozen=True, slots=True)
class Suite:
    """The tests of one code problem."""

    source: str  # Python, run to its end when the candidate is right
    names: tuple[str, ...]  # what the candidate defines; the tests see nothing else of it
    prompt: str = ""  # code that a bare completion goes on from (HumanEval); may be empty

    def as_gold(self) -> str:
        """The suite as one string, from which `parse` makes it again."""
        return f"{_MARK}{json.dumps({'names': self.names, 'prompt': self.prompt})}\n{self.source}"

    @classmethod
    def parse(cls, gold: str) -> Self:
        """The suite of a gold. Without a first line that names them, the candidate's names are the free ones.

        Raises SyntaxError where the tests are no Python.
        """
        head, _, rest = gold.partition("\n")
        if not head.startswith(_MARK):
            return cls(gold, free_names(gold))
        with contextlib.suppress(ValueError, KeyError, TypeError):
            said = json.loads(head.removeprefix(_MARK))
            return cls(rest, tuple(map(str, said["names"])), str(said.get("prompt", "")))
        raise SyntaxError(f"the first line is not {_MARK}" + '{"names": [...], "prompt": "..."}')


@dataclass(frozen=True, slots=True)
class Option:
    """One reading of a solution: `before` and then `code` are the program."""

    before: str
    code: str
    cut: bool  # prose may follow the code: what does not parse at the end is left out


def options(text: str, suite: Suite) -> list[Option]:
    """The readings of a solution, in the order in which they are tried.

    Fenced Python blocks from the last to the first (an example of use after the solution defines nothing),
    else the whole text, as it is and as the continuation of the suite's prompt. Blocks get the imports and
    helpers that the prompt shows.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    given = preamble(suite.prompt, suite.names)
    blocks = fenced(text)[::-1][:_OPTIONS]
    if blocks:
        whole = [Option(before, block, False) for block in blocks for before in dict.fromkeys((given, ""))]
        return whole + [Option(suite.prompt, block, False) for block in blocks if suite.prompt]
    found = [Option(given, text, True)]
    return [*found, Option(suite.prompt, text, True)] if suite.prompt else found


def fenced(text: str) -> list[str]:
    """Fenced blocks that are Python or say no language; one that never ends goes to the end of the text."""
    return [m[2] for m in _FENCED.finditer(text) if m[1].lower() in _PYTHON]


def preamble(prompt: str, names: Sequence[str]) -> str:
    """The prompt's imports and helpers: all its statements but the definitions of `names`."""
    try:
        body = ast.parse(prompt).body
    except SyntaxError:
        return ""
    kept = [node for node in body if getattr(node, "name", None) not in names]
    return "".join(f"{ast.get_source_segment(prompt, node)}\n" for node in kept)


def free_names(source: str) -> tuple[str, ...]:
    """Names a program uses and nowhere binds, builtins left out. Raises SyntaxError."""
    used, bound = _names(ast.parse(source))
    return tuple(sorted(used - bound - _BUILTIN))


def entry_names(tests: str, solution: str) -> tuple[str, ...]:
    """What the tests use of a reference solution: it may have a builtin's name, such as `sum`."""
    try:
        defined = _names(ast.parse(solution))[1]
    except SyntaxError:
        return free_names(tests)
    used, bound = _names(ast.parse(tests))
    return tuple(sorted((used - bound) & defined)) or free_names(tests)


def _names(tree: ast.Module) -> tuple[set[str], set[str]]:
    """Names read, and names bound at any depth."""
    used, bound = set[str](), set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
    return used, bound
