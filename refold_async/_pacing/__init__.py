"""Who sends when, fairly, and how fast: one pace for all clients with one credential."""

from refold_async._pacing.budget import Budget, Priority

__all__ = [
    "Budget",
    "Priority",
]
