"""Draws become finetuning datasets: an arm's own, and the controls it is compared with.

Rows are in TRL's conversational prompt/completion form. The prompt of a row is the text the model was asked;
every row says which draw, attempt and price it came from. A folder loads with `datasets.load_from_disk`, holds
the same rows as Parquet and JSONL, and has a card; what was left out as contaminated or nearly repeated is in
its `removed.jsonl`.

In this order: the filter; held-out problems and overlap with test sets; duplicates; near-duplicates; rows per
problem; for controls which problems, then how many rows or tokens; last, repeats of rows.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from toolkit import publish
from toolkit.dataset import hub
from toolkit.dataset.build import Chosen, choose, recipes
from toolkit.dataset.card import card, sft_config
from toolkit.dataset.material import Drawn, Material, Part
from toolkit.dataset.rows import Table, write
from toolkit.dataset.screen import Screen
from toolkit.dataset.select import HUMAN
from toolkit.dataset.summary import Summary, matching

__all__ = ["Drawn", "Material", "Part", "Summary", "build"]

Facts = Callable[[tuple[str, ...]], Mapping[str, Any]]


def build(material: Material, arms: Mapping[str, Sequence[Part]], root: Path, facts: Facts) -> list[Summary]:
    """Write every dataset of the run to `root/NAME`, replacing older ones, each in one step.

    `facts(arms)` is what the card of a dataset of these arms' draws should say beyond the ledger: run, match,
    source, licence, terms, metrics and the like. A dataset without a row leaves a summary.json that says why,
    and nothing else. Raises InputError where verdicts are missing, Refused where the hub will not take them.
    """
    token = hub.ready(material.spec.push_to_hub) if material.spec.push_to_hub else None
    screen, made = Screen(material), dict[str, Chosen]()
    planned = {name: _planned(parts) for name, parts in arms.items()}
    summaries = []
    for recipe in recipes(material, arms):
        chosen = choose(material, recipe, screen, made, planned)
        made[recipe.name] = chosen
        summaries.append(_publish(material, chosen, root / recipe.name, facts(recipe.arms)))
    if token is not None and material.spec.push_to_hub:
        hub.push(material.spec.push_to_hub, root, summaries, token)
    return summaries


def _planned(parts: Sequence[Part]) -> int | None:
    """An arm's draws per problem, where its plan says so."""
    planned = [part.planned for part in parts]
    return None if None in planned else sum(n for n in planned if n is not None)


def _publish(material: Material, chosen: Chosen, directory: Path, facts: Mapping[str, Any]) -> Summary:
    summary = _summary(material, chosen, facts.get("match"))
    with publish.folder(directory) as out:
        told = json.dumps(asdict(summary), indent=1)
        (out / "summary.json").write_text(told + "\n", encoding="utf-8")
        if summary.skipped is None:
            write(material, Table(chosen.rows, chosen.copies, chosen.recipe.name), out)
            (out / "README.md").write_text(card(material, chosen, summary, facts), encoding="utf-8")
            (out / "sft.yaml").write_text(sft_config(), encoding="utf-8")
        if chosen.removed or material.spec.decontaminate or material.spec.near_duplicates is not None:
            lines = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in chosen.removed)
            (out / "removed.jsonl").write_text(lines, encoding="utf-8")
    return summary


def _summary(material: Material, chosen: Chosen, match: str | None) -> Summary:
    written, rows = chosen.skipped is None, chosen.rows
    weighted = written and material.spec.weighting == "problems"
    return Summary(
        arm=chosen.recipe.name,
        rows=int(chosen.copies.sum()) if written else 0,
        problems=len(np.unique(rows.problem)) if written else 0,
        skipped=chosen.skipped,
        control=chosen.recipe.control is not None,
        arms=chosen.recipe.arms,
        filter=material.spec.filter,
        matching=matching(chosen, match),
        distinct=len(rows) if written else 0,
        human=int(np.sum(rows.draw == HUMAN)) if written else 0,
        considered=chosen.considered,
        dropped=dict(chosen.dropped),
        copies=_copies(chosen) if weighted else None,
        matched=tuple(chosen.matched),
    )


def _copies(chosen: Chosen) -> dict[str, int]:
    per_problem = int(np.bincount(np.unique(chosen.rows.problem, return_inverse=True)[1], chosen.copies)[0])
    return {"per_problem": per_problem, "least": int(chosen.copies.min()), "most": int(chosen.copies.max())}
