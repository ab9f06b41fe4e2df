"""What servers say of their limits, in the several ways they write it."""

import pytest

from toolkit.limits.headers import Stated, seconds, stated

NOON = 1_795_262_400.0  # 2026-11-21T12:00:00Z


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("1s", 1),
        ("6m0s", 360),
        ("20ms", 0.02),
        ("1m12.5s", 72.5),
        ("7h12m0s", 25_920),
        ("1d2h", 93_600),
        ("2.5", 2.5),
        ("2026-11-21T12:00:30Z", 30),
        ("2026-11-21T11:00:00Z", 0),
        ("soon", None),
        ("1s?", None),
        ("", None),
        ("inf", None),
        ("-1", None),
    ],
)
def test_a_reset_is_read_as_seconds(text: str, meant: float | None) -> None:
    assert seconds(text, NOON) == (meant if meant is None else pytest.approx(meant))


def test_every_quantity_is_read_in_either_dialect() -> None:
    openai = {
        "x-ratelimit-limit-requests": "600",
        "x-ratelimit-remaining-requests": "599",
        "x-ratelimit-reset-requests": "100ms",
        "x-ratelimit-limit-input-tokens": "9000",
    }
    anthropic = {
        "anthropic-ratelimit-output-tokens-limit": "80000",
        "anthropic-ratelimit-output-tokens-remaining": "0",
        "anthropic-ratelimit-output-tokens-reset": "2026-11-21T12:00:30Z",
    }
    assert stated(openai | anthropic, NOON) == {
        "requests": Stated(600, 599, 0.1),
        "input-tokens": Stated(9000, None, None),
        "output-tokens": Stated(80_000, 0, 30),
    }


@pytest.mark.parametrize("limit", ["", "0", "-5", "nan", "inf", "many"])
def test_a_limit_that_is_no_number_is_none(limit: str) -> None:
    assert stated({"x-ratelimit-limit-requests": limit}, NOON) == {}
