"""The dataset card: a YAML header for machines, the same facts as sentences and lists for people."""

import json
import string
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import yaml

from toolkit import spec
from toolkit.cost import KINDS, to_usd
from toolkit.dataset.build import Chosen
from toolkit.dataset.material import Material
from toolkit.dataset.measured import in_short, sentence
from toolkit.dataset.screen import named
from toolkit.dataset.summary import Summary
from toolkit.ledger import Reader
from toolkit.types import PICO

TRAIN = "trl sft --config sft.yaml --model_name_or_path MODEL --output_dir STUDENT"
TOTALS = (
    "requests",
    "draws",
    "prompt",
    "cached",
    "output",
    "thinking",
)  # of an arm's usage, besides its cost
ELSEWHERE = (  # facts that have a sentence of their own
    *(
        "rows",
        "problems",
        "arms",
        "human",
        "distinct",
        "copies",
        "matching",
        "matched",
        "spend_usd",
        "prices",
    ),
    *("match", "metrics", "source", "licence", "terms"),
)
MEANING = {
    "verified": '"Correct" means that the final answer matched the gold answer according to verifier $verifier; the '
    "reasoning itself was not checked.",
    "judged": "A language model judged the reasoning of every row sound; where there is a gold answer, the final answer "
    "also matched it according to verifier $verifier. A judge errs, and is lenient with its own kind.",
    "majority": "**No gold answer was used.** A row gives the answer that most draws of its problem agree on; a majority "
    "can be wrong, and problems on which two answers tie have no row.",
    "none": "**Nothing was verified.** Rows may be wrong. More unverified samples can teach worse: in arXiv 2408.16737, "
    "35 per problem of a weaker model taught less than 5 did, so no more than $cap per problem are kept here.",
}

HUMAN_MEANING = (
    "The solutions came with the problems, and are as right as their source: nothing was verified."
)


def card(material: Material, chosen: Chosen, summary: Summary, facts: Mapping[str, Any]) -> str:
    """The whole README.md. `facts` is what it should say beyond the ledger: run, source, licence, terms and the like."""
    made = _made(material, chosen, summary)
    told = json.loads(json.dumps(dict(facts), default=str))
    told["metrics"] = {arm: in_short(found) for arm, found in (told.get("metrics") or {}).items() if found}
    header = {
        "license": "other",
        "license_name": "see-terms",
        "tags": ["synthetic", "reasoning", "pricematch"],
        "configs": [{"config_name": "default", "data_files": "data.parquet"}],
        "pricematch": {"arm": summary.arm, **made, **told},
    }
    meaning = string.Template(HUMAN_MEANING if made["provider"] == "none" else MEANING[material.spec.filter])
    described = {k: v for k, v in (made | told).items() if v and k not in ELSEWHERE}
    return CARD.substitute(
        header=yaml.safe_dump(header, sort_keys=False, allow_unicode=True).rstrip(),
        title=_title(summary, made),
        rows=f"{summary.rows:,}",
        problems=f"{summary.problems:,}",
        meaning=meaning.substitute(verifier=made["verifier"], cap=material.spec.cap) + _also(summary),
        spend=_spent(made),
        matching=summary.matching,
        prices=_listed(_price(price) for price in made["prices"]) or "* none: not priced",
        measured=_listed(sentence(arm, short) for arm, short in told["metrics"].items()) or "* not measured",
        contamination=_contamination(material.spec, chosen),
        train=TRAIN,
        facts=_listed(f"{key}: {_line(value)}" for key, value in described.items()),
        source=_line(told.get("source") or "not stated"),
        licence=_line(told.get("licence") or "not stated: see the source"),
        terms=_line(told.get("terms") or "not stated: see the provider's terms of use"),
    )


def sft_config() -> str:
    """What `trl sft --config` reads, from within the dataset's folder."""
    data = {
        "datasets": [{"path": "parquet", "data_files": "data.parquet", "columns": ["prompt", "completion"]}],
        "completion_only_loss": True,
    }
    return yaml.safe_dump(data, sort_keys=False)


def _made(material: Material, chosen: Chosen, summary: Summary) -> dict[str, Any]:
    arms = [_arm(material.reader, part.row) for part in chosen.recipe.parts]
    costs = [arm.pop("cost_pico") for arm in arms]
    one = len(arms) == 1
    return {
        "model": ", ".join(dict.fromkeys(arm["model"] for arm in arms)) or "human",
        "provider": ", ".join(dict.fromkeys(arm["provider"] for arm in arms)) or "none",
        "decoding": arms[0]["decoding"] if one else {arm["name"]: arm["decoding"] for arm in arms},
        "verifier": " ".join(material.verifier),
        "dedup": material.spec.dedup,
        **{
            k: v
            for k, v in asdict(summary).items()
            if k not in ("arm", "skipped", "control") and v not in (None, (), {})
        },
        "weighting": material.spec.weighting,
        "spend_usd": None if not costs or None in costs else to_usd(sum(costs)),
        "usage": {key: sum(arm["usage"][key] for arm in arms) for key in TOTALS},
        "prices": [
            price | {"model": arm["model"]}
            for part, arm in zip(chosen.recipe.parts, arms, strict=True)
            for price in _prices(material.reader, part.row)
        ],
    }


def _arm(reader: Reader, row: int) -> dict[str, Any]:
    name, model, provider, decoding = next(
        reader.rows("SELECT name, model, provider, decoding_json FROM arm WHERE id=?", (row,))
    )
    usage = reader.usage(row)
    return {
        "name": name,
        "model": model,
        "provider": provider,
        "decoding": json.loads(decoding),
        "cost_pico": usage.pop("cost_pico"),
        "usage": usage,
    }


def _title(summary: Summary, made: Mapping[str, Any]) -> str:
    what = {"verified": "Correct", "judged": "Sound", "majority": "Agreeing", "none": "Unverified"}[
        summary.filter
    ]
    kind = "control" if summary.control else "arm"
    if summary.human == summary.distinct:
        return f"Human solutions ({kind} {summary.arm})"
    return f"{what} solutions of {made['model']} ({kind} {summary.arm})"


def _also(summary: Summary) -> str:
    said = ""
    if 0 < summary.human < summary.distinct:
        said += f"\n\n{summary.human:,} of the rows are the human solutions that came with the problems."
    if summary.copies:
        said += (
            f"\n\nEvery problem has the same weight: {summary.copies['per_problem']:,} rows each, so a row is repeated "
            f"{summary.copies['least']:,} to {summary.copies['most']:,} times ({summary.distinct:,} distinct rows; `copy` counts)."
        )
    return said


def _spent(made: Mapping[str, Any]) -> str:
    if made["provider"] == "none":
        return "People wrote the solutions; no draw was paid for."
    spent = "not priced" if made["spend_usd"] is None else f"${made['spend_usd']:,.6f}"
    return f"All draws of this dataset's arms, the incorrect ones included, cost {spent}."


def _contamination(spec: spec.Dataset, chosen: Chosen) -> str:
    lines = [line for line in chosen.removed if line["why"] == "contaminated"]
    if not spec.decontaminate:
        return "Not checked against any test set."
    rows = sum(line["rows"] for line in lines)
    return (
        f"Checked against {', '.join(map(named, spec.decontaminate))}: {len(lines):,} overlaps, {rows:,} rows removed. "
        "What was removed and why is in `removed.jsonl`."
    )


def _prices(reader: Reader, arm_id: int) -> list[dict[str, Any]]:
    rows = reader.rows(
        "SELECT DISTINCT p.id, p.row_json FROM price p JOIN attempt a ON a.price_id=p.id "
        "WHERE a.arm=? AND a.state='settled' ORDER BY p.id",
        (arm_id,),
    )
    return [{"price_id": key, **_dollars_per_million(json.loads(text))} for key, text in rows]


def _dollars_per_million(row: Mapping[str, Any]) -> dict[str, Any]:
    """A price row of the ledger (picodollars per token, and per request) in dollars, as prices are quoted."""
    quoted: dict[str, Any] = {k: v / 10**6 if k in KINDS else v for k, v in row.items()}
    if "request" in row:
        quoted["request"] = row["request"] / PICO
    if "above" in row:
        quoted["above"] = {tokens: _dollars_per_million(rates) for tokens, rates in row["above"].items()}
    return quoted


def _price(price: Mapping[str, Any]) -> str:
    tiers = [
        f"prompts above {int(n):,} tokens: {_kinds(rates)}" for n, rates in price.get("above", {}).items()
    ]
    each = [f"${price['request']:g} per request"] if "request" in price else []
    told = "; ".join([_kinds(price), *tiers, *each])
    return f"{price['model']}: {told} ({price['date']}, {price['source']}; `price_id` {price['price_id']})"


def _kinds(rates: Mapping[str, Any]) -> str:
    return ", ".join(f"{kind} ${rates[kind]:g}" for kind in KINDS if kind in rates)


def _listed(lines: Iterable[str]) -> str:
    return "\n".join(f"* {line}" for line in lines)


def _line(value: Any) -> str:
    """Any fact on one line."""
    if isinstance(value, Mapping):
        told = {
            k: f"({_line(v)})" if isinstance(v, Mapping) else _line(v)
            for k, v in value.items()
            if v is not None
        }
        return ", ".join(f"{k} {v}" for k, v in told.items()) or "none"
    if isinstance(value, list | tuple):
        return "; ".join(_line(v) for v in value) or "none"
    return "none" if value is None else " ".join(str(value).split())


CARD = string.Template("""---
$header
---

# $title

$rows solutions to $problems problems, one row each: `prompt` and `completion` in the conversational
format of TRL, and where the row came from (`problem`, `draw`, `idx`, `attempt`, `price_id`, `model`, `verdict`).
Load it with `datasets.load_from_disk` on this folder, or read `data.parquet` or `data.jsonl`.

$meaning

## Spend

$spend

Held equal with the others of its run: matched by $matching.

Prices, in dollars per million tokens:

$prices

## What was measured

Over all draws of the run, with 95 % intervals over problems:

$measured

## Contamination

$contamination

## Training on it

From this folder, with TRL:

    $train

## How it was made

$facts

## Licence

* Source of the problems: $source
* Licence of the source: $licence
* Terms of the model's provider: $terms

The questions keep the licence of their source. What may be done with the solutions is up to the terms of the
model that wrote them; some terms forbid training competing models.
""")
