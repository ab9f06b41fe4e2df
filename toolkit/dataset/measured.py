"""What was measured of the arms' draws, in as few figures as say it."""

from collections.abc import Mapping
from typing import Any

Estimate = Mapping[str, float]  # value, and low and high of its 95 % interval


def in_short(found: Mapping[str, Any]) -> dict[str, Any]:
    """Of an arm in metrics.json: draws, coverage and distinct correct solutions at the planned k, false positives."""
    coverage: Mapping[str, Estimate] = found.get("coverage") or {}
    k = (
        str(found.get("planned"))
        if str(found.get("planned")) in coverage
        else max(coverage, key=int, default=None)
    )
    diversity = (found.get("diversity") or {}).get(k, {})
    return {
        "draws": found.get("draws"),
        "problems": found.get("problems"),
        "k": None if k is None else int(k),
        "coverage": coverage.get(k) if k else found.get("solved"),
        "distinct_per_solved": diversity.get("unique_per_solved"),
        "false_positive_rate": found.get("false_positive_rate"),
    }


def sentence(arm: str, short: Mapping[str, Any]) -> str:
    """One line of the card."""
    at = "" if short["k"] is None else f"@{short['k']}"
    told = [f"{short['draws']:,} draws to {short['problems']:,} problems"]
    if short["coverage"] is not None:
        told.append(f"coverage{at} {_percent(short['coverage'])}")
    if (distinct := short["distinct_per_solved"]) is not None:
        told.append(
            f"{distinct['value']:.2f} [{distinct['low']:.2f}, {distinct['high']:.2f}] distinct correct solutions{at} per solved problem"
        )
    rate = short["false_positive_rate"]
    wrong = "not measured" if rate is None else _percent(rate)
    return f"{arm}: {'; '.join(told)}; right answers by wrong reasoning: {wrong}"


def _percent(x: Estimate) -> str:
    return f"{100 * x['value']:.1f} % [{100 * x['low']:.1f}, {100 * x['high']:.1f}]"
