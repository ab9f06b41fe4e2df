"""The page: everything a run directory holds, as one HTML file that needs nothing else.

No script, no network, no outside font. Sample text is what a model wrote, so it is escaped, cut at a
stated length, and its control and direction characters are made visible.
"""

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from toolkit.errors import redact
from toolkit.report import books, charts, facts, figures, findings
from toolkit.report.books import Books
from toolkit.report.facts import Facts, Json
from toolkit.types import PICO, Outcome, Problem

ACTUALS = (
    "Draws, planned",
    "Draws, actual",
    "Dollars, planned",
    "Dollars, actual",
    "FLOPs, planned",
    "FLOPs, actual",
    "Output tokens per draw, planned",
    "Output tokens per draw, actual",
)
AXES = {"usd": "dollars spent", "flops": "FLOPs spent", "draws": "draws per problem"}
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def write(
    directory: Path,
    problems: Mapping[str, Problem] | None = None,
    versions: Mapping[str, str] | None = None,
) -> Path:
    """Write `report.html` from whatever the directory holds; what is absent is named with the verb that makes it.

    `problems` (by id) give the sample solutions their questions, which the ledger does not keep.
    """
    found = facts.load(directory)
    ledger = books.read(directory / "ledger.sqlite", found, problems or {})
    page = _template().render(
        f=found,
        where=_where(directory),
        books=ledger,
        title=(found.run or {}).get("name") or found.name,
        date=_date(ledger.last),
        paragraphs=findings.paragraphs(found),
        caveats=findings.caveats(found),
        arms=found.arms,
        measures=_measures(found),
        matched=findings.MATCHES.get(found.match, found.match),
        plots=_plots(found),
        axis=AXES[axis(found)],
        actual_labels=ACTUALS,
        actuals=_actuals(found, ledger),
        totals=_totals(found, ledger),
        models=_models(found, ledger),
        outcomes=[*(o.value for o in Outcome), "unverified"],
        missing=_missing(directory, found),
        versions=versions or {},
        run_file=_run_file(directory / "run.yaml"),
    )
    path = directory / "report.html"
    draft = path.with_suffix(".html.tmp")
    draft.write_text(page, encoding="utf-8")
    os.replace(draft, path)
    return path


def visible(text: Any) -> Any:
    """The text with characters that hide, reorder or break a page replaced by their names."""
    if isinstance(text, str) and not isinstance(text, Markup):
        return _INVISIBLE.sub(lambda m: f"⟨U+{ord(m[0]):04X}⟩", text.replace("\r\n", "\n"))
    return text


def _template() -> Any:
    world = Environment(
        autoescape=True, undefined=StrictUndefined, finalize=visible, trim_blocks=True, lstrip_blocks=True
    )
    world.globals |= {"fig": figures, "find": findings, "known": figures.known, "longest": books.LONGEST}
    return world.from_string(files("toolkit.report").joinpath("page.html.j2").read_text(encoding="utf-8"))


def _where(directory: Path) -> str:
    """The directory as a person here would type it; only its name where it lies elsewhere."""
    whole = directory.resolve()
    return whole.relative_to(Path.cwd()).as_posix() if whole.is_relative_to(Path.cwd()) else whole.name


def _date(when: float | None) -> str:
    return datetime.fromtimestamp(when, UTC).strftime("%-d %B %Y, %H:%M UTC") if when else ""


def _run_file(path: Path) -> str:
    return redact(path.read_text(encoding="utf-8", errors="replace")) if path.is_file() else ""


def _missing(directory: Path, found: Facts) -> list[tuple[str, str]]:
    """(what, verb that makes it) for everything this run is meant to have and has not."""
    run = found.run or {}
    trains, evaluates = bool(run.get("students")), bool(run.get("students") and run.get("evaluate"))
    wanted = [
        ("run.yaml", "plan", found.run is None),
        ("plan.json", "plan", found.plan is None),
        ("ledger.sqlite", "sample", not (directory / "ledger.sqlite").is_file()),
        ("metrics.json", "measure", found.metrics is None),
        ("dataset/", "dataset", not found.datasets),
        ("finetune/", "finetune", trains and not found.trainings),
        ("evaluation.json", "evaluate", evaluates and found.evaluation is None),
    ]
    return [(what, verb) for what, verb, absent in wanted if absent]


# -- tables: a row is a label, what it means, and a cell per arm


def _measures(found: Facts) -> list[tuple[str, str, list[str]]]:
    """The comparison, a row per measure so that it fits a narrow screen."""
    if not found.measured:
        return []
    get = [found.measured.get(arm, {}) for arm in found.arms]
    div = [found.diversity(arm) for arm in found.arms]
    return [
        ("Model", "", [findings.model_of(found, arm) for arm in found.arms]),
        ("Draws per problem", "k below", [figures.count(found.k(arm)) for arm in found.arms]),
        ("Spent", "dollars", [figures.usd(m.get("usd")) if m else figures.NONE for m in get]),
        ("Computed", "2 × active parameters × output tokens", [figures.flops(m.get("flops")) for m in get]),
        ("Coverage@k", "problems with a correct draw", [figures.share(found.coverage(a)) for a in found.arms]),
        (
            "Coverage@1", "a single draw is correct",
            [figures.share((m.get("coverage") or {}).get("1")) for m in get],
        ),
        ("Correct draws", "per solved problem", [figures.quantity(d.get("per_solved")) for d in div]),
        ("Distinct correct draws", "per solved problem", [figures.quantity(d.get("unique_per_solved")) for d in div]),
        ("Cost of a correct draw", "dollars", [figures.money_range(m.get("usd_per_correct")) for m in get]),
        ("Cost of a correct draw", "FLOPs", [figures.flops_range(m.get("flops_per_correct")) for m in get]),
        ("Truncated", "cut at max_tokens", [figures.percent(m.get("truncated")) for m in get]),
        ("False positives", "right answer, wrong reasoning", [_false_positives(m) for m in get]),
    ]  # fmt: skip


def _false_positives(m: Json) -> str:
    x = m.get("false_positive_rate")
    return "not measured" if x is None else figures.share(x) if isinstance(x, Mapping) else figures.percent(x)


def _actuals(found: Facts, ledger: Books) -> list[tuple[str, list[str]]]:
    """Per arm its cells, in the order of ACTUALS."""
    rows = []
    for arm in found.arms:
        plan, got = found.planned.get(arm, {}), found.measured.get(arm, {})
        problems, k = (found.plan or {}).get("problems"), plan.get("draws_per_problem")
        cells = [
            figures.count(problems * k if problems and k else None),
            figures.count(ledger.draws.get(arm, got.get("draws"))),
            figures.usd(plan.get("usd")) if plan else figures.NONE,
            figures.usd(got.get("usd")) if got else figures.NONE,
            figures.flops(plan.get("flops")) if plan else figures.NONE,
            figures.flops(got.get("flops")) if got else figures.NONE,
            figures.count(plan.get("output_tokens")),
            figures.count(_tokens_per_draw(got)),
        ]
        rows.append((arm, cells))
    return rows


def _tokens_per_draw(m: Json) -> float | None:
    tokens, draws = m.get("tokens") or {}, m.get("draws")
    if not draws or tokens.get("output") is None:
        return None
    return float((tokens["output"] + (tokens.get("thinking") or 0)) / draws)


def _totals(found: Facts, ledger: Books) -> list[tuple[str, str]]:
    """Money of the whole run, as label and text."""
    plan, budget = found.plan or {}, (found.run or {}).get("budget") or {}
    residual = plan.get("residual") or {}
    cap = budget.get("cap_usd") or budget.get("usd")
    rows = [
        ("Worst case of the plan", figures.usd(plan.get("worst_case_usd")) if plan else ""),
        ("Cap", figures.usd(float(cap)) if cap is not None else ""),
        ("Settled", _pico(ledger.spend.settled, ledger) if ledger.last else ""),
        ("In flight", _pico(ledger.spend.reserved, ledger) if ledger.spend.reserved else ""),
        (
            "Uncertain (fate unknown; counts against the cap)",
            _pico(ledger.spend.uncertain, ledger) if ledger.last else "",
        ),
        ("Left over by whole draws", _residual(residual)),
    ]
    return [(label, text) for label, text in rows if text]


def _pico(pico: int, ledger: Books) -> str:
    if ledger.unpriced and pico == 0:
        return figures.usd(None)
    return figures.usd(pico / PICO) + (" (some attempts are unpriced)" if ledger.unpriced else "")


def _residual(residual: Json) -> str:
    value, unit = residual.get("amount"), str(residual.get("unit", ""))
    if value is None:
        return ""
    if unit == "usd":
        return figures.usd(value)
    return figures.flops(value) if unit == "flops" else f"{figures.count(value)} {unit}"


def _models(found: Facts, ledger: Books) -> list[dict[str, str]]:
    """What was run: per arm the model, where, its decoding and its price with date and source."""
    run = found.run or {}
    rows = []
    for arm in found.arms:
        name = ((run.get("arms") or {}).get(arm) or [arm])[0]
        model = (run.get("models") or {}).get(name) or {}
        defaults, own = run.get("decoding") or {}, model.get("decoding") or {}
        decoding = defaults | {k: v for k, v in own.items() if v not in (None, [])}
        rows.append(
            {
                "arm": arm,
                "model": findings.model_of(found, arm),
                "provider": str(model.get("provider") or figures.NONE),
                "served": ", ".join(ledger.versions.get(arm, ())) or figures.NONE,
                "decoding": ", ".join(f"{k} {v}" for k, v in decoding.items() if v not in (None, []))
                or "server’s",
                "price": _price_text(model.get("price") or ledger.prices.get(arm)),
                "tokens from": str(found.planned.get(arm, {}).get("expect_source") or figures.NONE),
            }
        )
    return rows


def _price_text(price: Json | None) -> str:
    if not price:
        return "unpriced"
    kinds = ("input", "cached_input", "output", "thinking")
    rates = [f"{k.replace('_', ' ')} ${float(price[k]):g}" for k in kinds if price.get(k) is not None]
    origin = [str(price[k]) for k in ("date", "source") if price.get(k)]
    return f"{', '.join(rates)} per million tokens" + (f" ({', '.join(origin)})" if origin else "")


# -- the chart


def _plots(found: Facts) -> list[charts.Chart]:
    """Coverage against spend so far, for a wide and a narrow screen; none before there are two points."""
    series = [s for arm in found.arms if (s := _series(found, arm)).points]
    if not any(len(s.points) > 1 for s in series):
        return []
    return [
        charts.chart(series, width, height, lambda x: _tick(found, x))
        for width, height in ((690, 390), (350, 310))
    ]


def _series(found: Facts, arm: str) -> charts.Series:
    top = found.k(arm)
    per_draw = _per_draw(found)[arm] if top else 0.0
    covered = found.measured.get(arm, {}).get("coverage") or {}
    kept = sorted((int(k), x) for k, x in covered.items() if known_band(x) and int(k) <= (top or 0))
    return charts.Series(arm, [charts.Point(k * per_draw, x["value"], x["low"], x["high"]) for k, x in kept])


def known_band(x: Json | None) -> bool:
    return figures.known(x) and x is not None and x.get("low") is not None and x.get("high") is not None


def _per_draw(found: Facts) -> Mapping[str, float]:
    """What one more draw for every problem cost each arm, in the chart's currency; 1 where draws are counted."""
    if axis(found) == "draws":
        return dict.fromkeys(found.arms, 1.0)
    unit = axis(found)
    return {
        arm: found.measured[arm][unit] / _drawn(found, arm) for arm in found.arms if arm in found.measured
    }


def _drawn(found: Facts, arm: str) -> float:
    """Draws per problem that were paid for."""
    m = found.measured[arm]
    return float(m["draws"] / m["problems"])


def axis(found: Facts) -> str:
    """usd or flops as matched, where every measured arm has some of it; else draws per problem."""
    unit = {"price": "usd", "flops": "flops"}.get(found.match, "draws")
    have = all(
        (m.get(unit) or 0) > 0 and m.get("draws") and m.get("problems") for m in found.measured.values()
    )
    return unit if have else "draws"


def _tick(found: Facts, x: float) -> str:
    unit = axis(found)
    if unit == "flops":
        return figures.flops(x).removesuffix("FLOPs").strip()
    return figures.usd(x).removesuffix(".00") if unit == "usd" else figures.count(x)
