"""What a run says: the page, the verdict in a sentence, the comparison in a table."""

from toolkit.report.findings import comparison, verdict
from toolkit.report.page import write

__all__ = ["comparison", "verdict", "write"]
