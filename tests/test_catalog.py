"""Dated facts about models."""

import re
from datetime import date

import pytest

from toolkit import catalog
from toolkit.catalog import Entry
from toolkit.errors import InputError
from toolkit.spec import Model, Params, Price

ENTRIES = list(catalog.load().values())


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.name)
def test_every_entry_has_terms_and_every_price_a_date_and_a_source(entry: Entry) -> None:
    assert entry.terms_url.startswith("https://")
    assert entry.vendor
    assert entry.prices or entry.params, "an entry without price and parameters says nothing"
    for price in entry.prices:
        assert date.fromisoformat(price.date) <= date(2030, 1, 1)
        assert price.source != "run file"
        assert 0 < price.input <= price.output
        assert price.cached_input is None or price.cached_input < price.input


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.prices], ids=lambda e: e.name)
def test_a_models_rows_are_one_history(entry: Entry) -> None:
    days = [p.date for p in entry.prices]
    assert days == sorted(set(days)), "two rows of one day"
    for price in entry.prices:
        assert price.source, "a price without a source is a rumour"
        for long in price.above.values():
            assert long.input > price.input, "long prompts cost more"
            assert long.output > price.output
            assert (long.cached_input is None) == (price.cached_input is None)


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.params], ids=lambda e: e.name)
def test_parameters_have_a_source_with_its_date(entry: Entry) -> None:
    assert re.search(r"20\d\d", entry.params_source)
    assert entry.params is not None
    assert (entry.params.active or 1) < entry.params.total


def held(model: str, *day: int) -> Price | None:
    return catalog.require(model).price(date(*day))


def test_the_price_of_a_day_is_the_newest_that_had_begun() -> None:
    prices = [held("gemini-1.5-pro", *day) for day in ((2024, 9, 1), (2024, 10, 1), (2026, 1, 1))]
    assert [str(p.output) for p in prices if p] == ["10.50", "5.00", "5.00"]
    assert held("gemini-1.5-pro", 2024, 1, 1) is None


def test_the_same_two_models_had_three_ratios_within_two_months() -> None:
    def ratio(*day: int) -> float:
        strong, cheap = (held(f"gemini-1.5-{size}", *day) for size in ("pro", "flash"))
        assert strong is not None
        assert cheap is not None
        return float(strong.output / cheap.output)

    days = ((2024, 8, 11), (2024, 8, 12), (2024, 9, 30), (2024, 10, 1))
    assert [round(ratio(*day), 1) for day in days] == [10.0, 35.0, 35.0, 16.7]


def test_a_price_that_is_announced_does_not_hold_yet() -> None:
    now, next_year = (held("gemini-3.8-flash", *day) for day in ((2026, 12, 31), (2027, 1, 1)))
    assert now is not None
    assert next_year is not None
    assert (str(now.output), str(next_year.output)) == ("3.75", "7.50")


def priced(*days: str) -> Entry:
    prices = tuple(Price.model_validate({"input": i + 1, "output": 9, "date": d}) for i, d in enumerate(days))
    return Entry("m", "v", "https://t", prices, None)


def test_todays_price_is_known_even_to_a_clock_that_runs_behind() -> None:
    ahead = priced("9998-01-01", "9999-01-01")
    assert ahead.price() == ahead.prices[0]
    assert ahead.price(date(2026, 1, 1)) is None
    assert priced("2020-01-01", "9999-01-01").price() == priced("2020-01-01").prices[0]


def test_googles_longer_name_is_the_same_model() -> None:
    assert catalog.find("models/gemini-2.5-pro") is catalog.find("gemini-2.5-pro") is not None


def test_open_models_have_parameters_and_no_price() -> None:
    gemma = catalog.find("google/gemma-2-27b-it")
    assert gemma is not None
    assert gemma.params is not None
    assert gemma.params.total == 27_227_128_320
    assert gemma.price() is None


def test_what_the_catalog_lacks_is_none() -> None:
    assert catalog.find("gpt-2") is None


def test_only_what_a_token_passes_through_is_active_in_a_mixture_of_experts() -> None:
    assert catalog.require("mistralai/Mixtral-8x7B-v0.1").params == Params(
        total=46_700_000_000, active=12_900_000_000
    )


@pytest.mark.parametrize(
    ("asked", "near"),
    [
        ("gemini-2.5-flahs", "gemini-2.5-flash"),
        ("models/gemini-2.5-prp", "gemini-2.5-pro"),
        ("gpt4o", "gpt-4o"),
        ("gpt-4.1-min", "gpt-4.1-mini"),
        ("gpt-4.1-2025-04-14", "gpt-4.1"),
        ("gemini-2.5-flash-preview", "gemini-2.5-flash"),
        ("gemma-2-9b-it", "google/gemma-2-9b-it"),
    ],
)
def test_an_unknown_model_is_one_line_with_the_nearest_name(asked: str, near: str) -> None:
    with pytest.raises(InputError) as said:
        catalog.require(asked)
    assert f"{asked}: not in the catalog: did you mean {near!r}?" in str(said.value)
    assert "\n" not in str(said.value)


def test_a_model_like_no_other_is_told_where_to_look() -> None:
    with pytest.raises(InputError, match="pricematch prices"):
        catalog.require("zzz")


def test_the_nearest_name_with_a_price_is_no_open_model() -> None:
    assert catalog.nearest("google/gemma-2-9b-it", priced=True) != "google/gemma-2-9b-it"


@pytest.mark.parametrize(
    ("provider", "model", "found"),
    [
        ("litellm", "openai/gpt-4.1", "gpt-4.1"),
        ("litellm", "azure/gpt-4.1", None),  # another vendor's price may differ
        ("gemini", "gemini-2.5-pro", "gemini-2.5-pro"),
    ],
)
def test_a_runs_model_is_looked_up_by_its_vendors_name(provider: str, model: str, found: str | None) -> None:
    entry = catalog.of(Model.model_validate({"provider": provider, "model": model}))
    assert (entry.name if entry else None) == found
