"""Overlap with test sets: seconds, memory, and how right it is on planted leaks, beside word n-grams taken plainly.

The test questions are MATH's (half of them) and GSM8K's. Clean are the questions and the solutions of both
training sets, repeated up to `--rows`; leaks are test questions, 200 of each kind, the short ones as many as
there are. Training and test sets of MATH overlap by themselves, so a hit on a clean text is no mistake where
the longest common run of words in order (difflib) covers at least `ALIKE` of the test question. The plain check
flags any one n-gram in common, words split at spaces, lower case: of 8 words (open-r1) and of 13 (s1).

    python tests/bench/contamination.py [--rows 100000] [--show 5]
"""

import argparse
import json
import random
import re
import resource
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import chain, cycle, islice
from pathlib import Path
from typing import Any

from toolkit.contamination import Index, Question, words

DATA = Path(__file__).parents[3] / "shared" / "data"
EACH = 200  # leaks of a kind
ALIKE = 0.6  # of a test question's words that a text must have, in order, to be called a true overlap
SHORT = 8  # words; a question of fewer has no n-gram

Found = list[int | None]  # for every text the test question it is said to repeat
Rewrite = Callable[[str, random.Random], str]


@dataclass(frozen=True)
class Text:
    """A text to look through; `leak` is the position of the test question planted in it."""

    text: str
    kind: str
    leak: int | None = None


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--show", type=int, default=0, help="wrongly flagged texts to print")
    asked = parser.parse_args()
    if not DATA.is_dir():
        print(json.dumps({"skipped": f"no folder {DATA}"}))
        return
    tests = column("math/test_even", "problem") + column("gsm8k/test", "question")
    ours = column("math/train", "problem") + column("gsm8k/train", "question")
    taught = column("math/train", "solution") + column("gsm8k/train", "answer")
    clean = [Text(t, "question") for t in ours] + [Text(t, "solution") for t in taught]
    texts = clean + planted(tests, taught)
    told = {
        "rows": asked.rows,
        "questions": len(tests),
        "clean": len(clean),
        "leaks": len(texts) - len(clean),
    }
    speed, index = timed(tests, ours, texts, asked.rows)
    places = {(q.source, q.id): i for i, q in enumerate(questions(tests))}
    hits = index.check([t.text for t in texts])
    checks = {"ours": [None if h is None else places[h.source, h.id] for h in hits]}
    checks |= {f"plain_{n}": plainly(tests, texts, n) for n in (8, 13)}
    scores = {name: scored(found, tests, texts, asked.show) for name, found in checks.items()}
    print(json.dumps(told | speed | scores))


def column(name: str, key: str) -> list[str]:
    with (DATA / f"{name}.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line)[key] for line in lines]


def questions(tests: Sequence[str]) -> list[Question]:
    return [Question("test", str(i), text) for i, text in enumerate(tests)]


# -- leaks


def planted(tests: Sequence[str], taught: Sequence[str]) -> list[Text]:
    rng = random.Random(0)
    long = [i for i, text in enumerate(tests) if len(words(text)) >= SHORT + 4]
    short = [i for i, text in enumerate(tests) if 0 < len(words(text)) < SHORT]
    dialects = [i for i in long if re.search(r"\\frac|\\left|\$", tests[i])]
    sources = {"latex": dialects, "short": short}
    leaks = [
        Text(rewrite(tests[i], rng), kind, i)
        for kind, rewrite in REWRITES.items()
        for i in rng.sample(sources.get(kind, long), min(EACH, len(sources.get(kind, long))))
    ]
    told = [(i, rng.choice(taught)) for i in rng.sample(long, EACH)]
    within = [Text(f"We are asked: {tests[i]} Now then. {t}", "within a solution", i) for i, t in told]
    return leaks + within


def _respelled(text: str, rng: random.Random) -> str:
    marks = re.sub(r"(?<=\w)[,;:.?!](?=\s|$)", lambda _: rng.choice(["", " ,", " .", "!"]), text)
    return re.sub(r"\s+", "  ", marks).upper() if "\\" not in text else re.sub(r"\s+", "  ", marks)


def _other_latex(text: str, _: random.Random) -> str:
    told = text.replace(r"\frac", r"\dfrac").replace(r"\left", "").replace(r"\right", "")
    return re.sub(r"\$([^$]+)\$", r"\\( \1 \\)", told)


def _part(text: str, rng: random.Random) -> str:
    """Seven tenths of it, in one piece."""
    pieces = text.split()
    length = max(1, round(0.7 * len(pieces)))
    start = rng.randrange(len(pieces) - length + 1)
    return " ".join(pieces[start : start + length])


REWRITES: dict[str, Rewrite] = {
    "copied": lambda text, _: text,
    "respelled": _respelled,
    "latex": _other_latex,
    "part": _part,
    "short": lambda text, _: f" {text.strip()} ",
}


# -- the checks


def timed(
    tests: Sequence[str], ours: Sequence[str], texts: Sequence[Text], rows: int
) -> tuple[dict[str, Any], Index]:
    """CPU seconds and memory of our check over that many rows."""
    many = [t.text for t in islice(cycle(texts), rows)]
    before, start = peak_mb(), time.process_time()
    index = Index(questions(tests), ours)
    built = time.process_time()
    index.check(many)
    end = time.process_time()
    seconds = {"index_cpu_s": round(built - start, 2), "check_cpu_s": round(end - built, 2)}
    return seconds | {
        "rows_per_cpu_s": round(rows / (end - built)),
        "before_mb": before,
        "peak_mb": peak_mb(),
    }, index


def plainly(tests: Sequence[str], texts: Sequence[Text], n: int) -> Found:
    """Any one n-gram in common; of the questions that have one, that which has most of them."""
    owners: defaultdict[tuple[str, ...], set[int]] = defaultdict(set)
    for i, question in enumerate(tests):
        for gram in grams(question, n):
            owners[gram].add(i)
    found: Found = []
    for text in texts:
        shared = Counter(chain.from_iterable(owners[g] for g in grams(text.text, n) if g in owners))
        found.append(min(shared, key=lambda i: (-shared[i], i)) if shared else None)
    return found


def grams(text: str, n: int) -> set[tuple[str, ...]]:
    split = text.lower().split()
    return {tuple(split[i : i + n]) for i in range(len(split) - n + 1)}


# -- how right they are


def scored(found: Found, tests: Sequence[str], texts: Sequence[Text], show: int) -> dict[str, Any]:
    """`recall` is of planted leaks; `precision` counts as right a planted leak, and a clean text that is alike."""
    planted_of, caught = Counter[str](), Counter[str]()
    alike = wrong = 0
    for text, hit in zip(texts, found, strict=True):
        if text.leak is not None:
            planted_of[text.kind] += 1
            caught[text.kind] += hit is not None
        elif hit is not None:
            good = covered(tests[hit], text.text) >= ALIKE
            alike, wrong = alike + good, wrong + (not good)
            if not good and show:
                show -= 1
                print(f"{text.kind}: {text.text[:300]!r}\n  for {tests[hit][:300]!r}")
    right = caught.total() + alike
    return {
        "recall": round(caught.total() / planted_of.total(), 4),
        "precision": round(right / (right + wrong), 4),
        "clean_alike": alike,
        "clean_wrongly": wrong,
        "recall_by_kind": {kind: round(caught[kind] / count, 3) for kind, count in planted_of.items()},
    }


def covered(question: str, text: str) -> float:
    """The share of the question's words that the text has in the same order, in pieces of at least three."""
    asked, given = words(question), words(text)
    blocks = SequenceMatcher(None, asked, given, autojunk=False).get_matching_blocks()
    return sum(b.size for b in blocks if b.size >= 3) / max(1, len(asked))


def peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
