"""The reader returns what it understood whole, and nothing else."""

import pytest

from toolkit.verifiers.forms import Based, Group, Matrix, Name, Ratio, Relation, Row, Union, Unreadable, Words
from toolkit.verifiers.lexer import LONGEST, tokens
from toolkit.verifiers.numeric import Undefined, evaluate
from toolkit.verifiers.reader import readings


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("(1, 2)", Row),
        (r"\{1, 2\}", Group),
        ("1, 2", Group),
        (r"(0,1)\cup[2,3)", Union),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", Matrix),
        ("1:2:3", Ratio),
        ("x = 2", Relation),
        ("204_5", Based),
        (r"\text{odd}", Words),
        (r"\text{(C)}", Name),
    ],
)
def test_each_shape_is_told_from_the_others(text: str, kind: type) -> None:
    assert [type(form) for form in readings(text)] == [kind]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2^3^2", 512),
        ("-2^2", -4),
        ("1/2*4", 2),
        (r"\frac12 + \frac{1}{2}", 1),
        (r"\sqrt 4", 2),
        ("sqrt(9)", 3),
        (r"\sqrt[3]{-8}", -2),
        ("3!", 6),
        (r"\binom{5}{2}", 10),
        (r"\lfloor 7/2 \rfloor", 3),
        ("|2-5|", 3),
        (r"0.1\overline{6} \cdot 6", 1),
        ("2 3/4 * 4", 11),
    ],
)
def test_arithmetic_follows_the_usual_order(text: str, value: int) -> None:
    (form,) = readings(text)
    assert evaluate(form, {}) == value  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2 +",
        "(1",
        "1)",
        "1 2",
        "1/",
        r"\frac{1}",
        r"\begin{pmatrix}1&2\\3\end{pmatrix}",
        r"\unknown{3}",
        "3 dozen",
        "3 plus 4",
        r"\sin \pi/3",
        "0.333...",
        "x | y",
    ],
)
def test_what_is_not_understood_whole_is_not_read(text: str) -> None:
    assert readings(text) == ()


def test_a_comma_may_stand_for_thousands_for_decimals_or_between_answers() -> None:
    assert len(readings("1,234")) == 2
    assert len(readings("3,75")) == 2
    assert len(readings("(1,234)")) == 1


def test_no_more_than_the_longest_answer_is_read() -> None:
    with pytest.raises(Unreadable, match="too long"):
        tokens("1" * (LONGEST + 1))


@pytest.mark.parametrize(
    "text", ["(" * 100 + "1" + ")" * 100, "{" * 140 + "1" + "}" * 140, "-" * 250 + "1", "2^" * 140 + "2"]
)
def test_deep_nesting_ends_in_no_reading_or_a_capped_value(text: str) -> None:
    for form in readings(text):
        with pytest.raises((Unreadable, RecursionError)):
            evaluate(form, {})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "10^{10^{20}}",
        "(10000000)!",
        "9^{9^9}^{9}",
        r"\binom{10^9}{10^8}",
        r"\sqrt[10^9]{2}",
        r"\sin(10^{20})",
    ],
)
def test_growth_is_capped_before_it_costs_anything(text: str) -> None:
    (form,) = readings(text)
    with pytest.raises(Unreadable):
        evaluate(form, {})  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["1/0", "0^{-1}", r"\ln 0", r"\frac{1}{2-2}"])
def test_what_has_no_value_is_said_to_have_none(text: str) -> None:
    (form,) = readings(text)
    with pytest.raises(Undefined):
        evaluate(form, {})  # type: ignore[arg-type]
