"""Tables on stdout, or the same as JSON."""

from toolkit.tables.plans import pilot, plan
from toolkit.tables.prices import catalog, finding, price_differences
from toolkit.tables.results import audit, comparison, differences, measures, repriced, status

__all__ = [
    "audit",
    "catalog",
    "comparison",
    "differences",
    "finding",
    "measures",
    "pilot",
    "plan",
    "price_differences",
    "repriced",
    "status",
]
