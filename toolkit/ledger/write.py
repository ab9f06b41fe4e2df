"""Writing a ledger: one process, one thread, every promise on disk before it is acted on."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from toolkit.ledger import batches, rows
from toolkit.ledger.books import Books, orphans_become_uncertain
from toolkit.ledger.read import Reader
from toolkit.ledger.records import Fate, Intent, Settlement, Spend
from toolkit.ledger.schema import MIGRATIONS
from toolkit.store import Writer, lock
from toolkit.types import Problem, Usage, Verdict


class Ledger(Reader):
    """Write access: one process at a time."""

    def __init__(
        self,
        path: Path,
        *,
        cap_pico: int | None = None,
        secrets: Sequence[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._clock = clock
        self._lock = lock(path)
        try:
            self._writer = Writer(path, MIGRATIONS)
            super().__init__(path)
        except BaseException:
            os.close(self._lock)
            raise
        self._writer.now(orphans_become_uncertain)
        self._books = Books(self.spend(), cap_pico, secrets, clock)
        self._writer.save, self._writer.restore = self._books.save, self._books.restore

    def close(self) -> None:
        super().close()  # first, so that the writer is the last one out and tidies the WAL away
        self._writer.close()
        os.close(self._lock)

    def __enter__(self) -> "Ledger":
        return self

    @property
    def cap_pico(self) -> int | None:
        """What may be committed at most; None is no cap."""
        return self._books.cap_pico

    # -- what is asked

    def add_arm(
        self,
        name: str,
        model: str,
        provider: str,
        decoding: Mapping[str, Any],
        payload_sha: str,
        *,
        earlier: Sequence[str] = (),
    ) -> int:
        """The arm's row id; the same name and payload is the same arm, so a rerun tops it up.

        An arm that was known by one of the `earlier` payloads goes on under the new one, with its draws.
        """
        row = (name, model, provider, json.dumps(decoding, sort_keys=True), payload_sha)
        self._writer.now(lambda db: rows.add_arm(db, row, earlier))
        found = self.arm_id(name, payload_sha)
        assert found is not None
        return found

    def add_problems(self, problems: Sequence[Problem]) -> list[int]:
        """Row ids of these problems, in order."""
        new = [(p.id, p.sha, p.level, p.subject) for p in problems]
        self._writer.now(
            lambda db: db.executemany(
                "INSERT OR IGNORE INTO problem(key, sha, level, subject) VALUES (?,?,?,?)", new
            )
        )
        return [i for i in self.problem_ids(problems) if i is not None]

    def add_price(self, row: Mapping[str, Any]) -> int:
        text = json.dumps(row, sort_keys=True)
        self._writer.now(lambda db: db.execute("INSERT OR IGNORE INTO price(row_json) VALUES (?)", (text,)))
        return int(self._db.execute("SELECT id FROM price WHERE row_json=?", (text,)).fetchone()[0])

    def import_draws(self, arm: int, answers: Iterable[tuple[int, int, str, Usage | None]]) -> int:
        """Bring in generations made elsewhere: (problem, idx, text, usage); unpriced. How many were new."""
        return self._writer.now(lambda db: rows.import_draws(db, arm, answers, self._clock()))

    # -- what is spent

    async def reserve(self, intent: Intent) -> int:
        """The attempt's id, once its upper bound is on disk. Raises AtCap if that would pass the cap."""
        return await self._writer.soon(lambda db: self._books.reserve(db, intent))

    async def settle(self, attempt: int, answer: Settlement) -> None:
        """Record an answer: its cost replaces the reservation, its choices become draws."""
        await self._writer.soon(lambda db: self._books.settle(db, attempt, answer))

    async def fail(self, attempt: int, state: Fate, cause: str, http_status: int | None = None) -> None:
        """Record an attempt without an answer. Failed and released cost nothing; uncertain keeps its bound."""
        await self._writer.soon(lambda db: self._books.fail(db, attempt, state, cause, http_status))

    @property
    def spent(self) -> Spend:
        """Spend as of the last commit, without asking the database."""
        return self._books.spend

    def resolve(self, verdict: Literal["paid", "unpaid"], attempt: int | None = None) -> int:
        """The user's word on uncertain attempts (one, or all): how many changed."""
        state, cost = ("settled", "reserved_pico") if verdict == "paid" else ("failed", "0")
        changed = self._writer.now(
            lambda db: (
                db.execute(
                    f"UPDATE attempt SET state='{state}', cost_pico={cost} WHERE state='uncertain' AND (?1 IS NULL OR id=?1)",
                    (attempt,),
                ).rowcount
            )
        )
        self._books.spend = self.spend()
        return changed

    # -- what is handed over in batches

    async def add_batch(self, intent_key: str, intents: Sequence[Intent]) -> int:
        """The batch's id, once it and all its upper bounds are on disk. Raises AtCap if they would pass the cap."""
        return await self._writer.soon(lambda db: batches.add(self._books, db, intent_key, intents))

    async def batch_submitted(self, batch: int, remote_id: str) -> None:
        """The provider has taken the batch."""
        await self._writer.soon(lambda db: batches.submitted(db, batch, remote_id))

    async def close_batch(
        self, batch: int, state: Literal["done", "abandoned"], fate: Fate, cause: str
    ) -> None:
        """The batch will bring nothing more: attempts still waiting for it meet this fate."""
        await self._writer.soon(lambda db: batches.close(self._books, db, batch, state, (fate, cause)))

    async def strand_batches(self, arms: Collection[int | None]) -> int:
        """Batches that none of these arms can collect: what they may cost is uncertain. How many there are.

        They are left alone at their provider, and those of these arms that were stranded once are live again.
        """
        return await self._writer.soon(lambda db: batches.strand(self._books, db, frozenset(arms)))

    # -- what is concluded

    def add_verdicts(
        self, verifier: str, version: str, verdicts: Iterable[tuple[int, str | None, Verdict]]
    ) -> None:
        """Store (draw, gold, verdict), replacing older verdicts of the same verifier version.

        The identity of the text as served is taken here, whoever judged it.
        """
        verdicts = list(verdicts)
        exact = self._exact_shas([d for d, _, v in verdicts if not v.exact_sha])
        self._writer.now(lambda db: rows.insert_verdicts(db, (verifier, version), verdicts, exact))

    def _exact_shas(self, draws: Sequence[int]) -> dict[int, str]:
        found = {}
        for start in range(0, len(draws), 500):
            some = draws[start : start + 500]
            sql = f"SELECT draw, text FROM draw_text WHERE draw IN ({','.join('?' * len(some))})"
            for draw, text in self.rows(sql, some):
                found[draw] = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        return found
