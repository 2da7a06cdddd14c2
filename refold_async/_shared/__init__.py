"""What processes share over one Redis: imported by the first client that does."""

from refold_async._shared.asked import asked_for, check_once, tag_of
from refold_async._shared.ear import Ear
from refold_async._shared.once import Once
from refold_async._shared.rate import Rate

__all__ = [
    "Ear",
    "Once",
    "Rate",
    "asked_for",
    "check_once",
    "tag_of",
]
