"""Reading a ledger, beside a process that may be writing it."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from toolkit.errors import InputError
from toolkit.ledger.records import BatchPart, DrawRow, LiveBatch, Spend
from toolkit.store import trouble
from toolkit.types import Problem


class Reader:
    """Read access to a ledger; safe beside a running writer."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise InputError(f"{path}: no ledger here yet: run `pricematch sample` first")
        self.path = path
        self._db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, check_same_thread=False)
        try:
            self._db.execute("SELECT 1 FROM sqlite_master")  # opens it
        except sqlite3.Error as error:
            self._db.close()
            raise trouble(path, error) from error

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def rows(self, sql: str, args: Sequence[Any] | Mapping[str, Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Rows of any query, for reports and measurements."""
        return iter(self._db.execute(sql, args))

    def arms(self) -> list[tuple[int, str, str, str]]:
        """(id, name, model, payload_sha) of every arm, in the order they came."""
        return list(self._db.execute("SELECT id, name, model, payload_sha FROM arm ORDER BY id"))

    def arm_id(self, name: str, payload_sha: str) -> int | None:
        row = self._db.execute(
            "SELECT id FROM arm WHERE name=? AND payload_sha=?", (name, payload_sha)
        ).fetchone()
        return row[0] if row else None

    def problem_ids(self, problems: Iterable[Problem]) -> list[int | None]:
        """Row ids of problems, in their order; None where the ledger does not know one."""
        known = {(k, s): i for i, k, s in self._db.execute("SELECT id, key, sha FROM problem")}
        return [known.get((p.id, p.sha)) for p in problems]

    def missing(self, arm: int, problems: Sequence[int], k: int | Sequence[int]) -> list[Sequence[int]]:
        """For each problem the draw indices below k (one for all, or one each) that the arm does not have yet."""
        ks = [k] * len(problems) if isinstance(k, int) else k
        count = {
            p: (n, top)
            for p, n, top in self._db.execute(
                "SELECT problem, COUNT(*), MAX(idx) FROM draw WHERE arm=? AND idx<? GROUP BY problem",
                (arm, max(ks, default=0)),
            )
        }
        return [self._holes(arm, p, k, *count.get(p, (0, -1))) for p, k in zip(problems, ks, strict=True)]

    def _holes(self, arm: int, problem: int, k: int, have: int, top: int) -> Sequence[int]:
        if have == top + 1:  # no hole: the common case needs no second look
            return range(min(have, k), k)
        found = {
            i for (i,) in self._db.execute("SELECT idx FROM draw WHERE arm=? AND problem=?", (arm, problem))
        }
        return [i for i in range(k) if i not in found]

    def draws(self, arms: Sequence[int]) -> Iterator[DrawRow]:
        """All draws of these arms with their texts, in draw order."""
        marks = ",".join("?" * len(arms))
        for row in self._db.execute(
            f"SELECT d.id, d.arm, d.problem, d.idx, d.finish, t.text FROM draw d JOIN draw_text t ON t.draw=d.id "
            f"WHERE d.arm IN ({marks}) ORDER BY d.id",
            tuple(arms),
        ):
            yield DrawRow(*row)

    def verdicts(
        self, arm: int, verifier: str, version: str
    ) -> Iterator[tuple[int, int, int, str | None, str | None, str]]:
        """(draw, problem, idx, outcome, norm_sha, finish) of an arm's draws; outcome None where unverified."""
        return self.rows(
            "SELECT d.id, d.problem, d.idx, v.outcome, v.norm_sha, d.finish FROM draw d LEFT JOIN verdict v "
            "ON v.draw=d.id AND v.verifier=? AND v.version=? WHERE d.arm=? ORDER BY d.problem, d.idx",
            (verifier, version, arm),
        )

    def usage(self, arm: int) -> dict[str, int | None]:
        """Totals over an arm's answered attempts: requests, tokens, cost_pico (None where any is unpriced)."""
        keys = ("requests", "draws", "prompt", "cached", "output", "thinking", "cost_pico", "unpriced")
        row = self._db.execute(
            "SELECT COUNT(*), (SELECT COUNT(*) FROM draw WHERE arm=:arm), SUM(prompt), SUM(cached), SUM(output), "
            "SUM(thinking), SUM(cost_pico), SUM(cost_pico IS NULL) FROM attempt WHERE arm=:arm AND state='settled'",
            {"arm": arm},
        ).fetchone()
        totals: dict[str, int | None] = {k: v or 0 for k, v in zip(keys, row, strict=True)}
        if totals.pop("unpriced"):
            totals["cost_pico"] = None
        return totals

    def spend(self) -> Spend:
        rows = dict(
            self._db.execute(
                "SELECT state, SUM(COALESCE(cost_pico, reserved_pico, 0)) FROM attempt GROUP BY state"
            )
        )
        return Spend(
            settled=rows.get("settled", 0) + rows.get("failed", 0),
            reserved=rows.get("reserved", 0) + rows.get("sent", 0),
            uncertain=rows.get("uncertain", 0),
        )

    def committed(self, arm: int) -> int:
        """Picodollars of one arm that count against the cap."""
        sql = "SELECT SUM(COALESCE(cost_pico, reserved_pico, 0)) FROM attempt WHERE arm=? AND state <> 'released'"
        return int(self._db.execute(sql, (arm,)).fetchone()[0] or 0)

    def live_batches(self) -> list[LiveBatch]:
        """Batches whose results are still to come, oldest first."""
        found = self._db.execute(
            "SELECT id, intent_key, remote_id, state FROM batch WHERE state IN ('intent','submitted') ORDER BY id"
        )
        return [LiveBatch(*row) for row in found]

    def batch_parts(self, batch: int) -> list[BatchPart]:
        """The attempts of a batch that have no answer yet."""
        found = self._db.execute(
            "SELECT id, arm, problem, first_index, n, reserved_pico FROM attempt "
            "WHERE state='reserved' AND batch=? ORDER BY id",
            (batch,),
        )
        return [BatchPart(*row) for row in found]

    def attempts(self) -> dict[str, int]:
        """Attempts by state."""
        return dict(self._db.execute("SELECT state, COUNT(*) FROM attempt GROUP BY state"))

    def count_draws(self, arm: int | None = None) -> int:
        """Draws of the whole ledger, or of one arm."""
        where, args = ("", ()) if arm is None else (" WHERE arm=?", (arm,))
        return int(self._db.execute(f"SELECT COUNT(*) FROM draw{where}", args).fetchone()[0])
