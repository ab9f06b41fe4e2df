from toolkit import majority


def number(a: str, b: str) -> bool:
    return float(a) == float(b)


def test_equal_answers_vote_together_however_they_are_written() -> None:
    told = majority.vote(["0.5", "2", "2.0", ".50", "0.500"], number)
    assert told == majority.Vote("0.5", votes=3, of=5, agree=(True, False, False, True, True))


def test_a_tie_has_no_winner() -> None:
    told = majority.vote(["1", "2", "2.0", "1.0"], number)
    assert (told.answer, told.votes, set(told.agree)) == (None, 2, {False})


def test_a_single_draw_agrees_with_itself() -> None:
    assert majority.vote(["7"], number).agree == (True,)


def test_a_draw_without_an_answer_votes_for_nobody_and_is_never_kept() -> None:
    told = majority.vote([None, "3", None, None], number)
    assert (told.answer, told.votes, told.of, told.agree) == ("3", 1, 4, (False, True, False, False))
    assert majority.vote([None, None], number).answer is None
    assert majority.vote([], number) == majority.Vote(None, 0, 0, ())


def test_equal_strings_are_compared_once() -> None:
    asked = []

    def same(a: str, b: str) -> bool:
        asked.append((a, b))
        return a == b

    assert majority.classes(["x", "y"] * 50, same) == [0, 1] * 50
    assert asked == [("x", "y")]
