"""What a line of the log is about, for whoever reads logs as data: the ids that are known of it."""

from __future__ import annotations


def about(**known: object) -> dict[str, object]:
    """Give the `extra` of a line: what is known of what it tells, under the names of errors."""
    return {name: value for name, value in known.items() if value is not None}
