"""The entries below run in children: this file is imported there as a module of its own."""

import json
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from toolkit.children import Children
from toolkit.errors import InputError, PricematchError

HERE = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}


def count(message: dict[str, Any], say: Any) -> None:
    for number in range(message["to"]):
        print("a library prints this")
        say({"number": number})


def refuse(message: dict[str, Any], say: Any) -> None:
    raise InputError("students.tiny has no chat template")


def be_killed(message: dict[str, Any], say: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def break_down(message: dict[str, Any], say: Any) -> None:
    raise KeyError("a bug")


def stay(message: dict[str, Any], say: Any) -> None:
    say({"pid": os.getpid()})
    threading.Event().wait()


def parent() -> None:
    """A parent with one child that stays."""
    Children().run(
        "test_children:stay", {}, Path(sys.argv[1]), HERE, lambda a: print(json.dumps(a), flush=True)
    )


def run(entry: str, log: Path, message: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    heard: list[dict[str, Any]] = []
    Children().run(f"test_children:{entry}", message or {}, log, HERE, heard.append)
    return heard


def test_answers_arrive_in_order_whatever_else_is_printed(tmp_path: Path) -> None:
    assert run("count", tmp_path / "log", {"to": 3}) == [{"number": n} for n in range(3)]
    assert not (tmp_path / "log").exists()


def test_a_refusal_in_the_child_is_the_callers_refusal(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^students\.tiny has no chat template$"):
        run("refuse", tmp_path / "log")
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize(("entry", "why"), [("be_killed", "killed by SIGKILL"), ("break_down", "KeyError")])
def test_a_child_that_dies_is_one_line_naming_its_log(tmp_path: Path, entry: str, why: str) -> None:
    log = tmp_path / "log"
    with pytest.raises(PricematchError, match=why) as caught:
        run(entry, log)
    assert "\n" not in str(caught.value)
    assert str(log) in str(caught.value)
    assert log.exists()


def test_ending_kills_children_that_would_stay(tmp_path: Path) -> None:
    children = Children()
    with pytest.raises(PricematchError, match="interrupted"):
        children.run("test_children:stay", {}, tmp_path / "log", HERE, lambda _: children.end())
    with pytest.raises(PricematchError, match="interrupted"):
        children.run("test_children:count", {"to": 1}, tmp_path / "log", HERE, lambda _: None)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux's pidfd")
def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    code = "import test_children; test_children.parent()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "log")], stdout=subprocess.PIPE, env=HERE
    ) as outer:
        assert outer.stdout is not None
        child = os.pidfd_open(json.loads(outer.stdout.readline())["pid"])
        outer.kill()
    try:
        ready, _, _ = select.select([child], [], [], 20)  # readable once the process has ended
        assert ready, "the child outlived its parent"
    finally:
        os.close(child)
