"""What is shown while work goes on."""

from toolkit import screen
from toolkit.sample import Progress


def test_of_many_arms_the_first_that_are_not_done_are_shown_and_the_others_counted() -> None:
    progress = Progress()
    progress.planned |= {f"evaluate/s/{n}": 10 for n in range(40)}
    progress.done.update({f"evaluate/s/{n}": 10 for n in range(7)} | {"evaluate/s/7": 3})
    shown, more = screen._shown(progress)
    assert list(shown) == [f"evaluate/s/{n}" for n in range(7, 7 + screen.MOST)]
    assert more == f"7 done, {33 - screen.MOST} wait"
    said = screen._detail(progress, 0.0)
    assert said.startswith("s/7 3/10 · s/8 0/10 · ")
    assert "s/6" not in said
    assert more in said


def test_few_arms_are_all_shown() -> None:
    progress = Progress()
    progress.planned |= {"cheap": 4, "strong": 2}
    progress.done["strong"] = 2
    assert screen._detail(progress, 0.0).startswith("cheap 0/4 · strong 2/2")


def test_the_last_line_says_what_came_and_nothing_where_nothing_did() -> None:
    progress = Progress()
    progress.planned["cheap"] = 10
    progress.done["cheap"] = 3
    assert screen._ending(progress, 5.0) == ""
    progress.came("cheap", 5)
    progress.retries["timeout"] = 2
    assert screen._ending(progress, 5.0) == "5 draws in 5 s · cheap 8/10 · retried: 2 timeout"
