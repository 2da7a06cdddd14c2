"""Who sends when, fairly, and how fast: one pace for all clients with one credential."""

from refold_async._pacing.budget import Budget
from refold_async._pacing.pace import Pace
from refold_async._pacing.turns import Priority

__all__ = [
    "Budget",
    "Pace",
    "Priority",
]
