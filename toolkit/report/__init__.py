"""What a run says: the page, the verdict in a sentence, the comparison in a table."""

from toolkit.report.findings import comparison, verdict
from toolkit.report.page import write
from toolkit.report.several import compare

__all__ = ["compare", "comparison", "verdict", "write"]
