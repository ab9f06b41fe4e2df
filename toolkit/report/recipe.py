"""What was run: models as asked and as served, prices with date and source, decoding as asked and as applied, seeds."""

import hashlib
import json
from collections.abc import Mapping

import prompts
from toolkit.report import figures, findings
from toolkit.report.blocks import Absent, Block, Note, Row, Section, Table
from toolkit.report.books import Books, Served
from toolkit.report.facts import Facts, Json

KINDS = ("input", "cached_input", "output", "thinking")


def recipe(facts: Facts, books: Books, versions: Mapping[str, str]) -> Section:
    blocks: list[Block] = [Absent("No run.yaml", "plan")]
    if facts.run is not None:
        blocks = [Note(_problems(facts.run))]
    if facts.arms:
        blocks.append(_models(facts, books))
    if versions:
        blocks.append(Note("Made with " + ", ".join(f"{name} {v}" for name, v in versions.items()) + "."))
    return Section("run", "What was run", blocks)


def _problems(run: Json) -> str:
    asked = run.get("problems") or {}
    said = f"Problems: {asked.get('source', '')}"
    said += f", {asked['split']} split" if asked.get("split") else ""
    said += f", {figures.count(asked['offset'])} passed over" if asked.get("offset") else ""
    said += f", the first {figures.count(asked['limit'])}" if asked.get("limit") else ""
    verifier = (run.get("verify") or {}).get("verifier")
    seeds = f"Seed: {run.get('seed', 0)}"
    if finetune := run.get("finetune"):
        several = (run.get("evaluate") or {}).get("seeds") or 1
        first = finetune.get("seed", 0)
        seeds += f"; of finetuning: {first}" + (f" to {first + several - 1}" if several > 1 else "")
    said += f". Prompt: {_prompt(str(run.get('prompt', '')))}. {seeds}."
    return said + (f" Verifier: {verifier}." if verifier else "")


def _prompt(name: str) -> str:
    """Its name and the beginning of its text's SHA-256."""
    try:
        text = prompts.load(name).template
    except (LookupError, OSError):
        return name
    return f"{name} (sha256 {hashlib.sha256(text.encode()).hexdigest()[:12]})"


def _models(facts: Facts, books: Books) -> Table:
    """A column per model of each arm."""
    parts = {part: (arm, key) for arm in facts.arms for part, key in facts.parts(arm).items()}
    columns = [
        _model(facts, arm, key, books.served.get(part, Served())) for part, (arm, key) in parts.items()
    ]
    rows = [Row(label, [column[label] for column in columns]) for label in (columns[0] if columns else ())]
    rows = [row for row in rows if set(row.cells) != {figures.NONE}]
    words = frozenset(range(len(columns)))
    return Table("The models, as asked and as served.", ("Setting", *parts), rows, words)


def _model(facts: Facts, arm: str, key: str, served: Served) -> dict[str, str]:
    model, plan = facts.model(key), facts.planned.get(arm, {})
    plan = (plan.get("members") or {}).get(key, plan)
    return {
        "model": str(model.get("model") or findings.model_of(facts, arm)),
        "provider": str(model.get("provider") or figures.NONE),
        "policy": _policy(facts, arm),
        "served as": ", ".join(served.versions) or figures.NONE,
        "decoding, as asked": _settings(served.decoding or _asked(facts.run or {}, model)) or "server’s",
        "decoding, as applied": _applied(served),
        "price": price_text(model.get("price") or served.price),
        "tokens from": str(plan.get("expect_source") or figures.NONE),
        "identity of model, prompt and decoding": served.payload or figures.NONE,
    }


def _policy(facts: Facts, arm: str) -> str:
    written = ((facts.run or {}).get("arms") or {}).get(arm)
    policy = written.get("policy") if isinstance(written, Mapping) else None
    name = policy.get("name") if isinstance(policy, Mapping) else policy
    return str(name or figures.NONE)


def _asked(run: Json, model: Json) -> Json:
    own = model.get("decoding") or {}
    return {**(run.get("decoding") or {}), **{k: v for k, v in own.items() if v not in (None, [])}}


def _settings(decoding: Json) -> str:
    return ", ".join(f"{k} {v}" for k, v in decoding.items() if v not in (None, []))


def _applied(served: Served) -> str:
    """As the server told it; most tell nothing."""
    told = [_settings(json.loads(text)) for text in served.effective]
    return "; or ".join(told) if told else "the server does not say"


def price_text(price: Json | None) -> str:
    if not price:
        return "unpriced"
    rates = [f"{k.replace('_', ' ')} ${float(price[k]):g}" for k in KINDS if price.get(k) is not None]
    origin = [str(price[k]) for k in ("date", "source") if price.get(k)]
    return f"{', '.join(rates)} per million tokens" + (f" ({', '.join(origin)})" if origin else "")
