"""Batches and their attempts, inside the writer thread: written down, closed, stranded, taken up again."""

import sqlite3
from collections.abc import Sequence

from toolkit.ledger.books import Books
from toolkit.ledger.records import AtCap, Fate, Intent

STRANDED = "its batch belongs to an arm as it stood before"


def add(books: Books, db: sqlite3.Connection, intent_key: str, intents: Sequence[Intent]) -> int:
    """The batch's id, with all its parts reserved. Raises AtCap if they do not fit together."""
    before = books.spend
    row = db.execute("INSERT INTO batch(intent_key, state) VALUES (?,'intent')", (intent_key,)).lastrowid
    assert row is not None
    try:
        for intent in intents:
            books.reserve(db, intent, row)
    except AtCap:
        books.restore(before)
        raise
    return row


def submitted(db: sqlite3.Connection, batch: int, remote_id: str) -> None:
    db.execute("UPDATE batch SET state='submitted', remote_id=? WHERE id=?", (remote_id, batch))


def close(books: Books, db: sqlite3.Connection, batch: int, state: str, end: tuple[Fate, str]) -> None:
    """Its parts without an answer meet this (fate, cause)."""
    waiting = db.execute("SELECT id FROM attempt WHERE state='reserved' AND batch=?", (batch,)).fetchall()
    for (attempt,) in waiting:
        books.fail(db, attempt, *end, None)
    db.execute("UPDATE batch SET state=? WHERE id=?", (state, batch))


def strand(books: Books, db: sqlite3.Connection, arms: frozenset[int | None]) -> int:
    """How many batches none of these arms can collect; their own that were stranded once are live again."""
    stranded = 0
    for batch, arm, state in _with_money(db):
        if state == "stranded" and arm in arms:
            _take_up(books, db, batch)
        elif arm not in arms:
            stranded += 1
            close(books, db, batch, "stranded", ("uncertain", STRANDED))
    return stranded


def _take_up(books: Books, db: sqlite3.Connection, batch: int) -> None:
    """Its arm is back. What the user has resolved meanwhile stays resolved."""
    of = (batch, STRANDED)
    (held,) = db.execute(
        "SELECT COALESCE(SUM(reserved_pico), 0) FROM attempt WHERE batch=? AND state='uncertain' AND cause=?",
        of,
    ).fetchone()
    db.execute(
        "UPDATE attempt SET state='reserved', cause=NULL, ended=NULL WHERE batch=? AND state='uncertain' AND cause=?",
        of,
    )
    known = "CASE WHEN remote_id IS NULL THEN 'intent' ELSE 'submitted' END"
    db.execute(f"UPDATE batch SET state={known} WHERE id=?", (batch,))
    books.spend = books.spend.plus(reserved=held, uncertain=-held)


def _with_money(db: sqlite3.Connection) -> list[tuple[int, int, str]]:
    """(batch, its arm, its state) of every batch that still holds money."""
    return db.execute(
        "SELECT DISTINCT b.id, a.arm, b.state FROM batch b JOIN attempt a ON a.batch=b.id "
        "WHERE (b.state IN ('intent','submitted') AND a.state='reserved') "
        "OR (b.state='stranded' AND a.state='uncertain')"
    ).fetchall()
