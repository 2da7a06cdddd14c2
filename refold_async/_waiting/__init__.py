"""Every run somebody waits for is settled, cheaply and fairly."""

from refold_async._waiting.tracker import Tracker
from refold_async._waiting.watch import Watch

__all__ = [
    "Tracker",
    "Watch",
]
