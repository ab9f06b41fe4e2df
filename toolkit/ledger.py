"""The ledger: one SQLite file per run, the truth about what was asked, paid and answered.

One process writes (a lock file says so), through one thread that commits in groups with
`synchronous=FULL`; any number of processes read. Money is integer picodollars; NULL is unpriced.

Spend rule: an upper bound is reserved and committed before a request leaves, and settled by the
server's usage. Whatever happens, billed <= settled + uncertain <= cap.
"""

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from toolkit.errors import InputError, PricematchError, redact
from toolkit.store import Writer, lock
from toolkit.types import Choice, Problem, Usage, Verdict

Fate = Literal["failed", "uncertain", "released"]
Purpose = Literal["sample", "pilot", "judge", "check", "evaluate"]

# Each entry moves the file one version up; `PRAGMA user_version` says how many were applied.
MIGRATIONS = (
    """
    CREATE TABLE arm(
        id INTEGER PRIMARY KEY, name TEXT NOT NULL, model TEXT NOT NULL, provider TEXT NOT NULL,
        decoding_json TEXT NOT NULL, payload_sha TEXT NOT NULL, UNIQUE(name, payload_sha));
    CREATE TABLE problem(
        id INTEGER PRIMARY KEY, key TEXT NOT NULL, sha TEXT NOT NULL, level TEXT, subject TEXT,
        UNIQUE(key, sha));
    CREATE TABLE price(id INTEGER PRIMARY KEY, row_json TEXT NOT NULL UNIQUE);
    CREATE TABLE batch(
        id INTEGER PRIMARY KEY, intent_key TEXT NOT NULL UNIQUE, remote_id TEXT, state TEXT NOT NULL);
    CREATE TABLE attempt(
        id INTEGER PRIMARY KEY,
        arm INTEGER NOT NULL REFERENCES arm, problem INTEGER NOT NULL REFERENCES problem,
        purpose TEXT NOT NULL CHECK(purpose IN ('sample','pilot','judge','check','evaluate')),
        first_index INTEGER NOT NULL, n INTEGER NOT NULL,
        parent INTEGER REFERENCES attempt, batch INTEGER REFERENCES batch, endpoint TEXT,
        state TEXT NOT NULL
            CHECK(state IN ('reserved','sent','settled','failed','uncertain','released')),
        cause TEXT, price_id INTEGER REFERENCES price,
        reserved_pico INTEGER, cost_pico INTEGER,
        prompt INTEGER, cached INTEGER, output INTEGER, thinking INTEGER,
        usage_source TEXT CHECK(usage_source IN ('server','tokenizer','estimate')),
        http_status INTEGER, request_id TEXT, model_version TEXT, effective_json TEXT,
        created REAL NOT NULL, sent REAL, ended REAL);
    CREATE INDEX attempt_open ON attempt(state) WHERE state IN ('reserved','sent','uncertain');
    CREATE INDEX attempt_arm ON attempt(arm);
    CREATE TABLE draw(
        id INTEGER PRIMARY KEY, attempt INTEGER NOT NULL REFERENCES attempt,
        arm INTEGER NOT NULL REFERENCES arm, problem INTEGER NOT NULL REFERENCES problem,
        idx INTEGER NOT NULL, finish TEXT NOT NULL, UNIQUE(arm, problem, idx));
    CREATE TABLE draw_text(draw INTEGER PRIMARY KEY REFERENCES draw, text TEXT NOT NULL, reasoning TEXT);
    CREATE TABLE verdict(
        draw INTEGER NOT NULL REFERENCES draw, verifier TEXT NOT NULL, version TEXT NOT NULL,
        gold TEXT, outcome TEXT NOT NULL, extracted TEXT, norm_sha TEXT NOT NULL,
        PRIMARY KEY(draw, verifier, version)) WITHOUT ROWID;
    """,
    # Two more identities of a solution; NULL where it was judged before they existed.
    """
    ALTER TABLE verdict ADD COLUMN exact_sha TEXT;
    ALTER TABLE verdict ADD COLUMN equations_sha TEXT;
    """,
)


STRANDED = "its batch belongs to an arm as it stood before"


class AtCap(PricematchError):
    """The reservation would pass the cap. `open_pico` may still be freed by requests in flight."""

    def __init__(self, wanted: int, open_pico: int) -> None:
        super().__init__("the cap is reached")
        self.wanted, self.open_pico = wanted, open_pico


@dataclass(frozen=True, slots=True)
class Intent:
    """One request about to be sent, and the most it can cost."""

    arm: int
    problem: int
    first_index: int
    n: int
    reserved_pico: int | None  # None: unpriced
    price_id: int | None = None
    purpose: Purpose = "sample"
    parent: int | None = None
    endpoint: str | None = None


@dataclass(frozen=True, slots=True)
class LiveBatch:
    """A batch that may be with its provider: `intent` until its id there is known, then `submitted`."""

    id: int
    intent_key: str  # travels with the batch, so that a lost one is found again
    remote_id: str | None
    state: Literal["intent", "submitted"]


@dataclass(frozen=True, slots=True)
class BatchPart:
    """An attempt that waits for its batch."""

    attempt: int
    arm: int
    problem: int
    first_index: int
    n: int
    reserved_pico: int | None


@dataclass(frozen=True, slots=True)
class Settlement:
    """What an answered request cost and brought."""

    choices: Sequence[Choice]
    usage: Usage | None
    cost_pico: int | None
    http_status: int | None = None
    request_id: str = ""
    model_version: str = ""
    effective: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Spend:
    """Picodollars by fate. What counts against the cap is their sum."""

    settled: int = 0
    reserved: int = 0  # in flight now
    uncertain: int = 0  # fate unknown: counts until the user resolves it

    @property
    def committed(self) -> int:
        return self.settled + self.reserved + self.uncertain

    def plus(self, *, settled: int = 0, reserved: int = 0, uncertain: int = 0) -> "Spend":
        return Spend(self.settled + settled, self.reserved + reserved, self.uncertain + uncertain)


@dataclass(frozen=True, slots=True)
class DrawRow:
    """One draw with its text, as verification and export read it."""

    id: int
    arm: int
    problem: int
    idx: int
    finish: str
    text: str


class Reader:
    """Read access to a ledger; safe beside a running writer."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise InputError(f"{path}: no ledger here yet: run `pricematch sample` first")
        self.path = path
        self._db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, check_same_thread=False)

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
        self.cap_pico, self._secrets, self._clock = cap_pico, tuple(secrets), clock
        self._lock = lock(path)
        try:
            self._writer = Writer(path, MIGRATIONS)
            super().__init__(path)
        except BaseException:
            os.close(self._lock)
            raise
        self._writer.now(_orphans_become_uncertain)
        self._spend = self.spend()
        self._writer.save, self._writer.restore = lambda: self._spend, self._restore

    def close(self) -> None:
        super().close()  # first, so that the writer is the last one out and tidies the WAL away
        self._writer.close()
        os.close(self._lock)

    def __enter__(self) -> "Ledger":
        return self

    def _restore(self, spend: Spend) -> None:
        self._spend = spend

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
        self._writer.now(lambda db: _add_arm(db, row, earlier))
        found = self.arm_id(name, payload_sha)
        assert found is not None
        return found

    def add_problems(self, problems: Sequence[Problem]) -> list[int]:
        """Row ids of these problems, in order."""
        rows = [(p.id, p.sha, p.level, p.subject) for p in problems]
        self._writer.now(
            lambda db: db.executemany(
                "INSERT OR IGNORE INTO problem(key, sha, level, subject) VALUES (?,?,?,?)", rows
            )
        )
        return [i for i in self.problem_ids(problems) if i is not None]

    def add_price(self, row: Mapping[str, Any]) -> int:
        text = json.dumps(row, sort_keys=True)
        self._writer.now(lambda db: db.execute("INSERT OR IGNORE INTO price(row_json) VALUES (?)", (text,)))
        return int(self._db.execute("SELECT id FROM price WHERE row_json=?", (text,)).fetchone()[0])

    # -- what is spent

    async def reserve(self, intent: Intent) -> int:
        """The attempt's id, once its upper bound is on disk. Raises AtCap if that would pass the cap."""
        return await self._writer.soon(lambda db: self._reserve(db, intent))

    async def add_batch(self, intent_key: str, intents: Sequence[Intent]) -> int:
        """The batch's id, once it and all its upper bounds are on disk. Raises AtCap if they would pass the cap."""
        return await self._writer.soon(lambda db: self._add_batch(db, intent_key, intents))

    async def batch_submitted(self, batch: int, remote_id: str) -> None:
        """The provider has taken the batch."""
        await self._writer.soon(
            lambda db: db.execute(
                "UPDATE batch SET state='submitted', remote_id=? WHERE id=?", (remote_id, batch)
            )
        )

    async def close_batch(
        self, batch: int, state: Literal["done", "abandoned"], fate: Fate, cause: str
    ) -> None:
        """The batch will bring nothing more: attempts still waiting for it meet this fate."""
        await self._writer.soon(lambda db: self._close_batch(db, batch, state, fate, cause))

    async def strand_batches(self, arms: Collection[int | None]) -> int:
        """Batches that none of these arms can collect: what they may cost is uncertain. How many there are.

        They are left alone at their provider, and those of these arms that were stranded once are live again.
        """
        return await self._writer.soon(lambda db: self._strand(db, frozenset(arms)))

    async def settle(self, attempt: int, answer: Settlement) -> None:
        """Record an answer: its cost replaces the reservation, its choices become draws."""
        await self._writer.soon(lambda db: self._settle(db, attempt, answer))

    async def fail(
        self,
        attempt: int,
        state: Fate,
        cause: str,
        http_status: int | None = None,
    ) -> None:
        """Record an attempt without an answer. Failed and released cost nothing; uncertain keeps its bound."""
        await self._writer.soon(lambda db: self._fail(db, attempt, state, cause, http_status))

    @property
    def spent(self) -> Spend:
        """Spend as of the last commit, without asking the database."""
        return self._spend

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
        self._spend = self.spend()
        return changed

    def import_draws(self, arm: int, answers: Iterable[tuple[int, int, str, Usage | None]]) -> int:
        """Bring in generations made elsewhere: (problem, idx, text, usage); unpriced. How many were new."""
        return self._writer.now(lambda db: _import(db, arm, answers, self._clock()))

    # -- what is concluded

    def add_verdicts(
        self, verifier: str, version: str, verdicts: Iterable[tuple[int, str | None, Verdict]]
    ) -> None:
        """Store (draw, gold, verdict), replacing older verdicts of the same verifier version.

        The identity of the text as served is taken here, whoever judged it.
        """
        verdicts = list(verdicts)
        exact = self._exact_shas([d for d, _, v in verdicts if not v.exact_sha])
        rows = [
            (
                d,
                verifier,
                version,
                gold,
                v.outcome.value,
                v.extracted,
                v.norm_sha,
                v.exact_sha or exact.get(d),
                v.equations_sha,
            )
            for d, gold, v in verdicts
        ]
        self._writer.now(
            lambda db: db.executemany(
                "INSERT OR REPLACE INTO verdict(draw, verifier, version, gold, outcome, extracted, norm_sha, "
                "exact_sha, equations_sha) VALUES (?,?,?,?,?,?,?,?,?)",
                rows,
            )
        )

    def _exact_shas(self, draws: Sequence[int]) -> dict[int, str]:
        found = {}
        for start in range(0, len(draws), 500):
            some = draws[start : start + 500]
            sql = f"SELECT draw, text FROM draw_text WHERE draw IN ({','.join('?' * len(some))})"
            for draw, text in self.rows(sql, some):
                found[draw] = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        return found

    # -- inside the writer thread

    def _add_batch(self, db: sqlite3.Connection, intent_key: str, intents: Sequence[Intent]) -> int:
        before = self._spend
        row = db.execute("INSERT INTO batch(intent_key, state) VALUES (?,'intent')", (intent_key,)).lastrowid
        assert row is not None
        try:
            for intent in intents:
                self._reserve(db, intent, row)
        except AtCap:
            self._spend = before
            raise
        return row

    def _close_batch(self, db: sqlite3.Connection, batch: int, state: str, fate: str, cause: str) -> None:
        waiting = db.execute("SELECT id FROM attempt WHERE state='reserved' AND batch=?", (batch,)).fetchall()
        for (attempt,) in waiting:
            self._fail(db, attempt, fate, cause, None)
        db.execute("UPDATE batch SET state=? WHERE id=?", (state, batch))

    def _strand(self, db: sqlite3.Connection, arms: frozenset[int | None]) -> int:
        stranded = 0
        for batch, arm, state in _batch_arms(db):
            if state == "stranded" and arm in arms:
                self._take_up(db, batch)
            elif arm not in arms:
                stranded += 1
                self._close_batch(db, batch, "stranded", "uncertain", STRANDED)
        return stranded

    def _take_up(self, db: sqlite3.Connection, batch: int) -> None:
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
        self._spend = self._spend.plus(reserved=held, uncertain=-held)

    def _reserve(self, db: sqlite3.Connection, intent: Intent, batch: int | None = None) -> int:
        wanted = intent.reserved_pico or 0
        if self.cap_pico is not None and self._spend.committed + wanted > self.cap_pico:
            raise AtCap(wanted, self._spend.reserved - _held_by_batches(db))
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
        self._spend = self._spend.plus(reserved=wanted)
        assert row.lastrowid is not None
        return row.lastrowid

    def _settle(self, db: sqlite3.Connection, attempt: int, answer: Settlement) -> None:
        arm, problem, first, n, reserved = db.execute(
            "SELECT arm, problem, first_index, n, reserved_pico FROM attempt WHERE id=?", (attempt,)
        ).fetchone()
        u = answer.usage
        tokens = (u.prompt, u.cached, u.output, u.thinking, u.source) if u else (None,) * 5
        effective = json.dumps(answer.effective, sort_keys=True) if answer.effective else None
        db.execute(
            "UPDATE attempt SET state='settled', cost_pico=?, prompt=?, cached=?, output=?, thinking=?, "
            "usage_source=?, http_status=?, request_id=?, model_version=?, effective_json=?, ended=? WHERE id=?",
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
        )
        _insert_draws(db, attempt, arm, problem, first, answer.choices[:n])
        self._spend = self._spend.plus(reserved=-(reserved or 0), settled=answer.cost_pico or 0)

    def _fail(
        self, db: sqlite3.Connection, attempt: int, state: str, cause: str, http_status: int | None
    ) -> None:
        (reserved,) = db.execute("SELECT reserved_pico FROM attempt WHERE id=?", (attempt,)).fetchone()
        cost = None if state == "uncertain" else 0
        db.execute(
            "UPDATE attempt SET state=?, cause=?, cost_pico=?, http_status=?, ended=? WHERE id=?",
            (state, redact(cause, self._secrets), cost, http_status, self._clock(), attempt),
        )
        held = (reserved or 0) if state == "uncertain" else 0
        self._spend = self._spend.plus(reserved=-(reserved or 0), uncertain=held)


def _add_arm(db: sqlite3.Connection, row: tuple[str, ...], earlier: Sequence[str]) -> None:
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


def _insert_draws(
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


def _import(
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


def _batch_arms(db: sqlite3.Connection) -> list[tuple[int, int, str]]:
    """(batch, its arm, its state) of every batch that still holds money."""
    return db.execute(
        "SELECT DISTINCT b.id, a.arm, b.state FROM batch b JOIN attempt a ON a.batch=b.id "
        "WHERE (b.state IN ('intent','submitted') AND a.state='reserved') "
        "OR (b.state='stranded' AND a.state='uncertain')"
    ).fetchall()


def _held_by_batches(db: sqlite3.Connection) -> int:
    """Picodollars of attempts that wait for a batch: no request in flight here will free them."""
    (held,) = db.execute(
        "SELECT COALESCE(SUM(reserved_pico), 0) FROM attempt WHERE state='reserved' AND batch IS NOT NULL"
    ).fetchone()
    return int(held)


def _orphans_become_uncertain(db: sqlite3.Connection) -> None:
    """A writer that died left requests whose fate nobody knows; they keep counting against the cap.

    Those of a batch are not among them: the batch is still with its provider, or can be looked for there.
    """
    db.execute(
        "UPDATE attempt SET state='uncertain', cause='the process ended before the answer was stored' "
        "WHERE state IN ('reserved','sent') AND (batch IS NULL OR batch NOT IN "
        "(SELECT id FROM batch WHERE state IN ('intent','submitted')))"
    )
