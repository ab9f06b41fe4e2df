"""The ledger: one SQLite file per run, the truth about what was asked, paid and answered.

One process writes (a lock file says so), through one thread that commits in groups with
`synchronous=FULL`; any number of processes read. Money is integer picodollars; NULL is unpriced.

Spend rule: an upper bound is reserved and committed before a request leaves, and settled by the
server's usage. Whatever happens, billed <= settled + uncertain <= cap.
"""

from toolkit.ledger.read import Reader
from toolkit.ledger.records import (
    AtCap,
    BatchPart,
    DrawRow,
    Fate,
    Intent,
    LiveBatch,
    Purpose,
    Settlement,
    Spend,
)
from toolkit.ledger.schema import MIGRATIONS
from toolkit.ledger.write import Ledger

__all__ = [
    "MIGRATIONS",
    "AtCap",
    "BatchPart",
    "DrawRow",
    "Fate",
    "Intent",
    "Ledger",
    "LiveBatch",
    "Purpose",
    "Reader",
    "Settlement",
    "Spend",
]
