import pytest

from toolkit.equations import equations, equations_sha


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("She buys 3 * 4 = 12 eggs. Then 12 - 2 = 10 are left.", ["3*4=12", "12-2=10"]),
        ("2*(3+4) = 2*7 = 14", ["2*(3+4)=14", "2*7=14"]),
        (r"So $3 \times 4 = 12$ and $\frac{12}{4} = 3$.", ["3*4=12", "12/4=3"]),
        ("It costs $1,200.50 + $3.00 = $1,203.50.", ["1200.5+3=1203.5"]),
        ("5 * <<5*2=10>>2 = 10", ["5*2=10"]),
        ("5*2=10.\n84/2=42.\n10+42=52.", ["5*2=10", "84/2=42", "10+42=52"]),
        ("5*2=10\n10+3=13", ["5*2=10", "10+3=13"]),
        ("2*(3+4)\n = 2*7\n = 14.", ["2*(3+4)=14", "2*7=14"]),
        ("x = 5 and y = 2", []),
        ("no calculation", []),
        ("The answer is 4.\nQ: what is 2 + 2 = 4?", []),
    ],
)
def test_calculations_are_read_in_order_and_written_one_way(text: str, found: list[str]) -> None:
    assert equations(text) == found


def test_the_same_calculations_in_other_words_are_the_same_list() -> None:
    one = "Each of the 3 boxes has 4 eggs: 3 * 4 = 12. Two break: 12 - 2 = 10. The answer is 10."
    other = r"We count $3\times4=12$ eggs, then $12 - 2 = 10$ whole ones. The answer is 10."
    assert equations_sha(one) == equations_sha(other)


@pytest.mark.parametrize("other", ["12 - 2 = 10, 3 * 4 = 12", "3 * 4 = 12", "4 * 3 = 12, 12 - 2 = 10"])
def test_another_order_or_another_calculation_is_another_list(other: str) -> None:
    assert equations_sha("3 * 4 = 12, 12 - 2 = 10") != equations_sha(other)


def test_a_solution_without_calculations_has_no_list() -> None:
    assert equations_sha("The answer is 4.") == ""
    assert len(equations_sha("2 + 2 = 4")) == 16


def test_endless_digits_are_no_calculation_and_hide_none() -> None:
    assert equations("9" * 200_000 + " = " + "7" * 200_000) == []
    assert equations("1+" * 50_000 + "1 = 2, and 2 + 2 = 4") == ["2+2=4"]
