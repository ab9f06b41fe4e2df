"""The program's side of the harness: which reading of a solution is the program, and doing as the tests ask.

What this process says is believed until the program's first line runs, and never after. Runs inside the
sandbox, on the standard library of Python 3.9 or newer.
"""

from __future__ import annotations

import ast
import contextlib
import resource
import sys
import types
from collections.abc import Callable
from importlib import import_module

from toolkit.verifiers.travel import decode, encode

TYPE_CHECKING = False  # see `travel`
if TYPE_CHECKING:
    from typing import Any

    from toolkit.verifiers.harness import Channel

OPERATIONS: dict[str, Callable[..., Any]] = {
    "call": lambda target, args, kwargs: target(*args, **kwargs),
    "get": getattr,
    "set": setattr,
    "item": lambda target, key: target[key],
    "list": list,
    "len": len,
    "bool": bool,
    "str": str,
}


def host(channel: Channel) -> None:
    """Choose the reading of the solution, run it, then do as asked until nobody asks."""
    _, texts, names, limits = channel.receive()
    for name, most in limits.items():
        limit(name, most)
    chosen = _choose(texts, names)
    if chosen is None:
        channel.send(None)
        return
    position, source = chosen
    channel.send([position, len(source), _identity(source)])
    module = types.ModuleType("candidate")
    known: dict[int, Any] = {}  # objects handed out by number; kept, or a number would come to mean another
    sys.modules["candidate"] = module  # dataclasses look their module up
    channel.receive()
    channel.send(_answer(lambda: exec(compile(source, "candidate.py", "exec"), module.__dict__), known))
    while True:
        channel.send(_obey(channel.receive(), module, known))


def _obey(message: list[Any], module: types.ModuleType, known: dict[int, Any]) -> dict[str, Any]:
    operation, target, *rest = message
    if operation == "name":
        return _answer(lambda: getattr(module, target), known)
    arguments = decode(rest[0], known.__getitem__)
    return _answer(lambda: OPERATIONS[operation](known[target], *arguments), known)


def _answer(act: Callable[[], Any], known: dict[int, Any]) -> dict[str, Any]:
    def number(value: Any) -> int:
        known[id(value)] = value
        return id(value)

    try:
        return {"ok": encode(act(), number)}
    except BaseException as error:  # SystemExit too: leaving is no answer
        return {"raised": type(error).__name__, "message": repr(error)[:200]}


def _choose(texts: list[list[Any]], names: list[str]) -> tuple[int, str] | None:
    """The first reading that parses and binds one of the names, if any are asked for."""
    for position, (before, code, cut) in enumerate(texts):
        source = _parsable(before, code, cut)
        if source and (not names or _bound(ast.parse(source)).intersection(names)):
            return position, source
    return None


def _parsable(before: str, code: str, cut: bool) -> str | None:
    """The program, or where `cut` its longest run of lines that parses; None if no code would be left."""
    source = before + code
    while source[len(before) :].strip():
        try:
            ast.parse(source)
            return source
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            line = getattr(error, "lineno", None)
            if not cut or not line:
                return None
            lines = source.split("\n")
            source = "\n".join(lines[: min(line, len(lines)) - 1])
    return None


def _bound(tree: ast.Module) -> set[str]:
    """Names that a module binds outside its functions, whatever the branch."""
    found: set[str] = set()
    todo: list[Any] = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        if isinstance(node, ast.alias):
            found.add(node.asname or node.name)
        todo += ast.iter_child_nodes(node)
    return found


_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def _identity(source: str) -> str:
    """A hash of what the program does: without layout, comments and docstrings."""
    try:
        tree = ast.parse(source)
        for node in ast.walk(tree):
            if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
                node.body[:1] = [] if len(node.body) > 1 else [ast.Pass()]
        source = ast.dump(tree)
    except RecursionError:
        pass
    return str(_sha256()(source.encode("utf-8", "surrogatepass")).hexdigest()[:16])


def _sha256() -> Any:
    """The plain one where there is one: `hashlib` loads OpenSSL, a tenth of a short run's time."""
    for name in ("_sha2", "_sha256"):
        with contextlib.suppress(ImportError):
            return import_module(name).sha256
    return import_module("hashlib").sha256


def limit(name: str, most: int) -> None:
    with contextlib.suppress(ValueError, OSError, AttributeError):  # a system without this limit
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most + (name == "RLIMIT_CPU")))  # soft first: SIGXCPU says why
