"""Rows that cost nothing to write: arms, draws, verdicts, generations made elsewhere. Inside the writer thread."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from toolkit.types import Choice, Usage, Verdict


def add_arm(db: sqlite3.Connection, row: tuple[str, ...], earlier: Sequence[str]) -> None:
    """Rename the arm's row with the most draws, or make one; nothing where it is there already."""
    name, sha = row[0], row[-1]
    there = db.execute("SELECT 1 FROM arm WHERE name=? AND payload_sha=?", (name, sha)).fetchone()
    if earlier and not there:
        found = db.execute(
            f"SELECT id FROM arm WHERE name=? AND payload_sha IN ({','.join('?' * len(earlier))}) "
            "ORDER BY (SELECT COUNT(*) FROM draw WHERE draw.arm=arm.id) DESC LIMIT 1",
            (name, *earlier),
        ).fetchone()
        if found:
            db.execute("UPDATE arm SET payload_sha=? WHERE id=?", (sha, *found))
    db.execute(
        "INSERT OR IGNORE INTO arm(name, model, provider, decoding_json, payload_sha) VALUES (?,?,?,?,?)", row
    )


def insert_draws(
    db: sqlite3.Connection, attempt: int, arm: int, problem: int, first: int, choices: Sequence[Choice]
) -> None:
    for index, choice in enumerate(choices, first):
        row = db.execute(
            "INSERT INTO draw(attempt, arm, problem, idx, finish) VALUES (?,?,?,?,?)",
            (attempt, arm, problem, index, choice.finish.value),
        )
        db.execute(
            "INSERT INTO draw_text VALUES (?,?,?)", (row.lastrowid, choice.text, choice.reasoning or None)
        )


def import_draws(
    db: sqlite3.Connection, arm: int, answers: Iterable[tuple[int, int, str, Usage | None]], now: float
) -> int:
    new = 0
    for problem, idx, text, usage in answers:
        if db.execute(
            "SELECT 1 FROM draw WHERE arm=? AND problem=? AND idx=?", (arm, problem, idx)
        ).fetchone():
            continue
        u = (usage.prompt, usage.cached, usage.output, usage.thinking, usage.source) if usage else (None,) * 5
        attempt = db.execute(
            "INSERT INTO attempt(arm, problem, purpose, first_index, n, state, cause, prompt, cached, output, thinking, "
            "usage_source, created, ended) VALUES (?,?,'sample',?,1,'settled','imported',?,?,?,?,?,?,?)",
            (arm, problem, idx, *u, now, now),
        ).lastrowid
        draw = db.execute(
            "INSERT INTO draw(attempt, arm, problem, idx, finish) VALUES (?,?,?,?,'stop')",
            (attempt, arm, problem, idx),
        ).lastrowid
        db.execute("INSERT INTO draw_text VALUES (?,?,NULL)", (draw, text))
        new += 1
    return new


def insert_verdicts(
    db: sqlite3.Connection,
    verifier: tuple[str, str],
    verdicts: Sequence[tuple[int, str | None, Verdict]],
    exact: Mapping[int, str],
) -> None:
    """(draw, gold, verdict) of a verifier (name, version); `exact` fills in for verdicts without that identity."""
    rows = [
        (
            draw,
            *verifier,
            gold,
            v.outcome.value,
            v.extracted,
            v.norm_sha,
            v.exact_sha or exact.get(draw),
            v.equations_sha,
        )
        for draw, gold, v in verdicts
    ]
    db.executemany(
        "INSERT OR REPLACE INTO verdict(draw, verifier, version, gold, outcome, extracted, norm_sha, "
        "exact_sha, equations_sha) VALUES (?,?,?,?,?,?,?,?,?)",
        rows,
    )
