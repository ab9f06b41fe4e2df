"""The catalog beside genai-prices: every disagreement is printed, none is invented."""

import importlib.metadata
from datetime import date
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from toolkit import catalog, price_check
from toolkit.catalog import Entry
from toolkit.errors import InputError
from toolkit.price_check import Difference, differences
from toolkit.spec import Price

TODAY = date(2026, 11, 21)


def quoted(**facts: Any) -> Price:
    return Price.model_validate(
        {"input": "1.00", "output": 4, "date": "2026-01-01", "source": "page", **facts}
    )


def entry(*prices: Price, name: str = "m") -> Entry:
    return Entry(name, "Google", "https://terms", prices, None)


def found(ours: Price, theirs: Price | None) -> list[tuple[str, str | None, str | None]]:
    return [(d.field, d.ours, d.theirs) for d in differences([entry(ours)], lambda _: theirs, TODAY)]


def test_the_same_price_written_otherwise_is_no_difference() -> None:
    assert found(quoted(), quoted(input="1.0", output="4.000", date="", source="theirs")) == []


def test_every_field_that_differs_is_told_with_both_sides() -> None:
    ours = quoted(cached_input="0.1", above={200_000: {"input": 2, "output": 6}}, batch="0.5")
    theirs = quoted(input=2, above={200_000: {"input": 2, "output": 8}}, batch="0.4")
    assert found(ours, theirs) == [
        ("input", "1", "2"),
        ("cached_input", "0.1", None),
        ("output above 200000", "6", "8"),
        ("batch", "0.5", "0.4"),
    ]


def test_a_threshold_of_one_side_alone_is_a_difference() -> None:
    assert found(quoted(), quoted(above={128_000: {"input": 2, "output": 8}})) == [
        ("input above 128000", None, "2"),
        ("output above 128000", None, "8"),
    ]


def test_a_model_they_do_not_list_is_one_difference() -> None:
    assert found(quoted(), None) == [("price", "1 in, 4 out", None)]


def test_rows_are_compared_as_of_the_day() -> None:
    listed = entry(quoted(), quoted(input=2, date="2026-06-01"))
    days = [date(2025, 1, 1), date(2026, 3, 1), date(2026, 6, 1)]
    seen = [differences([listed], lambda _: quoted(), day) for day in days]
    assert seen == [[], [], [Difference("m", "input", "2", "1")]]


def test_open_models_have_nothing_to_compare() -> None:
    assert differences([entry()], lambda _: quoted(), TODAY) == []


# --- their words in ours -------------------------------------------------------------------------


def tiered(base: str, *tiers: tuple[int, str]) -> SimpleNamespace:
    return SimpleNamespace(
        base=Decimal(base), tiers=[SimpleNamespace(start=t, price=Decimal(p)) for t, p in tiers]
    )


def test_their_tiers_become_rates_of_long_prompts() -> None:
    theirs = SimpleNamespace(
        input_mtok=tiered("1.25", (200_000, "2.5")),
        output_mtok=tiered("10", (200_000, "15")),
        cache_read_mtok=Decimal("0.1"),
    )
    got = price_check.translated(theirs, SimpleNamespace(input_mtok=tiered("0.625", (200_000, "1.25"))))
    assert got is not None
    assert price_check.facts(got) == {
        "input": "1.25",
        "output": "10",
        "cached_input": "0.1",
        "input above 200000": "2.5",
        "output above 200000": "15",
        "cached_input above 200000": "0.1",
        "batch": "0.5",
    }


def test_a_model_without_a_price_of_text_is_not_compared() -> None:
    assert price_check.translated(SimpleNamespace(input_audio_mtok=Decimal(1))) is None
    assert price_check.translated(None) is None


def test_a_batch_price_equal_to_the_standard_one_is_none() -> None:
    same = SimpleNamespace(input_mtok=Decimal(1), output_mtok=Decimal(4))
    got = price_check.translated(same, same)
    assert got is not None
    assert got.batch is None


def test_without_genai_prices_one_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(price_check, "import_module", absent)
    with pytest.raises(InputError, match="pip install genai-prices"):
        price_check.genai_prices(TODAY)


# --- the real package ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def theirs() -> Any:
    pytest.importorskip("genai_prices", reason="genai-prices is not installed: pip install genai-prices")
    return price_check.genai_prices(TODAY)


def test_the_installed_package_is_understood(theirs: Any) -> None:
    got = theirs(catalog.require("gemini-2.5-pro"))
    assert {"input", "output", "input above 200000", "output above 200000"} <= price_check.facts(got).keys()
    assert theirs(entry(name="no-such-model-9")) is None


def test_todays_rows_say_what_the_version_says_that_they_name(theirs: Any) -> None:
    if (version := importlib.metadata.version("genai-prices")) != "0.2.3":
        pytest.skip(f"the catalog was checked against genai-prices 0.2.3, {version} may know newer prices")
    compared = [e for e in catalog.load().values() if e.price(TODAY)]
    apart = {
        d for d in differences(compared, theirs, TODAY) if d.field.split()[0] in ("input", "output", "price")
    }
    assert apart == set()
    assert len(compared) > 30
