"""The small public Python API: every name is there, and importing it costs nothing."""

import doctest
import subprocess
import sys

import pytest

import toolkit


@pytest.mark.parametrize("name", toolkit.__all__)
def test_every_public_name_can_be_had_and_is_documented(name: str) -> None:
    assert getattr(toolkit, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        toolkit.nonsense  # noqa: B018


def test_the_example_in_the_docstring_is_true() -> None:
    assert doctest.testmod(toolkit).failed == 0
    assert doctest.testmod(toolkit).attempted > 0


def test_importing_toolkit_loads_no_third_party_package() -> None:
    ask = "import sys; before = set(sys.modules); import toolkit; print(sorted({m.split('.')[0] for m in set(sys.modules) - before}))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", ask],
        capture_output=True,
        text=True,
        check=True,
        cwd=toolkit.__path__[0] + "/..",
    )
    loaded = set(eval(done.stdout))
    assert loaded - sys.stdlib_module_names == {"toolkit"}
