"""Every limit of one model of one account, enforced together at one gate."""

from toolkit.limits.gauges import Load, spend_window
from toolkit.limits.limiter import Limiter, Slot
from toolkit.limits.windows import Window

__all__ = ["Limiter", "Load", "Slot", "Window", "spend_window"]
