"""Word problems without a download: seeded multi-step arithmetic stories with worked solutions.

A split is decided by the arithmetic of a problem, not by the seed: the hash of a story's kind and
equations falls in one of 100 buckets, and a split takes only its own buckets. So no problem, and no
problem with other names but the same numbers, is ever in two splits.
"""

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from toolkit.types import Problem

SPLITS = ("pretrain", "train", "validation", "test")
BUCKETS = {"pretrain": range(70), "train": range(70, 85), "validation": range(85, 90), "test": range(90, 100)}
LEVELS = {"1": 2, "2": 3, "3": 4, "4": 5}  # level -> arithmetic steps
LARGEST = 999  # no intermediate result is above this

NAMES = (
    "Mia",
    "Ben",
    "Zoe",
    "Tom",
    "Ana",
    "Leo",
    "Eva",
    "Sam",
    "Ida",
    "Max",
    "Lea",
    "Jon",
    "Amy",
    "Kai",
    "Nora",
    "Paul",
)
ITEMS = (
    "apples",
    "pens",
    "books",
    "coins",
    "shells",
    "stamps",
    "cards",
    "beads",
    "eggs",
    "cookies",
    "marbles",
    "stickers",
)
HOLDERS = ("boxes", "bags", "jars", "baskets", "drawers")
GOODS = ("shirts", "lamps", "cups", "plates", "hats", "toys")


@dataclass(frozen=True, slots=True)
class Step:
    left: int
    op: str  # one of + - * /
    right: int

    @property
    def value(self) -> int:
        results = {
            "+": self.left + self.right,
            "-": self.left - self.right,
            "*": self.left * self.right,
            "/": self.left // self.right,
        }
        return results[self.op]


Path = list[Step]


@dataclass(frozen=True, slots=True)
class Story:
    """A question and every order of steps that answers it; the first path is the canonical one."""

    kind: str
    question: str
    unit: str
    paths: list[Path]

    @property
    def answer(self) -> int:
        return self.paths[0][-1].value

    @property
    def bucket(self) -> int:
        arithmetic = f"{self.kind}: {self.paths[0]}"
        return int.from_bytes(hashlib.sha256(arithmetic.encode()).digest()[:8]) % 100


def generate(split: str, *, limit: int, seed: int = 0) -> list[Problem]:
    """`limit` problems of a split, levels in turn. Same arguments, same problems; a longer list starts
    with the shorter one. Raises LookupError for an unknown split.
    """
    if split not in BUCKETS:
        raise LookupError(f"no split {split!r} of the word problems: give one of {', '.join(SPLITS)}")
    rng = random.Random(f"{split}/{seed}")
    seen: set[str] = set()
    problems = []
    for index in range(limit):
        level = str(index % len(LEVELS) + 1)
        story = next(s for s in _stories(rng, LEVELS[level]) if _fresh(s, split, seen))
        seen.add(story.question)
        problems.append(
            Problem(
                id=f"{split}-{index:05d}",
                question=story.question,
                answer=str(story.answer),
                solution=_solution(rng, story),
                level=level,
                subject=story.kind,
            )
        )
    return problems


def _fresh(story: Story, split: str, seen: set[str]) -> bool:
    possible = all(0 < step.value <= LARGEST for path in story.paths for step in path)
    return possible and story.bucket in BUCKETS[split] and story.question not in seen


def _stories(rng: random.Random, steps: int) -> Iterator[Story]:
    while True:
        yield rng.choice(KINDS)(rng, steps)


def _solution(rng: random.Random, story: Story) -> str:
    """One of the valid solutions: its path, the order of commuting operands and the wording vary."""
    path = rng.choice(story.paths)
    style = rng.choice((_bare, _with_unit, _with_lead))
    lines = [style(rng, step, story.unit, first=i == 0) for i, step in enumerate(path)]
    return "\n".join([*lines, f"The answer is {story.answer}."])


def _equation(rng: random.Random, step: Step) -> str:
    left, right = step.left, step.right
    if step.op in "+*" and rng.random() < 0.5:
        left, right = right, left
    return f"{left}{step.op}{right}={step.value}"


def _bare(rng: random.Random, step: Step, unit: str, *, first: bool) -> str:
    return _equation(rng, step) + "."


def _with_unit(rng: random.Random, step: Step, unit: str, *, first: bool) -> str:
    return f"{_equation(rng, step)} {unit}."


def _with_lead(rng: random.Random, step: Step, unit: str, *, first: bool) -> str:
    lead = "First," if first else rng.choice(("Then", "Next,", "So", "Now"))
    return f"{lead} {_equation(rng, step)} {unit}."


def _chain(start: int, *turns: tuple[str, int]) -> Path:
    """Steps that each work on the result of the one before."""
    path: Path = []
    for op, right in turns:
        path.append(Step(path[-1].value if path else start, op, right))
    return path


def _turn(rng: random.Random, who: str, friend: str, item: str, total: int) -> tuple[str, tuple[str, int]]:
    """One thing that happens to `total` items: the sentence and the operation."""
    n = rng.randint(3, 60)
    happenings = [
        (f"{who} buys {n} more {item}.", ("+", n)),
        (f"{friend} gives {who} {n} {item}.", ("+", n)),
    ]
    if total > 4:
        n = rng.randint(2, min(total - 1, 75))
        happenings += [
            (f"{who} gives {n} {item} to {friend}.", ("-", n)),
            (f"{who} loses {n} {item}.", ("-", n)),
        ]
        if total % 2 == 0:
            happenings.append((f"{who} gives half of the {item} to {friend}.", ("/", 2)))
    if total < 120:
        n = rng.choice((2, 3))
        word = {2: "doubles", 3: "triples"}[n]
        happenings.append((f"Then {who} {word} the number of {item}.", ("*", n)))
    return rng.choice(happenings)


def _collection(rng: random.Random, steps: int) -> Story:
    """A running total: things are bought, lost, doubled, and sometimes come in bags."""
    who, friend = rng.sample(NAMES, 2)
    item, holder = rng.choice(ITEMS), rng.choice(HOLDERS)
    total = rng.randint(6, 90)
    told = [f"{who} has {total} {item}."]
    in_order: Path = []
    bags: Path = []
    while (left := steps - len(in_order)) > 0:
        if left >= 2 and rng.random() < 0.35:
            b, c = rng.randint(2, 9), rng.randint(3, 19)
            told.append(f"{who} finds {b} {holder} with {c} {item} each.")
            bags.append(Step(b, "*", c))
            in_order += [bags[-1], Step(total, "+", b * c)]
        else:
            sentence, (op, n) = _turn(rng, who, friend, item, total)
            told.append(sentence)
            in_order.append(Step(total, op, n))
        total = in_order[-1].value
    told.append(f"How many {item} does {who} have now?")
    bags_first = bags + [step for step in in_order if not any(step is bag for bag in bags)]
    return Story("collection", " ".join(told), item, [in_order, bags_first])


def _groups(rng: random.Random, steps: int) -> Story:
    """A sum of products, with a loose amount at the even levels."""
    place = rng.choice(("shop", "school", "house"))
    item = rng.choice(ITEMS)
    count = {2: 1, 3: 2, 4: 2, 5: 3}[steps]
    told, products = [], []
    for number, holder in enumerate(rng.sample(HOLDERS, count)):
        b, c = rng.randint(2, 9), rng.randint(3, 29)
        has = f"The {place} also has" if number else f"A {place} has"
        told.append(f"{has} {b} {holder} with {c} {item} in each.")
        products.append(Step(b, "*", c))
    loose = []
    if steps % 2 == 0:
        n = rng.randint(3, 70)
        sentence, op = rng.choice(
            ((f"{n} {item} get lost.", "-"), (f"There are {n} more {item} on a table.", "+"))
        )
        told.append(sentence)
        loose = [(op, n)]
    told.append(f"How many {item} does the {place} have?")

    def add_up(ordered: Path) -> Path:
        return _chain(ordered[0].value, *(("+", p.value) for p in ordered[1:]), *loose)

    forward, backward = products, products[::-1]
    running = [products[0]]
    for product, step in zip([*products[1:], None], add_up(forward), strict=False):
        running += [product, step] if product else [step]
    paths = [forward + add_up(forward), backward + add_up(backward), running]
    return Story("groups", " ".join(told), item, paths)


def _relation(rng: random.Random, who: str, other: str, item: str, known: int) -> tuple[str, Step]:
    n, times = rng.randint(3, 60), rng.choice((2, 3))
    sayings = [
        (f"{who} has {n} more {item} than {other}.", Step(known, "+", n)),
        (f"{who} has {times} times as many {item} as {other}.", Step(known, "*", times)),
    ]
    if known > 4:
        m = rng.randint(2, min(known - 1, 60))
        sayings.append((f"{who} has {m} fewer {item} than {other}.", Step(known, "-", m)))
    return rng.choice(sayings)


def _comparison(rng: random.Random, steps: int) -> Story:
    """Who has how many more than whom, then a total."""
    a, b, c = rng.sample(NAMES, 3)
    item = rng.choice(ITEMS)
    first = rng.randint(5, 80)
    said_b, of_b = _relation(rng, b, a, item, first)
    told = [f"{a} has {first} {item}.", said_b]
    known, amounts, sharers = [of_b], [first, of_b.value], f"{a} and {b}"
    if steps > 2:
        said_c, of_c = _relation(rng, c, b, item, of_b.value)
        told.append(said_c)
        known.append(of_c)
        amounts = [of_b.value, of_c.value] if steps == 3 else [first, of_b.value, of_c.value]
        sharers = f"{b} and {c}" if steps == 3 else f"{a}, {b} and {c}"
    last = []
    if steps == 5:
        n = rng.randint(3, 75)
        last = [("-", n)]
        told.append(f"{n} of all these {item} get lost.")
    told.append(f"How many {item} do {sharers} have together?")
    orders = [amounts, amounts[::-1]]
    paths = [known + _chain(o[0], *(("+", n) for n in o[1:]), *last) for o in orders]
    return Story("comparison", " ".join(told), item, paths)


def _shopping(rng: random.Random, steps: int) -> Story:
    """What is bought, and the change; it can be taken off the money piece by piece."""
    who = rng.choice(NAMES)
    first, second = rng.sample(GOODS, 2)
    b, c, d, e = rng.randint(2, 9), rng.randint(3, 19), rng.randint(2, 9), rng.randint(3, 19)
    fee = rng.randint(2, 30)
    products = [Step(b, "*", c)] + ([Step(d, "*", e)] if steps >= 4 else [])
    extra = [fee] if steps in (3, 5) else []
    costs = [p.value for p in products] + extra
    money = sum(costs) + rng.randint(1, 90)
    told = [f"{who} has {money} dollars and buys {b} {first} for {c} dollars each."]
    if steps >= 4:
        told.append(f"{who} buys {d} {second} for {e} dollars each.")
    if extra:
        told.append(f"{who} pays {fee} dollars for the bus.")
    told.append(f"How many dollars does {who} have left?")
    total = _chain(costs[0], *(("+", n) for n in costs[1:]))
    at_once = products + total + [Step(money, "-", sum(costs))]
    piecewise = products + _chain(money, *(("-", n) for n in costs))
    return Story("shopping", " ".join(told), "dollars", [at_once, piecewise])


def _work(rng: random.Random, steps: int) -> Story:
    """So much a day for some days; the days' work can be added before or after multiplying."""
    who, friend = rng.sample(NAMES, 2)
    item = rng.choice(ITEMS)
    a, b, days = rng.randint(3, 20), rng.randint(3, 20), rng.randint(2, 9)
    told = [f"{who} makes {a} {item} each morning and {b} {item} each evening for {days} days."]
    total = (a + b) * days
    tail: Path = []
    for _ in range(steps - 2):
        sentence, (op, n) = _turn(rng, who, friend, item, total)
        told.append(sentence)
        tail.append(Step(total, op, n))
        total = tail[-1].value
    told.append(f"How many {item} does {who} have now?")
    by_day = [Step(a, "+", b), Step(a + b, "*", days)]
    by_shift = [Step(a, "*", days), Step(b, "*", days), Step(a * days, "+", b * days)]
    return Story("work", " ".join(told), item, [by_day + tail, by_shift + tail])


KINDS: tuple[Callable[[random.Random, int], Story], ...] = (
    _collection,
    _groups,
    _comparison,
    _shopping,
    _work,
)
