"""Dated facts about models."""

from datetime import date

import pytest

from toolkit import catalog
from toolkit.catalog import Entry

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


def test_the_newest_price_counts_unless_a_day_is_given() -> None:
    pro = catalog.find("gemini-1.5-pro")
    assert pro is not None
    newest, then, before = pro.price(), pro.price(date(2024, 9, 1)), pro.price(date(2024, 1, 1))
    assert newest is not None
    assert then is not None
    assert (str(newest.output), str(then.output), before) == ("5.00", "10.50", None)


def test_a_price_holds_from_its_day_on() -> None:
    pro = catalog.find("gemini-1.5-pro")
    assert pro is not None
    held = pro.price(date(2024, 10, 1))
    assert held is not None
    assert held.date == "2024-10-01"


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
