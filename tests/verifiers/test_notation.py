import pytest

from toolkit.verifiers.notation import as_latex, skeleton


@pytest.mark.parametrize(
    ("typed", "latex"),
    [
        ("2√10", r"2\sqrt{10}"),
        ("√(x+1)", r"\sqrt{x+1}"),
        ("2 + sqrt(3)", r"2 + \sqrt{3}"),
        (r"\sqrt{3}", r"\sqrt{3}"),
        (r"\sqrt[3]{8}", r"\sqrt[3]{8}"),
        (r"\sqrt 2", r"\sqrt{2}"),
        ("6 1/5", r"6\frac{1}{5}"),
        ("1 2/3 4/5", r"1\frac{2}{3} 4/5"),
        ("8pi", r"8\pi "),
        (r"\pi", r"\pi"),
        ("spin", "spin"),
        ("\N{MINUS SIGN}5\N{DEGREE SIGN}", r"-5^\circ "),
    ],
)
def test_typed_mathematics_becomes_latex_and_latex_stays(typed: str, latex: str) -> None:
    assert as_latex(typed) == latex


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"\text{B, E, G}", "B,E,G"),
        (r"\left( \dfrac{1}{2}, 3 \right)", r"(\frac{1}{2},3)"),
        (r"x\,+\,1", "x+1"),
    ],
)
def test_equal_skeletons_differ_only_in_layout(one: str, other: str) -> None:
    assert skeleton(one) == skeleton(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("6 1/5", "61/5"), ("x", "X"), ("(1,2)", "[1,2)"), (r"\text{a} b", "a b")],
)
def test_what_may_change_the_meaning_is_kept(one: str, other: str) -> None:
    assert skeleton(one) != skeleton(other)
