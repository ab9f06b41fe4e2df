"""Overlap with test sets: the known ways such checks go wrong, one test each."""

import json
import random
from pathlib import Path

import pytest

from toolkit import contamination
from toolkit.contamination import Hit, Index, Question, near_duplicates

TRAIN = "A train travels {} miles in 3 hours. At the same rate, how many additional hours would it take to travel {} miles more?"


def index(*questions: str, ours: list[str] | None = None) -> Index:
    return Index([Question("test", str(i), q) for i, q in enumerate(questions)], ours or [])


def hit(found: list[Hit | None]) -> Hit:
    (one,) = found
    assert one is not None
    return one


def test_a_copy_is_found_whatever_its_case_spacing_punctuation_and_latex() -> None:
    found = index(r"Compute $\left(\frac{1}{2}\right) + 1{,}000$ for $x > 0$.").check(
        ["COMPUTE  \\[ ( \\dfrac{1}{2} ) + 1{,}000 \\] for x>0"]
    )
    assert (hit(found).how, hit(found).id, hit(found).share) == ("exact", "0", 1.0)


def test_questions_too_short_for_an_ngram_are_still_compared_as_a_whole() -> None:
    short = index("Compute $3+4$.")
    assert hit(short.check(["Compute 3 + 4"])).how == "exact"
    assert short.check(["Compute 3 + 5"]) == [None]


def test_a_sign_that_differs_makes_another_question() -> None:
    assert index("What is 3 + 4?").check(["What is 3 - 4?"]) == [None]


def test_a_question_repeated_within_a_longer_text_is_found_and_the_words_are_shown() -> None:
    question = TRAIN.format(360, 240)
    found = hit(
        index("Another question altogether, of many words, none of them here.", question).check(
            [f"Let us restate the problem first. {question} We divide 360 by 3."]
        )
    )
    assert (found.source, found.id, found.how, found.share) == ("test", "1", "n-grams", 1.0)
    assert found.words == "a train travels 360 miles in 3 hours"


def test_half_of_a_question_is_contaminated_and_a_third_is_not() -> None:
    words = [f"w{chr(97 + i)}{chr(97 + j)}" for i in range(10) for j in range(5)]
    questions = index(" ".join(words))
    assert hit(questions.check([" ".join(words[:30])])).share >= 0.5
    assert questions.check([" ".join(words[:20])]) == [None]


def test_one_ngram_in_common_is_a_phrase_and_no_contamination() -> None:
    text = "zero one two three four five six seven eight nine ten"
    assert index("one two three four five six seven eight").check([text]) == [
        None
    ]  # all that the question has
    assert hit(index("one two three four five six seven eight nine").check([text])).share == 1.0


def test_phrases_that_many_questions_share_are_ignored() -> None:
    phrase = "express your answer as a common fraction in lowest terms please"
    tests = [f"{phrase} {c} {c} {c} {c}" for c in "abcdefg"]
    assert index(*tests).check([f"{phrase} z z z z"]) == [None]
    ours = [f"{phrase} {c} {c} {c} {c}" for c in "tuvwxyz"]
    assert index(tests[0], ours=ours).check([ours[0]]) == [None]
    assert index(tests[0], ours=ours[:1]).check([ours[0]]) != [None]


def test_drawing_code_is_no_text() -> None:
    drawing = "[asy] size(4cm,4cm); int w=6; int h=5; draw((0,1)--(2,3)); label(x); fill(y); dot(z); [/asy]"
    assert index(f"How many paths lead from E to G here? {drawing}").check(
        [f"What is the area of the shaded triangle in the picture? {drawing}"]
    ) == [None]


def test_words_the_test_set_does_not_have_never_match() -> None:
    rng = random.Random(0)
    texts = [" ".join(rng.choices(["yes", "no", "maybe", "perhaps"], k=60)) for _ in range(50)]
    assert index(TRAIN.format(1, 2)).check(texts) == [None] * 50
    assert index(TRAIN.format(1, 2)).check([]) == []
    assert Index([]).check(["anything at all, of more than eight words in a row"]) == [None]


def test_the_same_check_word_by_word_finds_the_same_hits(shared: Path) -> None:
    """Against a plain implementation without hashes, on real questions with planted excerpts."""

    def read(name: str) -> list[str]:
        return [json.loads(line)["problem"] for line in (shared / "math" / name).open()]

    asked, ours = read("test_even.jsonl")[:400], read("train.jsonl")[:1500]
    rng = random.Random(1)
    texts = ours + [" ".join(rng.choice(asked).split()[: rng.randint(5, 60)]) for _ in range(200)]
    found = Index([Question("math", str(i), q) for i, q in enumerate(asked)], ours).check(texts)
    assert [hit is not None and hit.how == "n-grams" for hit in found] == _word_by_word(
        asked, ours, texts, found
    )
    assert sum(hit is not None for hit in found) > 50


def _word_by_word(asked: list[str], ours: list[str], texts: list[str], found: list[Hit | None]) -> list[bool]:
    def grams(text: str) -> set[tuple[str, ...]]:
        tokens = contamination.words(text)
        return {tuple(tokens[i : i + 8]) for i in range(len(tokens) - 7)}

    tests, own = [grams(q) for q in asked], [grams(q) for q in ours]
    counts = [{}, {}]  # type: list[dict[tuple[str, ...], int]]
    for counted, sets in zip(counts, (tests, own), strict=True):
        for one in sets:
            for gram in one:
                counted[gram] = counted.get(gram, 0) + 1
    tests = [{g for g in t if counts[0][g] <= 3 and counts[1].get(g, 0) <= 3} for t in tests]
    told = []
    for text, hit in zip(texts, found, strict=True):
        mine = grams(text)
        hits = any(len(mine & t) >= 2 and len(mine & t) >= 0.5 * len(t) for t in tests if t)
        told.append(hits and not (hit is not None and hit.how == "exact"))
    return told


# -- near-duplicates


def test_of_nearly_equal_solutions_the_first_stays_and_the_others_name_it() -> None:
    base = " ".join(f"word{i}" for i in range(60)).replace("word", "w ")
    changed = base.replace("w 30", "v 30")
    found = near_duplicates([base, "something else entirely, of other words", base + " w", changed], 0.9)
    assert found[:2] == [None, None]
    assert [near.of for near in found[2:] if near] == [0, 0]
    assert all(near is None or 0.9 <= near.jaccard < 1 for near in found)


def test_prefix_filtering_finds_what_comparing_all_pairs_finds() -> None:
    rng = random.Random(3)
    texts = []
    for _ in range(40):
        start = rng.choices("abcdefghij", k=rng.randint(5, 60))
        texts += [
            " ".join(rng.choice("abcdefghij") if rng.random() < 0.05 else c for c in start) for _ in "1234"
        ]
    rng.shuffle(texts)
    for threshold in (0.5, 0.8, 0.9, 1.0):
        sets = [contamination._shingles(t) for t in texts]
        kept: list[int] = []
        for i, own in enumerate(sets):
            if not any(len(own & sets[k]) / len(own | sets[k]) >= threshold for k in kept):
                kept.append(i)
        assert [i for i, near in enumerate(near_duplicates(texts, threshold)) if near is None] == kept


@pytest.mark.parametrize("texts", [[], ["one"], ["", "", "x"]])
def test_short_and_empty_texts_are_compared_as_a_whole(texts: list[str]) -> None:
    found = near_duplicates(texts, 0.9)
    assert [near is None for near in found] == [t not in texts[:i] for i, t in enumerate(texts)]
