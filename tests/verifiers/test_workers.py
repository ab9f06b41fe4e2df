import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from toolkit.errors import PricematchError
from toolkit.types import Outcome
from toolkit.verifiers.workers import Workers

JUDGE = "tests.verifiers.judges:by_string"


@pytest.fixture
def workers() -> Iterator[Workers]:
    made = Workers(JUDGE, count=2, timeout=0.5)
    yield made
    made.close()


def test_outcomes_come_in_the_order_of_the_pairs(workers: Workers) -> None:
    pairs = [(str(i), str(i if i % 3 else -1)) for i in range(50)]
    want = [Outcome.CORRECT if i % 3 else Outcome.INCORRECT for i in range(50)]
    assert workers.compare(pairs) == want


def test_a_pair_that_never_ends_costs_only_itself(workers: Workers) -> None:
    pairs = [("1", "1"), ("1", "spin"), ("2", "2"), ("1", "die"), ("3", "4"), ("5", "5")]
    assert workers.compare(pairs) == [
        Outcome.CORRECT,
        Outcome.TIMEOUT,
        Outcome.CORRECT,
        Outcome.ERROR,
        Outcome.INCORRECT,
        Outcome.CORRECT,
    ]
    assert workers.compare([("6", "6")]) == [Outcome.CORRECT]


def test_nothing_starts_before_the_first_pair_and_nothing_outlives_close(workers: Workers) -> None:
    assert not workers._children
    workers.compare([("1", "1"), ("1", "spin"), ("2", "2")])
    processes = [child.process for child in workers._children]
    assert processes
    workers.close()
    assert all(process.returncode is not None for process in processes)  # killed, and waited for


def test_children_may_be_started_from_a_thread_that_ends(workers: Workers) -> None:
    async def twice() -> list[list[Outcome]]:
        return [await asyncio.to_thread(workers.compare, [("1", "1"), ("1", "spin")]) for _ in range(2)]

    assert asyncio.run(twice()) == [[Outcome.CORRECT, Outcome.TIMEOUT]] * 2


def test_an_idle_child_that_was_killed_costs_no_pair(workers: Workers) -> None:
    workers.compare([("1", "1")])
    for child in workers._children:
        child.process.kill()
        os.waitid(os.P_PID, child.process.pid, os.WEXITED | os.WNOWAIT)
    assert workers.compare([("2", "2"), ("3", "3")]) == [Outcome.CORRECT] * 2


def test_a_verifier_that_cannot_start_says_so() -> None:
    with pytest.raises(PricematchError, match="did not start"):
        Workers("no.such.module:f", count=1, timeout=1).compare([("1", "1")])


PARENT = f"""
import sys
from toolkit.verifiers.workers import Workers
workers = Workers({JUDGE!r}, count=1, timeout=0.5)
workers.compare([("1", "1")])
child = workers._children[0]
print(child.process.pid, flush=True)
if sys.argv[1] == "busy":
    child.give(0, ("1", "spin"), 0.5)
print("given", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux's pidfd to watch a foreign process")
@pytest.mark.parametrize("state", ["idle", "busy"])
def test_children_end_when_their_parent_is_killed(state: str) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, state], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    assert parent.stdin is not None
    child = int(parent.stdout.readline())
    handle = os.pidfd_open(child)
    assert parent.stdout.readline() == "given\n"
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    ended, _, _ = select.select([handle], [], [], 20)
    assert ended
    os.close(handle)
    parent.stdin.close()
    parent.stdout.close()
