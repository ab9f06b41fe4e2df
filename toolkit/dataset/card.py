"""The dataset card: a YAML header for machines, the same facts as sentences and lists for people."""

import json
import string
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import yaml

from toolkit import spec
from toolkit.cost import to_usd
from toolkit.dataset.build import Chosen
from toolkit.dataset.material import Material
from toolkit.dataset.summary import Summary
from toolkit.ledger import Reader

TRAIN = "trl sft --config sft.yaml --model_name_or_path MODEL --output_dir STUDENT"
TOTALS = (
    "requests",
    "draws",
    "prompt",
    "cached",
    "output",
    "thinking",
)  # of an arm's usage, besides its cost
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


def card(material: Material, chosen: Chosen, summary: Summary, facts: Mapping[str, Any]) -> str:
    """The whole README.md. `facts` is what it should say beyond the ledger: run, source, licence, terms and the like."""
    made = _made(material, chosen, summary)
    told = json.loads(json.dumps(dict(facts), default=str))
    header = {
        "license": "other",
        "license_name": "see-terms",
        "tags": ["synthetic", "reasoning", "pricematch"],
        "configs": [{"config_name": "default", "data_files": "data.parquet"}],
        "pricematch": {"arm": summary.arm, **made, **told},
    }
    meaning = string.Template(MEANING[material.spec.filter])
    return CARD.substitute(
        header=yaml.safe_dump(header, sort_keys=False, allow_unicode=True).rstrip(),
        title=_title(summary, made),
        rows=f"{summary.rows:,}",
        problems=f"{summary.problems:,}",
        meaning=meaning.substitute(verifier=made["verifier"], cap=material.spec.cap) + _also(summary),
        spend=_spent(made),
        matching=summary.matching,
        prices="\n".join(f"* {_line(price)}" for price in made["prices"]) or "* none: not priced",
        contamination=_contamination(material.spec, chosen),
        train=TRAIN,
        facts="\n".join(
            f"* {key}: {_line(value)}" for key, value in (made | told).items() if key != "prices"
        ),
        source=_line(told.get("source", "not stated")),
        licence=_line(told.get("licence", "not stated: see the source")),
        terms=_line(told.get("terms", "not stated: see the provider's terms of use")),
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
        "prices": [price for part in chosen.recipe.parts for price in _prices(material.reader, part.row)],
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
    return "not priced" if made["spend_usd"] is None else f"${made['spend_usd']:,.6f}"


def _contamination(spec: spec.Dataset, chosen: Chosen) -> str:
    lines = [line for line in chosen.removed if line["why"] == "contaminated"]
    if not spec.decontaminate:
        return "Not checked against any test set."
    rows = sum(line["rows"] for line in lines)
    return (
        f"Checked against {', '.join(spec.decontaminate)}: {len(lines):,} overlaps, {rows:,} rows removed. "
        "What was removed and why is in `removed.jsonl`."
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

All draws of this dataset's arms, the incorrect ones included, cost $spend. Held equal with the others of its run:
matched by $matching.

Prices, in dollars per million tokens:

$prices

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
