"""Numbers as people read them: shares, intervals, dollars, FLOPs. The one place where figures are worded.

An estimate is a mapping {"value", "low", "high"} with its 95 % interval; None anywhere is "not known".
"""

from collections.abc import Mapping
from typing import Any

NONE = "–"
_PREFIXES = ("", "k", "M", "G", "T", "P", "E", "Z", "Y")


def known(x: Mapping[str, Any] | None) -> bool:
    """Whether this is an estimate with a value."""
    return bool(x) and x is not None and x.get("value") is not None


def count(n: float | None) -> str:
    return NONE if n is None else f"{n:,.0f}"


def decimal(value: float, digits: int = 1) -> str:
    """Fixed digits, with a true minus sign and never a negative zero."""
    text = f"{value:,.{digits}f}"
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("-")
    return text.replace("-", "−")


def percent(share: float | None) -> str:
    return NONE if share is None else f"{decimal(100 * share)} %"


def _interval(x: Mapping[str, Any], scale: float, digits: int) -> str:
    low, high = x.get("low"), x.get("high")
    if low is None or high is None:
        return ""
    return f" [{decimal(scale * low, digits)}, {decimal(scale * high, digits)}]"


def share(x: Mapping[str, Any] | None) -> str:
    """70.7 % [69.6, 71.7]."""
    return percent(x["value"]) + _interval(x, 100, 1) if x and known(x) else NONE


def points(x: Mapping[str, Any] | None) -> str:
    """6.0 points [5.0, 7.0], from a difference of shares."""
    return f"{decimal(100 * x['value'])} points{_interval(x, 100, 1)}" if x and known(x) else NONE


def quantity(x: Mapping[str, Any] | None, digits: int = 2) -> str:
    """5.12 [4.95, 5.30]."""
    return decimal(x["value"], digits) + _interval(x, 1, digits) if x and known(x) else NONE


def usd(dollars: float | None) -> str:
    """Cents from a dollar up, three significant digits below; unpriced is not free."""
    if dollars is None:
        return "unpriced"
    if dollars == 0:
        return "$0"
    size = abs(dollars)
    sign = "−" if dollars < 0 else ""
    if size >= 1:
        return f"{sign}${size:,.2f}"
    if size < 1e-6:
        return f"{sign}${size:.2e}"
    places = next(d for d in range(3, 10) if size * 10**d >= 99.5)
    whole, _, part = f"{size:.{places}f}".partition(".")
    return f"{sign}${whole}.{part.rstrip('0'):0<2}"


def flops(n: float | None) -> str:
    """1.23 PFLOPs; scientific beyond the prefixes."""
    if n is None:
        return "unknown"
    step = _step(n)
    return f"{n / 1000**step:.3g} {_PREFIXES[step]}FLOPs" if step < len(_PREFIXES) else f"{n:.2e} FLOPs"


def _step(n: float) -> int:
    """How many thousands a number holds, as three significant digits show it."""
    step = 0
    while abs(n) >= 999.5 * 1000**step:
        step += 1
    return step


def gain(x: Mapping[str, Any] | None) -> str:
    """+24.0 % [10.0, 40.0], from a relative gain."""
    if not x or not known(x):
        return NONE
    sign, low, high = "+" if x["value"] > 0 else "", x.get("low"), x.get("high")
    if low is not None and high is None:  # the other scored nothing in some resamples
        return f"{sign}{percent(x['value'])} [{decimal(100 * low)}, ∞]"
    return f"{sign}{percent(x['value'])}{_interval(x, 100, 1)}"


def money_range(x: Mapping[str, Any] | None) -> str:
    """$0.0012 [0.0011, 0.0013]: an estimate in dollars."""
    if not x or not known(x):
        return NONE
    low, high = x.get("low"), x.get("high")
    return usd(x["value"]) + (f" [{usd(low)}, {usd(high)}]" if low is not None and high is not None else "")


def flops_range(x: Mapping[str, Any] | None) -> str:
    """2.2 TFLOPs [2.1, 2.3]: the interval in the unit of the value."""
    if not x or not known(x):
        return NONE
    step = _step(x["value"])
    if x.get("low") is None or x.get("high") is None or step >= len(_PREFIXES):
        return flops(x["value"])
    return f"{flops(x['value'])} [{x['low'] / 1000**step:.3g}, {x['high'] / 1000**step:.3g}]"


def joined(parts: list[str]) -> str:
    """a, b and c."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)
