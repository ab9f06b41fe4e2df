"""Correct draws of one arm become a finetuning dataset: TRL's conversational prompt/completion rows.

The prompt of a row is the text the model was asked; every row says which draw, attempt and price it came
from. The folder loads with `datasets.load_from_disk`, and holds the same rows as Parquet, with a card.
"""

import contextlib
import json
import string
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

import prompts
from toolkit import publish, spec
from toolkit.answers import own_solution
from toolkit.cost import to_usd
from toolkit.ledger import Reader
from toolkit.types import Problem

NO_CORRECT_DRAW = "no correct draw"
NUMBERS = ("draw", "idx", "price_id", "attempt")  # int64 columns; price_id is null where unpriced
WORDS = ("problem", "arm", "verdict", "model")


@dataclass(frozen=True, slots=True)
class Summary:
    """What was written for one arm; `skipped` is the reason why nothing was, else None."""

    arm: str
    rows: int
    problems: int  # with at least one row
    skipped: str | None = None


def build(
    reader: Reader,
    arm: str,
    arm_id: int,
    problems: Mapping[int, Problem],
    prompt: string.Template,
    *,
    verifier: tuple[str, str],
    spec: spec.Dataset,
    directory: Path,
    facts: Mapping[str, Any],
    draws: int | None = None,
) -> Summary:
    """Write the arm's dataset to `directory`, replacing an older one in one step.

    `problems` maps the ledger's row ids; draws of other problems are left out, and so are indices at or
    above `draws` (the planned number, so that every arm stands for the same spend). `facts` is what the
    card should say beyond the ledger: run, match, source, licence, terms, metrics and the like.
    An arm without a correct draw leaves a summary.json that says so, and nothing else.
    """
    columns = _columns(reader, arm, arm_id, problems, prompt, verifier, spec, draws)
    rows, covered = len(columns["draw"]), len(set(columns["problem"]))
    summary = Summary(arm, rows, covered, None if rows else NO_CORRECT_DRAW)
    with publish.folder(directory) as out:
        (out / "summary.json").write_text(json.dumps(asdict(summary), indent=1) + "\n", encoding="utf-8")
        if rows:
            _write_rows(columns, out)
            card = _card(reader, arm_id, summary, verifier, spec, facts)
            (out / "README.md").write_text(card, encoding="utf-8")
    return summary


def _columns(
    reader: Reader,
    arm: str,
    arm_id: int,
    problems: Mapping[int, Problem],
    prompt: string.Template,
    verifier: tuple[str, str],
    spec: spec.Dataset,
    draws: int | None,
) -> dict[str, list[Any]]:
    asked = {key: prompts.render(prompt, question=p.question) for key, p in problems.items()}
    columns: dict[str, list[Any]] = {c: [] for c in ("prompt", "completion", *NUMBERS, *WORDS)}
    seen: set[tuple[int, str]] = set()
    for draw, key, idx, outcome, norm_sha, text, price_id, attempt, model in _correct(
        reader, arm_id, verifier
    ):
        if key not in asked or (draws is not None and idx >= draws):
            continue
        if spec.dedup == "exact":
            if (key, norm_sha) in seen:
                continue
            seen.add((key, norm_sha))
        row = {
            "prompt": [{"role": "user", "content": asked[key]}],
            "completion": [{"role": "assistant", "content": own_solution(text).strip()}],
            "problem": problems[key].id,
            "arm": arm,
            "draw": draw,
            "idx": idx,
            "price_id": price_id,
            "attempt": attempt,
            "verdict": outcome,
            "model": model,
        }
        for name, value in row.items():
            columns[name].append(value)
    return columns


def _correct(reader: Reader, arm_id: int, verifier: tuple[str, str]) -> Iterator[tuple[Any, ...]]:
    """The arm's correct draws by problem and index, however they came in."""
    return reader.rows(
        "SELECT d.id, d.problem, d.idx, v.outcome, v.norm_sha, t.text, a.price_id, a.id, r.model "
        "FROM draw d JOIN verdict v ON v.draw=d.id AND v.verifier=? AND v.version=? "
        "JOIN draw_text t ON t.draw=d.id JOIN attempt a ON a.id=d.attempt JOIN arm r ON r.id=d.arm "
        "WHERE d.arm=? AND v.outcome='correct' AND a.purpose IN ('sample', 'pilot') "
        "ORDER BY d.problem, d.idx",
        (*verifier, arm_id),
    )


def _write_rows(columns: Mapping[str, list[Any]], out: Path) -> None:
    from datasets import Dataset, Features, Value

    text = Value("string")
    messages = [{"role": text, "content": text}]
    features = Features(
        {"prompt": messages, "completion": messages}
        | {name: Value("int64") for name in NUMBERS}
        | dict.fromkeys(WORDS, text)
    )
    with _no_progress_bars():
        table = Dataset.from_dict(dict(columns), features=features)
        table.save_to_disk(str(out))
        table.to_parquet(str(out / "data.parquet"))


@contextlib.contextmanager
def _no_progress_bars() -> Iterator[None]:
    from datasets.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def _card(
    reader: Reader,
    arm_id: int,
    summary: Summary,
    verifier: tuple[str, str],
    spec: spec.Dataset,
    facts: Mapping[str, Any],
) -> str:
    """The dataset card: YAML header for machines, the same facts as lists for people."""
    name, model, provider, decoding = next(
        reader.rows("SELECT name, model, provider, decoding_json FROM arm WHERE id=?", (arm_id,))
    )
    usage = reader.usage(arm_id)
    made = {
        "model": model,
        "provider": provider,
        "decoding": json.loads(decoding),
        "verifier": " ".join(verifier),
        "dedup": spec.dedup,
        "rows": summary.rows,
        "problems": summary.problems,
        "spend_usd": to_usd(usage["cost_pico"]),
        "usage": {k: v for k, v in usage.items() if k != "cost_pico"},
        "prices": _prices(reader, arm_id),
    }
    told = json.loads(json.dumps(dict(facts), default=str))
    header = {
        "license": "other",
        "license_name": "see-terms",
        "tags": ["synthetic", "reasoning", "pricematch"],
        "configs": [{"config_name": "default", "data_files": "data.parquet"}],
        "pricematch": {"arm": name, **made, **told},
    }
    return CARD.substitute(
        header=yaml.safe_dump(header, sort_keys=False, allow_unicode=True).rstrip(),
        arm=name,
        model=model,
        rows=f"{summary.rows:,}",
        problems=f"{summary.problems:,}",
        spend="not priced" if made["spend_usd"] is None else f"${made['spend_usd']:,.6f}",
        matching=told.get("match", "not stated"),
        verifier=made["verifier"],
        prices="\n".join(f"* {_line(price)}" for price in made["prices"]) or "* none: not priced",
        facts="\n".join(
            f"* {key}: {_line(value)}" for key, value in (made | told).items() if key != "prices"
        ),
        source=_line(told.get("source", "not stated")),
        licence=_line(told.get("licence", "not stated: see the source")),
        terms=_line(told.get("terms", "not stated: see the provider's terms of use")),
    )


def _prices(reader: Reader, arm_id: int) -> list[dict[str, Any]]:
    rows = reader.rows(
        "SELECT DISTINCT p.id, p.row_json FROM price p JOIN attempt a ON a.price_id=p.id "
        "WHERE a.arm=? AND a.state='settled' ORDER BY p.id",
        (arm_id,),
    )
    return [{"price_id": key, **_dollars_per_million(json.loads(text))} for key, text in rows]


def _dollars_per_million(row: dict[str, Any]) -> dict[str, Any]:
    """A price row of the ledger (picodollars per token) as prices are quoted."""
    return {k: v / 10**6 if isinstance(v, int) else v for k, v in row.items()}


def _line(value: Any) -> str:
    """Any fact on one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_line(v)}" for k, v in value.items() if v is not None) or "none"
    if isinstance(value, list):
        return "; ".join(_line(v) for v in value) or "none"
    return "none" if value is None else " ".join(str(value).split())


CARD = string.Template("""---
$header
---

# Correct solutions of $model (arm $arm)

$rows verified solutions to $problems problems, one row each: `prompt` and `completion` in the conversational
format of TRL, and where the row came from (`problem`, `draw`, `idx`, `attempt`, `price_id`, `model`, `verdict`).
Load it with `datasets.load_from_disk` on this folder, or read `data.parquet`.

"Correct" means that the final answer matched the gold answer according to verifier $verifier; the reasoning
itself was not checked.

## Spend

All draws of this arm, the incorrect ones included, cost $spend. Arms were matched by: $matching.

Prices, in dollars per million tokens:

$prices

## How it was made

$facts

## Licence

* Source of the problems: $source
* Licence of the source: $licence
* Terms of the model's provider: $terms

The questions keep the licence of their source. What may be done with the solutions is up to the terms of the
model that wrote them; some terms forbid training competing models.
""")
