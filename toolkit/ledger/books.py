"""What has been spent: every change of an attempt's state and of the totals, inside the writer thread."""

import json
import sqlite3
from collections.abc import Callable, Sequence

from toolkit.errors import redact
from toolkit.ledger.records import AtCap, Fate, Intent, Settlement, Spend
from toolkit.ledger.rows import insert_draws


class Books:
    """The attempts of a file and, beside it, what they come to: no request waits for a sum over all of them."""

    def __init__(
        self, spend: Spend, cap_pico: int | None, secrets: Sequence[str], clock: Callable[[], float]
    ) -> None:
        self.spend, self.cap_pico = spend, cap_pico
        self._secrets, self._clock = tuple(secrets), clock

    def save(self) -> Spend:
        return self.spend

    def restore(self, spend: Spend) -> None:
        """Back to what `save` said, after a rollback of the file."""
        self.spend = spend

    def reserve(self, db: sqlite3.Connection, intent: Intent, batch: int | None = None) -> int:
        """The attempt's id. Raises AtCap if its bound would pass the cap."""
        wanted = intent.reserved_pico or 0
        if self.cap_pico is not None and self.spend.committed + wanted > self.cap_pico:
            raise AtCap(wanted, self.spend.reserved - _held_by_batches(db))
        row = db.execute(
            "INSERT INTO attempt(arm, problem, purpose, first_index, n, parent, endpoint, state, price_id, "
            "reserved_pico, batch, created) VALUES (?,?,?,?,?,?,?,'reserved',?,?,?,?)",
            (
                intent.arm,
                intent.problem,
                intent.purpose,
                intent.first_index,
                intent.n,
                intent.parent,
                intent.endpoint,
                intent.price_id,
                intent.reserved_pico,
                batch,
                self._clock(),
            ),
        )
        self.spend = self.spend.plus(reserved=wanted)
        assert row.lastrowid is not None
        return row.lastrowid

    def settle(self, db: sqlite3.Connection, attempt: int, answer: Settlement) -> None:
        """The cost replaces the reservation, the choices become draws."""
        u = answer.usage
        tokens = (u.prompt, u.cached, u.output, u.thinking, u.source) if u else (None,) * 5
        effective = json.dumps(answer.effective, sort_keys=True) if answer.effective else None
        arm, problem, first, n, reserved = db.execute(
            "UPDATE attempt SET state='settled', cost_pico=?, prompt=?, cached=?, output=?, thinking=?, "
            "usage_source=?, http_status=?, request_id=?, model_version=?, effective_json=?, ended=? WHERE id=? "
            "RETURNING arm, problem, first_index, n, reserved_pico",
            (
                answer.cost_pico,
                *tokens,
                answer.http_status,
                answer.request_id,
                answer.model_version,
                effective,
                self._clock(),
                attempt,
            ),
        ).fetchone()
        insert_draws(db, attempt, arm, problem, first, answer.choices[:n])
        self.spend = self.spend.plus(reserved=-(reserved or 0), settled=answer.cost_pico or 0)

    def fail(
        self, db: sqlite3.Connection, attempt: int, fate: Fate, cause: str, http_status: int | None
    ) -> None:
        """No answer: failed and released cost nothing; uncertain keeps its bound."""
        (reserved,) = db.execute("SELECT reserved_pico FROM attempt WHERE id=?", (attempt,)).fetchone()
        cost = None if fate == "uncertain" else 0
        db.execute(
            "UPDATE attempt SET state=?, cause=?, cost_pico=?, http_status=?, ended=? WHERE id=?",
            (fate, redact(cause, self._secrets), cost, http_status, self._clock(), attempt),
        )
        held = (reserved or 0) if fate == "uncertain" else 0
        self.spend = self.spend.plus(reserved=-(reserved or 0), uncertain=held)


def _held_by_batches(db: sqlite3.Connection) -> int:
    """Picodollars of attempts that wait for a batch: no request in flight here will free them."""
    (held,) = db.execute(
        "SELECT COALESCE(SUM(reserved_pico), 0) FROM attempt WHERE state='reserved' AND batch IS NOT NULL"
    ).fetchone()
    return int(held)


def orphans_become_uncertain(db: sqlite3.Connection) -> None:
    """A writer that died left requests whose fate nobody knows; they keep counting against the cap.

    Those of a batch are not among them: the batch is still with its provider, or can be looked for there.
    """
    db.execute(
        "UPDATE attempt SET state='uncertain', cause='the process ended before the answer was stored' "
        "WHERE state IN ('reserved','sent') AND (batch IS NULL OR batch NOT IN "
        "(SELECT id FROM batch WHERE state IN ('intent','submitted')))"
    )
