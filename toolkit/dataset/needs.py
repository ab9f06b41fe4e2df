"""The verdicts that a filter needs, and what to do where the ledger lacks them."""

from typing import Any

from toolkit.dataset.material import Material
from toolkit.errors import InputError

JUDGE = "judge"  # the name under which a judge's verdicts stand in the ledger


def judge_version(material: Material, row: int) -> str | None:
    """The judge's version, if one is asked for. Raises InputError where a verdict that is needed is missing."""
    kind, gold = material.spec.filter, any(p.answer is not None for p in material.problems.values())
    if kind == "verified" and not gold:
        raise InputError(
            "dataset.filter: verified: no problem of this run has a gold answer: set it to majority, judged or none"
        )
    if kind == "majority" and material.verifier[0] == "code":
        raise InputError(
            "dataset.filter: majority: programs have no answer to vote on: set it to verified or judged"
        )
    drawn = _any(material, "SELECT 1 FROM draw WHERE arm=?", row)
    judged = (
        "SELECT 1 FROM draw d JOIN verdict v ON v.draw=d.id AND v.verifier=? AND v.version=? WHERE d.arm=?"
    )
    if (
        drawn
        and gold
        and kind in ("verified", "judged")
        and not _any(material, judged, *material.verifier, row)
    ):
        raise InputError(
            f"{material.reader.path}: no verdict of {' '.join(material.verifier)} on these draws: run `pricematch verify` first"
        )
    if material.spec.dedup == "equations":
        _check_equations(material, row)
    return _the_only_judge(material, row, drawn) if kind == "judged" else None


def _check_equations(material: Material, row: int) -> None:
    """Raises InputError where these draws were judged before calculations were listed."""
    unlisted = (
        "SELECT 1 FROM draw d JOIN verdict v ON v.draw=d.id AND v.verifier=? AND v.version=? "
        "WHERE v.equations_sha IS NULL AND d.arm=?"
    )
    columns = {name for _, name, *_ in material.reader.rows("PRAGMA table_info(verdict)")}
    if "equations_sha" not in columns or _any(material, unlisted, *material.verifier, row):
        raise InputError(
            f"{material.reader.path}: dataset.dedup: equations: these draws were judged before calculations were listed: "
            "rerun `pricematch verify`, or set it to normalised"
        )


def _the_only_judge(material: Material, row: int, drawn: bool) -> str | None:
    if material.judge_version is not None:
        return material.judge_version
    versions = material.reader.rows(
        "SELECT DISTINCT v.version FROM draw d JOIN verdict v ON v.draw=d.id AND v.verifier=? WHERE d.arm=?",
        (JUDGE, row),
    )
    found = sorted(version for (version,) in versions)
    if len(found) > 1:
        raise InputError(
            f"{material.reader.path}: dataset.filter: judged: {len(found)} judges have judged these draws ({', '.join(found)}): set judge in the run file to the one that counts"
        )
    if drawn and not found:
        raise InputError(
            f"{material.reader.path}: dataset.filter: judged: no judge has judged these draws: set judge in the run file and run `pricematch judge` first"
        )
    return found[0] if found else None


def _any(material: Material, sql: str, *args: Any) -> bool:
    return next(material.reader.rows(f"{sql} LIMIT 1", args), None) is not None
