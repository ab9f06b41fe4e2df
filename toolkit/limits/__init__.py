"""Every limit of one model of one account, enforced together at one gate."""

from toolkit.limits.gauges import Load
from toolkit.limits.limiter import Limiter, Slot

__all__ = ["Limiter", "Load", "Slot"]
