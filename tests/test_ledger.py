"""The ledger's promises: bound before send, nothing lost, nothing twice, nothing secret."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from toolkit.errors import InputError, Unfinished
from toolkit.ledger import MIGRATIONS, AtCap, Intent, Ledger, Reader, Settlement
from toolkit.types import Choice, Finish, Outcome, Problem, Usage, Verdict

CAP = 1000
PROBLEMS = [Problem("a", "What is 1 + 1?", "2"), Problem("b", "What is 2 + 2?", "4")]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite", cap_pico=CAP, secrets=["hunter2secret"]) as opened:
        yield opened


def arm(ledger: Ledger, name: str = "cheap") -> int:
    return ledger.add_arm(name, "m", "simulated", {"temperature": 0.7}, "sha")


def intent(
    ledger: Ledger, *, first: int = 0, n: int = 1, reserved: int | None = 100, problem: int = 0
) -> Intent:
    return Intent(arm(ledger), ledger.add_problems(PROBLEMS)[problem], first, n, reserved)


def answer(*texts: str, cost: int | None = 60) -> Settlement:
    return Settlement([Choice(t, Finish.STOP) for t in texts], Usage(10, 5), cost, 200, "req-1", "m-1")


async def test_a_reservation_counts_until_its_settlement_replaces_it(ledger: Ledger) -> None:
    attempt = await ledger.reserve(intent(ledger))
    assert (ledger.spent.reserved, ledger.spent.settled) == (100, 0)
    await ledger.settle(attempt, answer("2"))
    assert (ledger.spent.reserved, ledger.spent.settled) == (0, 60)
    assert ledger.spend() == ledger.spent


async def test_a_reservation_that_would_pass_the_cap_is_refused_and_leaves_nothing(ledger: Ledger) -> None:
    held = [await ledger.reserve(intent(ledger, first=i, reserved=400)) for i in range(2)]
    with pytest.raises(AtCap) as refused:
        await ledger.reserve(intent(ledger, first=2, reserved=201))
    assert refused.value.open_pico == 800
    assert ledger.attempts() == {"reserved": 2}
    await ledger.reserve(intent(ledger, first=2, reserved=200))
    await ledger.settle(held[0], answer("x", cost=0))
    await ledger.reserve(intent(ledger, first=3, reserved=400))
    assert ledger.spent.committed == CAP


async def test_concurrent_reservations_never_pass_the_cap(ledger: Ledger) -> None:
    ready = [intent(ledger, first=i, reserved=90) for i in range(40)]
    outcomes = await asyncio.gather(*(ledger.reserve(i) for i in ready), return_exceptions=True)
    assert sum(isinstance(o, int) for o in outcomes) == CAP // 90
    assert sum(isinstance(o, AtCap) for o in outcomes) == 40 - CAP // 90


async def test_uncertain_attempts_count_against_the_cap_until_the_user_resolves_them(ledger: Ledger) -> None:
    first, second = [await ledger.reserve(intent(ledger, first=i, reserved=300)) for i in range(2)]
    await ledger.fail(first, "uncertain", "timeout")
    await ledger.fail(second, "uncertain", "timeout")
    assert ledger.spent.uncertain == 600
    assert ledger.resolve("unpaid", first) == 1
    assert (ledger.spent.uncertain, ledger.spent.settled) == (300, 0)
    assert ledger.resolve("paid") == 1
    assert (ledger.spent.uncertain, ledger.spent.settled) == (0, 300)


async def test_failed_and_released_attempts_cost_nothing(ledger: Ledger) -> None:
    for state in ("failed", "released"):
        await ledger.fail(await ledger.reserve(intent(ledger)), state, "refused")  # type: ignore[arg-type]
    assert ledger.spent.committed == 0
    assert ledger.attempts() == {"failed": 1, "released": 1}


async def test_missing_lists_the_holes_and_a_higher_k_tops_up(ledger: Ledger) -> None:
    await ledger.settle(await ledger.reserve(intent(ledger, first=0, n=2)), answer("2", "3"))
    await ledger.settle(await ledger.reserve(intent(ledger, first=3)), answer("4"))
    ids = ledger.add_problems(PROBLEMS)
    assert [list(i) for i in ledger.missing(arm(ledger), ids, 5)] == [[2, 4], [0, 1, 2, 3, 4]]
    assert [list(i) for i in ledger.missing(arm(ledger), ids, 2)] == [[], [0, 1]]


async def test_the_same_draw_cannot_be_stored_twice_and_the_failure_leaves_its_neighbours(
    ledger: Ledger,
) -> None:
    again = [await ledger.reserve(intent(ledger, first=0)) for _ in range(2)]
    other = await ledger.reserve(intent(ledger, first=1))
    outcomes = await asyncio.gather(
        ledger.settle(again[0], answer("2")),
        ledger.settle(again[1], answer("2")),
        ledger.settle(other, answer("5")),
        return_exceptions=True,
    )
    assert [type(o) for o in outcomes] == [type(None), sqlite3.IntegrityError, type(None)]
    assert [d.idx for d in ledger.draws([arm(ledger)])] == [0, 1]
    assert ledger.spent == ledger.spend()


async def test_more_choices_than_asked_are_paid_but_do_not_spill_into_other_draws(ledger: Ledger) -> None:
    await ledger.settle(await ledger.reserve(intent(ledger, n=1)), answer("a", "b", "c"))
    assert [d.text for d in ledger.draws([arm(ledger)])] == ["a"]


async def test_unpriced_stays_null_and_free_stays_zero(ledger: Ledger) -> None:
    await ledger.settle(await ledger.reserve(intent(ledger, first=0, reserved=0)), answer("2", cost=0))
    assert ledger.usage(arm(ledger))["cost_pico"] == 0
    await ledger.settle(await ledger.reserve(intent(ledger, first=1, reserved=None)), answer("2", cost=None))
    assert ledger.usage(arm(ledger))["cost_pico"] is None


async def test_secrets_never_reach_the_file(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger(path, secrets=["hunter2secret"]) as ledger:
        attempt = await ledger.reserve(intent(ledger))
        await ledger.fail(
            attempt,
            "failed",
            "bad key hunter2secret; sk-proj-abcDEF123456; Bearer zzzzzzzz; ?key=AIzaSyABCDEFG",
        )
        (cause,) = next(ledger.rows("SELECT cause FROM attempt"))
    assert cause == "bad key [key]; [key]; [key]; ?[key]"
    stored = b"".join(f.read_bytes() for f in tmp_path.iterdir())
    assert not any(s in stored for s in (b"hunter2", b"sk-proj", b"zzzzzzzz", b"AIza"))


def test_a_second_writer_is_refused_in_one_line_and_a_reader_is_not(ledger: Ledger) -> None:
    with pytest.raises(InputError, match="another pricematch is writing"):
        Ledger(ledger.path)
    with Reader(ledger.path) as reader:
        assert reader.count_draws() == 0


def test_a_newer_ledger_is_refused_and_an_opened_one_is_at_the_newest_version(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger(path).close()
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(InputError, match="newer pricematch"):
        Ledger(path)


def test_a_ledger_that_is_not_there_says_which_verb_makes_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pricematch sample"):
        Reader(tmp_path / "ledger.sqlite")


def test_mending_a_gold_answer_does_not_make_another_problem(ledger: Ledger) -> None:
    ids = ledger.add_problems(PROBLEMS)
    mended = [Problem("a", "What is 1 + 1?", "two"), Problem("b", "What is 2 + 3?", "5")]
    assert ledger.add_problems(mended)[0] == ids[0]
    assert ledger.add_problems(mended)[1] not in ids


def test_importing_the_same_answers_twice_adds_nothing(ledger: Ledger) -> None:
    rows = [(ledger.add_problems(PROBLEMS)[0], i, f"text {i}", None) for i in range(3)]
    assert ledger.import_draws(arm(ledger), rows) == 3
    assert ledger.import_draws(arm(ledger), rows) == 0
    assert ledger.usage(arm(ledger))["cost_pico"] is None


def test_a_verdict_of_the_same_version_is_replaced_and_another_version_is_kept(ledger: Ledger) -> None:
    ledger.import_draws(arm(ledger), [(ledger.add_problems(PROBLEMS)[0], 0, "t", None)])
    (draw,) = [d.id for d in ledger.draws([arm(ledger)])]
    for version, outcome in (("1", Outcome.INCORRECT), ("1", Outcome.CORRECT), ("2", Outcome.TIMEOUT)):
        ledger.add_verdicts("math", version, [(draw, "2", Verdict(outcome, "2", "n"))])
    assert list(ledger.rows("SELECT version, outcome FROM verdict ORDER BY version")) == [
        ("1", "correct"),
        ("2", "timeout"),
    ]


KILLED = """
import asyncio, sys
from pathlib import Path
from toolkit.ledger import Intent, Ledger, Settlement
from toolkit.types import Choice, Finish, Problem, Usage

async def main():
    ledger = Ledger(Path(sys.argv[1]), cap_pico=1000)
    arm = ledger.add_arm("cheap", "m", "simulated", {}, "sha")
    (problem,) = ledger.add_problems([Problem("a", "q", "1")])
    done = await ledger.reserve(Intent(arm, problem, 0, 1, 100))
    await ledger.settle(done, Settlement([Choice("1", Finish.STOP)], Usage(1, 1), 7))
    await ledger.reserve(Intent(arm, problem, 1, 1, 100))
    print("reserved", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_after_kill_9_what_was_settled_is_there_and_what_was_in_flight_is_uncertain(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "reserved\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with Ledger(path, cap_pico=1000) as ledger:  # the lock died with its holder
        assert (ledger.spent.settled, ledger.spent.uncertain, ledger.spent.reserved) == (7, 100, 0)
        assert [list(i) for i in ledger.missing(1, [1], 2)] == [[1]]


async def test_a_full_disk_is_one_line_and_loses_nothing_that_was_committed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as ledger:
        ready = intent(ledger, n=1)
        await ledger.settle(await ledger.reserve(ready), answer("kept"))
        attempt = await ledger.reserve(intent(ledger, first=1))
        limit_pages(ledger)
        with pytest.raises(Unfinished, match="free space"):
            await ledger.settle(attempt, answer("x" * 10_000_000))
        assert ledger.spent == ledger.spend()
    with Ledger(path) as ledger:
        assert [d.text for d in ledger.draws([1])] == ["kept"]
        assert ledger.attempts() == {"settled": 1, "uncertain": 1}


def limit_pages(ledger: Ledger) -> None:
    """SQLite's own way to run out of room: the same error as a full disk."""
    ledger._writer.now(
        lambda db: db.execute(
            f"PRAGMA max_page_count={db.execute('PRAGMA page_count').fetchone()[0] + 2}"
        ).fetchone()
    )


def test_reservations_that_wait_together_share_a_commit(tmp_path: Path) -> None:

    async def many(ledger: Ledger) -> None:
        ready = [intent(ledger, first=i, reserved=0) for i in range(400)]
        await asyncio.gather(*(ledger.reserve(i) for i in ready))

    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        commits: list[int] = []
        original = ledger._writer._commit
        ledger._writer._commit = lambda group: (commits.append(len(group)), original(group))[1]  # type: ignore[method-assign, func-returns-value]
        asyncio.run(many(ledger))
    assert sum(commits) >= 400
    assert max(commits) > 50
