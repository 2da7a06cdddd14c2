"""Seconds as people give them, checked before anything goes by them."""

from typing import cast

LONGEST = 100 * 365 * 86_400.0
"""Beyond a hundred years there are no dates to tell."""


def check_seconds(seconds: object, what: str) -> float:
    """Give a number of seconds back, as a plain one.

    Args:
        seconds: What was given.
        what: What it is for, as the message says it: `a delay is`.

    Raises:
        ValueError: It is no number from 0 on, or beyond a hundred years.
    """
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not is_number or not 0 <= cast("float", seconds) <= LONGEST:
        raise ValueError(f"{what} a number of seconds from 0 to 100 years, not {seconds!r}")
    return float(cast("float", seconds))
