"""The policies and the hazards of comparing answers, each with pairs of its own."""

import asyncio
import json
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from tests.verifiers.judges import check_in_another_process
from toolkit.answers import LONGEST, final_answer, gold_answer
from toolkit.types import Outcome
from toolkit.verifiers import math
from toolkit.verifiers.math import MathVerifier, quick

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
SOLUTIONS_6B = DATA / "gsm8k" / "solutions_6b.jsonl"
MATH = [DATA / "math" / name for name in ("train.jsonl", "test_even.jsonl")]

CORRECT, INCORRECT, UNPARSABLE = Outcome.CORRECT, Outcome.INCORRECT, Outcome.UNPARSABLE

# What needs algebra: the reader leaves these to the processes.
HARD = [(r"\frac{n!}{(n-2)!}", "n(n-1)"), (r"\frac{n!}{(n-2)!}", "n(n+1)")]

SAME, OTHER = True, False
POLICIES: dict[str, list[tuple[str, str, bool]]] = {
    "typing": [
        ("42", "**42**", SAME),
        ("42", r"\textcolor{red}{42}", SAME),
        ("42", "\N{FULLWIDTH DIGIT FOUR}\N{FULLWIDTH DIGIT TWO}", SAME),
        ("x^{10}", "x\N{SUPERSCRIPT ONE}\N{SUPERSCRIPT ZERO}", SAME),
        (r"\frac{2}{3}", "\N{VULGAR FRACTION TWO THIRDS}", SAME),
        ("42", "42!", OTHER),
    ],
    "repeating decimals": [
        (r"\frac{1}{3}", r"0.\overline{3}", SAME),
        (r"\frac{1}{3}", "0.(3)", SAME),
        (r"\frac{4}{33}", "0.1212...", SAME),
        (r"\frac{41}{333}", r"0.\dot{1}2\dot{3}", SAME),
        (r"0.\overline{3}", "0.33", OTHER),
        ("3.14", "3.14...", OTHER),
    ],
    "orders": [
        ("f(2)<f(1)<f(4)", "f(2), f(1), f(4)", SAME),
        ("f(2)<f(1)<f(4)", "f(1), f(2), f(4)", OTHER),
    ],
    "remainders": [
        ("42", r"42 \pmod{1000}", SAME),
        ("3", r"x \equiv 3 \pmod{7}", SAME),
        ("3 (mod 7)", "3 (mod 8)", OTHER),
    ],
    "numbers": [
        ("42", "forty-two", SAME),
        ("1800000", "$1.8 million", SAME),
        ("300000", "3 x 10^5", SAME),
        (r"\pi", "3.14", OTHER),
        ("115", "one hundred and fifteen", SAME),
        ("8", "three five", OTHER),
        ("18", "18.00", SAME),
        ("1/2", "0.5", SAME),
        (r"-\dfrac{3}{4}", "-3/4", SAME),
        ("-5", "\N{MINUS SIGN}5", SAME),
        ("10404", "102^2", SAME),
        ("1500", r"1.5 \times 10^3", SAME),
        ("0.00012", "1.2e-4", SAME),
        ("1/3", "0.333333", OTHER),
        ("100000000", "100000001", OTHER),
        ("3", r"\frac{3}{0}", OTHER),
        (r"\frac{1}{2004!}", r"\frac{1}{2005!}", OTHER),
        (r"\frac{1}{2^{99}}", r"\frac{1}{2^{98}}", OTHER),
    ],
    "long decimals": [
        (r"\frac{4}{37}", "0.108108108108108", SAME),
        (r"\sqrt{7}", "2.6457513110645907", SAME),
        (r"\frac{1}{3}", r"33.3333333333333\%", SAME),
        (r"\sqrt{7}", "2.6457513110655", OTHER),
        (r"\sqrt{7}", "2.6458", OTHER),
        ("500500", "500500.5005005005", OTHER),
        ("0.12345678901", "0.12345678902", OTHER),
    ],
    "thousands": [
        ("51234", "51,234", SAME),
        ("51234", "51{,}234", SAME),
        ("51234", r"51,\! 234", SAME),
        ("51234", "51 234", SAME),
        ("51234", "51, 234", OTHER),
        ("(1,234)", "1234", OTHER),
    ],
    "decimal comma": [
        ("1,2", "1.2", OTHER),
        ("3.75", "3,75", SAME),
        ("0.125", "0,125", SAME),
        ("27,93", "28,93", OTHER),
    ],
    "mixed numbers": [
        (r"4\frac{2}{3}", "4 2/3", SAME),
        (r"4\frac23", "14/3", SAME),
        (r"4\frac{2}{3}", "4 and 2/3 cups", SAME),
        (r"4\frac{2}{3}", "8/3", OTHER),
    ],
    "percent": [
        ("50", "0.5", OTHER),
        (r"33\frac13", r"33\frac{1}{3}\%", SAME),
        ("50", r"50\%", SAME),
        ("0.5", "50%", SAME),
        ("10", "10 percent", SAME),
        ("50%", "0.5%", OTHER),
    ],
    "degrees": [
        ("80", r"80^\circ", SAME),
        (r"35\text{ degrees}", "35\N{DEGREE SIGN}", SAME),
        (r"60^\circ", r"\frac{\pi}{3}", SAME),
        (r"60^\circ", r"\frac{\pi}{4}", OTHER),
        (r"9^\circ", r"\frac{\pi}{20} degrees", OTHER),
        ("48", "180 - 132 = 48 degrees", SAME),
    ],
    "units, money": [
        ("9.8", r"9.8\ \text{m/s}^2", SAME),
        ("15", "15kg", SAME),
        ("5", "5th", SAME),
        ("98.6", r"98.6^\circ F", SAME),
        ("5", "5x", OTHER),
        ("18", "18 dollars", SAME),
        ("31", "31 cm^3", SAME),
        (r"144\mbox{ m}^3", "144", SAME),
        ("7", "7 miles per hour", SAME),
        (r"45\text{ mph}", "45 miles/hour", SAME),
        ("42409", r"\$42409", SAME),
        ("12", "12 (by the simple method)", SAME),
        ("3", "3 dozen", OTHER),
        ("1:03 PM", "1:03 AM", OTHER),
    ],
    "formulas": [
        (r"\log_{10} 5", r"\log 5", SAME),
        (r"\ln 5", r"\log 5", OTHER),
        ("x+1", "1+x", SAME),
        ("(r+5)(r+5)", "(r+5)^2", SAME),
        (r"\sin 3x", r"3\sin x - 4\sin^3 x", SAME),
        (r"\tan^2 y + 1", r"\sec^2 y", SAME),
        ("x^2+1", "x^2-1", OTHER),
        ("x+1", "y+1", OTHER),
        (r"x^2", r"x^2+10^{-30}", OTHER),
    ],
    "equations": [
        ("2x+4y-3=0", r"y=-\frac12x+\frac34", SAME),
        ("f(z)=z", "f(x)=x", SAME),
        ("f(x)=2x", "y=2x", SAME),
        ("x+2y+3z=4", "x+2y+3z=5", OTHER),
        ("y=2x", "x=2y", OTHER),
        ("x=5", "y=5", OTHER),
    ],
    "named values": [
        ("42", r"\text{Total} = 42", SAME),
        ("18+2x", "Perimeter of S = 18 + 2x", SAME),
        ("5", "x=5", SAME),
        ("4", "a + b = 4", SAME),
        ("1", r"\tan A = 1", SAME),
        ("f(x)=1", "1", SAME),
        ("0", "x - 2y = 0", OTHER),
        ("2x+z=1", "1", OTHER),
    ],
    "chains": [
        ("1/5", "18/90 = 1/5", SAME),
        ("20", "$2 + 18 = 20$", SAME),
        ("1/3", r"x = 1/3 \approx 0.33", SAME),
        ("5", "4=5", OTHER),
        ("5", "x=4=5", OTHER),
    ],
    "inequalities": [
        (r"[0,\infty)", r"\{x \mid x \ge 0\}", SAME),
        ("[1,3]", r"x \ge 1 \text{ and } x \le 3", SAME),
        (r"(-\infty,-5]\cup[5,\infty)", r"|x| \ge 5", SAME),
        (r"(-\infty,0)\cup(0,\infty)", r"\mathbb{R}\setminus\{0\}", SAME),
        (r"(-\infty,3)\cup(3,\infty)", "all real numbers except x = 3", SAME),
        (r"(-\infty,3)\cup(3,\infty)", "all real numbers except 4", OTHER),
        ("3", r"\ge 3", OTHER),
        (r"[5,\infty)", r"x \ge 5", SAME),
        ("x<1", "-x>-1", SAME),
        (r"-2 \le x \le 7", r"x \in [-2,7]", SAME),
        ("x>5", "x<5", OTHER),
        (r"x \ge 5", "x>5", OTHER),
    ],
    "sets and lists": [
        (r"\{1,2,3\}", r"\{3,1,2\}", SAME),
        ("2, -3, 4", "4,-3,2", SAME),
        ("27", "$3^3$ or 27", SAME),
        (r"\{1,2\}", "(1,2)", OTHER),
        ("2, -3, 4", "4,-2,3", OTHER),
        ("x=5", "x=5 or x=1", OTHER),
        ("-4", "-4, 1, -5", OTHER),
    ],
    "plus-minus": [
        ("3i,-3i", r"\pm 3i", SAME),
        (r"1\pm\sqrt{19}", r"1-\sqrt{19}, 1+\sqrt{19}", SAME),
        (r"\pm 21", "21", OTHER),
    ],
    "tuples, intervals": [
        ("[1,2]", "1,2", OTHER),
        ("1,2", "[1,2]", SAME),
        ("(1,2)", "[1,2]", OTHER),
        (r"(-\infty,2)\cup(3,\infty)", r"(-\infty,2),(3,\infty)", SAME),
        ("(1,2)", "P(1,2)", SAME),
        (r"(5\sqrt{2}, 1)", "(5√2, 1)", SAME),
        (r"(-\infty,3)\cup(4,5]", "(-infinity, 3) U (4, 5]", SAME),
        ("[6,\\infty)", "[6,\\infty]", SAME),
        ("(3,1)", "(1,3)", OTHER),
        ("[0,1)", "[0,1]", OTHER),
    ],
    "labelled tuples": [
        ("-2,2", "x_1 = 2, x_2 = -2", SAME),
        ("x_1=1,x_2=2", "x_1=2,x_2=1", OTHER),
        ("p=5,q=2;p=7,q=2", "(5,2),(7,2)", SAME),
        ("(p,q)=(3,2)", "(3,2)", SAME),
        ("-1,0,1", "$k = 0$, $k = 1$, $k = -1$", SAME),
        ("a=4,-8,-10", "-10,-8,4", SAME),
        ("x=3, y=5", "5, 3", OTHER),
    ],
    "matrices": [
        (r"\begin{pmatrix}0&1\\1&0\end{pmatrix}", "M = (0 1; 1 0)", SAME),
        (r"\begin{pmatrix}1/2\\2\end{pmatrix}", r"\begin{pmatrix}\frac12\\[4pt]2\end{pmatrix}", SAME),
        (r"\begin{pmatrix}1/5&4/5\\0&1\end{pmatrix}", r"\begin{bmatrix}0.2&0.8\\0&1\end{bmatrix}", SAME),
        (r"\begin{pmatrix}7\\-2\end{pmatrix}", "(7,-2)", SAME),
        (r"\begin{pmatrix}0&1\\1&0\end{pmatrix}", "[0 1; 1 0]", SAME),
        (r"\begin{pmatrix}0&1\\1&0\end{pmatrix}", "[[0,1],[1,0]]", SAME),
        (r"\begin{pmatrix}2&4\end{pmatrix}", r"2\begin{pmatrix}1&2\end{pmatrix}", SAME),
        (r"\begin{pmatrix}7\\-2\end{pmatrix}", r"\begin{pmatrix}-7\\2\end{pmatrix}", OTHER),
    ],
    "bases": [
        ("1101_2", "(1101)_{2}", SAME),
        ("1101_2", "1101 base 2", SAME),
        ("A5_{16}", "A6_{16}", OTHER),
        ("1202_3", "1202_{3}", SAME),
        ("1202_3", "1202", SAME),
        ("1011_2", "1011_3", OTHER),
        ("1202_3", "1220_3", OTHER),
    ],
    "ratios, times": [
        (r"3:30 \text{ PM}", "3:30 p.m.", SAME),
        ("3:30 PM", "15:30", SAME),
        ("3:30 PM", "3:30", SAME),
        ("3:30 PM", "3:30 AM", OTHER),
        (r"\frac{2}{3}", "2:3", SAME),
        ("2:3", "4:6", SAME),
        ("12{:}30", "12{:}45", OTHER),
        ("12:00", "1:00", OTHER),
    ],
    "choices": [
        ("A", "Option A", SAME),
        ("42", r"\textbf{(A) }42", SAME),
        ("43", "(A) 42", OTHER),
        (r"\text{(E)}", "(E) Hyperbola", SAME),
        ("C", r"\text{(C)}", SAME),
        ("D", "D) none of the others", SAME),
        (r"\text{(E)}", "(D) Ellipse", OTHER),
        (r"\text{C,E}", "C, E", SAME),
        (r"\text{A,D}", "A, E", OTHER),
    ],
    "text": [
        (r"\text{Evelyn}", "Evelyn has the greatest speed", SAME),
        (r"\text{ellipse}", "The graph is an ellipse", SAME),
        (r"\text{ellipse}", "The graph is not an ellipse", OTHER),
        (r"\text{Evelyn}", "evelyn", SAME),
        (r"\text{The line}", "line", SAME),
        (r"(-\infty,\infty)", "all real numbers", SAME),
        (r"\text{odd}", "even", OTHER),
        ("7", "Saturday", OTHER),
    ],
    "restated questions": [
        ("5050", r"\sum_{k=1}^{100} k = 5050", SAME),
        ("5050", r"\sum_{k=1}^{100} k", OTHER),
        ("9", r"\int_0^3 x^2\,dx", OTHER),
    ],
    "prose": [
        (r"\frac{1}{2}", r"$\frac{1}{2}$ or as a decimal, 0.5", SAME),
        ("2n+1", "a_n = 2n+1, where n is a positive integer", SAME),
        ("34", "The largest $n$ is 34.", SAME),
        ("x>5", r"Therefore $x \gt 5$ is the solution.", SAME),
        ("9", "6 (if it rains) or 9 (if it does not)", OTHER),
    ],
    "several boxes": [("1,-2", r"\boxed{1} and \boxed{-2}", SAME)],
    "refusals, length": [("5", "NO_SOLUTION", OTHER), ("5", "5" * (LONGEST + 1), OTHER)],
}


@pytest.fixture(scope="module")
def verifier() -> Iterator[MathVerifier]:
    with MathVerifier(timeout=20, workers=1) as made:
        yield made


def test_every_policy_of_the_table_has_pairs_and_every_pair_a_policy() -> None:
    rows = [line.split("|")[1].strip() for line in (math.__doc__ or "").splitlines() if line.startswith("|")]
    named = {row for row in rows if row and row != "answer" and not row.startswith("-")}
    assert named == POLICIES.keys()


@pytest.mark.parametrize(
    ("gold", "answer", "equal"),
    [
        pytest.param(*pair, id=f"{policy}: {pair[1][:30]}")
        for policy, rows in POLICIES.items()
        for pair in rows
    ],
)
def test_policies_hold_without_algebra(gold: str, answer: str, equal: bool) -> None:
    assert (quick(gold, answer) is CORRECT) is equal


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (a, b)
        for policy in ("formulas", "inequalities", "sets and lists", "matrices")
        for a, b, _ in POLICIES[policy]
    ],
)
def test_comparison_does_not_care_which_side_is_the_gold(one: str, other: str) -> None:
    if "=" not in one + other:  # a gold that is an equation asks for one
        assert quick(one, other) is quick(other, one)


@pytest.mark.parametrize("answer", [r"\max(x, y)", r"\frac{d!}{2}", "x | y", "2 +", r"\log_", "((1)"])
def test_what_cannot_be_read_is_left_to_algebra(answer: str) -> None:
    assert quick("36", answer) is None


def test_algebra_decides_the_rest(verifier: MathVerifier) -> None:
    assert [quick(*pair) for pair in HARD] == [None, None]
    assert verifier.check_many(HARD) == [CORRECT, INCORRECT]


def test_a_solution_needs_a_stated_answer(verifier: MathVerifier) -> None:
    texts = {
        "2 + 2 = 4. The answer is 4.": CORRECT,
        "The answer is 5.": INCORRECT,
        "I think it comes to 4": UNPARSABLE,
        "The answer is NO_SOLUTION": UNPARSABLE,
        r"so \boxed{2} and then \boxed{4}": CORRECT,
    }
    verdicts = verifier.judge([("4", text) for text in texts])
    assert [verdict.outcome for verdict in verdicts] == list(texts.values())
    assert verdicts[0].extracted == "4"
    assert verdicts[0].equations_sha != ""
    assert verdicts[1].equations_sha == ""


def test_boxes_side_by_side_are_one_answer_where_the_gold_is_a_list(verifier: MathVerifier) -> None:
    text = r"so $x$ is \boxed{-2} or \boxed{1}."
    both, last, wrong = verifier.judge([("1,-2", text), ("1", text), ("2", text)])
    assert (both.outcome, both.extracted) == (CORRECT, "-2, 1")
    assert (last.outcome, last.extracted) == (CORRECT, "1")
    assert wrong.outcome is INCORRECT


# -- hazards of symbolic comparison


def test_the_verdict_is_the_same_from_a_thread_an_event_loop_and_a_pool(verifier: MathVerifier) -> None:
    pairs = [*HARD, ("5", "5"), (r"\sqrt{12}", r"2\sqrt{3}")]
    here = verifier.check_many(pairs)
    seen: list[list[Outcome]] = []
    thread = threading.Thread(target=lambda: seen.append(check_in_another_process(pairs)))
    thread.start()
    thread.join()

    async def in_a_loop() -> list[Outcome]:
        return await asyncio.to_thread(check_in_another_process, pairs)

    seen.append(asyncio.run(in_a_loop()))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        seen.append(pool.submit(check_in_another_process, pairs).result())
    assert seen == [here] * 3
    assert here == [CORRECT, INCORRECT, CORRECT, CORRECT]


@pytest.mark.parametrize(
    ("gold", "answer"), [("1", "(10000000)!"), (r"\sum_{k=1}^{3} 1/k", r"\sum_{k=1}^{10000000} 1/k")]
)
def test_a_poisonous_answer_times_out_and_its_neighbours_are_right(gold: str, answer: str) -> None:
    pairs = [HARD[0], (gold, answer), ("7", "7"), HARD[1]]
    with MathVerifier(timeout=8, workers=1) as impatient:
        assert impatient.check_many(pairs) == [CORRECT, Outcome.TIMEOUT, CORRECT, INCORRECT]


def test_a_timeout_may_be_a_fraction_of_a_second() -> None:
    with MathVerifier(timeout=19.5, workers=1) as made:
        assert made.check_many(HARD) == [CORRECT, INCORRECT]


def test_the_callers_alarm_is_left_alone(verifier: MathVerifier) -> None:
    def ring(*_: object) -> None:
        raise AssertionError("the alarm rang early")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 1000)
    try:
        verifier.check_many([("m!", "m! + 0")])
        assert signal.getsignal(signal.SIGALRM) is ring
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 1000
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_large_set_against_itself_reversed_is_never_called_wrong() -> None:
    items = [str(n) for n in range(400)]
    one, other = (rf"\{{{','.join(order)}\}}" for order in (items, items[::-1]))
    assert quick(one, other) is not INCORRECT
    short, reverse = (rf"\{{{','.join(order)}\}}" for order in (items[:80], items[:80][::-1]))
    assert quick(short, reverse) is CORRECT


def test_the_same_inequality_holds_whichever_side_it_is_on() -> None:
    pairs = [(r"m \ge \sqrt2", r"m \in [\sqrt2,\infty)"), (r"m \in [\sqrt2,\infty)", r"m \ge \sqrt2")]
    assert [quick(*pair) for pair in pairs] == [CORRECT, CORRECT]


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        (r"\frac{1}{2004!}", r"\frac{1}{2006!}"),
        (r"1/2^{99}", "1/2^{98}"),
        ("1011_2", "1011_3"),
        ("12{:}30", "12{:}45"),
        (r"\{1,2\}", "(1,2)"),
        ("5", r"\boxed{4=5}"),
        ("5", r"\boxed{x=4=5}"),
        ("50%", "0.5%"),
        ("9", "6 (if a is odd) or 9 (if a is even)"),
        ("2", "a = [-6+sqrt(32)]/2, a = [-6-sqrt(32)]/2"),
        ("5050", r"\sum_{k=1}^{100}k"),
    ],
)
def test_what_math_verify_is_known_to_accept_wrongly_is_wrong(gold: str, answer: str) -> None:
    assert quick(gold, answer) is INCORRECT


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        (r"6\frac15", "6 1/5"),
        (r"2\sqrt{10}", "2√10"),
        (r"\sqrt{6}+\sqrt{2}", r"\boxed{sqrt(6)+sqrt(2)}"),
        (r"-\frac{\pi}{6}", "-pi/6"),
        ("70", "70°"),
        (r"\frac{1}{\sqrt{3}}", r"$\frac{1}{\sqrt{3}}.$"),
        ("109", "109 green beads"),
        ("8", "8 cm^2"),
        (r"\text{C,E}", "C, E"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", "(1,2)"),
        (r"\begin{pmatrix}0&1\\1&0\end{pmatrix}", "[0 1; 1 0]"),
        (r"60^\circ", r"\pi/3"),
        ("-5", "−5"),
        (r"\sin^8 x+\cos^8 x", r"1 - \sin^2 2x + \frac{1}{8}\sin^4 2x"),
        (r"\frac12", r"\cos(\pi/7)-\cos(2\pi/7)+\cos(3\pi/7)"),
        ("1", r"\sqrt[3]{2+\sqrt5}+\sqrt[3]{2-\sqrt5}"),
        ("f(z)=z", "f(x)=x"),
    ],
)
def test_what_math_verify_is_known_to_reject_wrongly_is_right(gold: str, answer: str) -> None:
    assert quick(gold, answer) is CORRECT


def test_an_answer_of_thousands_of_digits_is_never_turned_into_a_number() -> None:
    with MathVerifier() as made:
        answers = ["0." + "3" * 23_748, "9" * 5000, "(" * 3000 + "1" + ")" * 3000, "=1" * 20_000]
        assert made.check_many([("1/3", answer) for answer in answers]) == [UNPARSABLE] * 4
        assert not made._workers._children


@pytest.mark.parametrize(
    "answer", ["5^5^5^5^5^5", "9^{9^{9^9}}", r"\binom{10^9}{10^8}", "(" * 140 + "x" + ")" * 140]
)
def test_growth_is_left_to_a_process_that_can_be_killed(answer: str) -> None:
    assert quick("7", answer) in (None, INCORRECT)


def test_a_pair_is_compared_once() -> None:
    with MathVerifier(timeout=20, workers=1) as once:
        first = once.check_many(HARD)
        once.close()
        assert once.check_many(HARD * 3) == first * 3
        assert not once._workers._children  # no process was needed again


def test_easy_pairs_start_no_process() -> None:
    with MathVerifier() as easy:
        easy.check_many([("18", "18"), ("18", "19.5"), (r"\pi", r"2\pi"), (r"\sqrt{8}", r"2\sqrt{2}")])
        assert not easy._workers._children


@pytest.mark.skipif(not SOLUTIONS_6B.is_file(), reason=f"no {SOLUTIONS_6B}")
@pytest.mark.parametrize("model", ["6b_finetuning", "6b_verification"])
def test_gsm8k_solutions_are_judged_as_officially(verifier: MathVerifier, model: str) -> None:
    rows = [json.loads(line) for line in SOLUTIONS_6B.read_text().splitlines()]
    golds = [final_answer(row["ground_truth"]) for row in rows]
    judged = verifier.judge(
        [(gold or "", row[model]["solution"]) for gold, row in zip(golds, rows, strict=True)]
    )
    assert [verdict.outcome is CORRECT for verdict in judged] == [row[model]["is_correct"] for row in rows]


@pytest.mark.skipif(not all(path.is_file() for path in MATH), reason=f"no {MATH[0].parent}")
def test_every_math_gold_equals_itself_and_the_answer_of_its_own_solution(verifier: MathVerifier) -> None:
    rows = [json.loads(line) for path in MATH for line in path.read_text().splitlines()]
    golds = [row["answer"] for row in rows]
    assert len(golds) == 10_000
    assert set(verifier.check_many(zip(golds, golds, strict=True))) == {CORRECT}
    answers = [final_answer(row["solution"]) for row in rows]
    without = [row["idx"] for row, answer in zip(rows, answers, strict=True) if answer is None]
    assert without == [5341, 5343]  # their box is empty in the data
    pairs = [(gold, a) for gold, a in zip(golds, answers, strict=True) if a is not None]
    assert set(verifier.check_many(pairs)) == {CORRECT}
    assert all(gold_answer(row["solution"]) for row in rows if row["idx"] not in without)
