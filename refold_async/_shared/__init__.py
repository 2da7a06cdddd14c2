"""What processes with one credential share, over one Redis."""

from refold_async._shared.asked import asked_for, check_once, tag_of
from refold_async._shared.once import Once
from refold_async._shared.settings import Shared, check_shared, name_of

__all__ = [
    "Once",
    "Shared",
    "asked_for",
    "check_once",
    "check_shared",
    "name_of",
    "tag_of",
]
