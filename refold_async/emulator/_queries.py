"""What a query or a header says, read strictly; what makes no sense is refused."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from ._replies import RefusedError, refusal
from ._service import Call, Service

_DATE = len("2026-06-16")
_LAST_OF_DAY = 86_399.999
_NUMBER = re.compile("-?[0-9]{1,9}")


def paging(service: Service, call: Call) -> tuple[int, int]:
    """The page and limit asked for; a limit out of range is moved into it or refused."""
    behaviour = service.behaviour
    page, limit = _number(call.query, "page", 1), _number(call.query, "limit", 10)
    if limit > behaviour.max_page_size and behaviour.larger_page == "refused":
        raise RefusedError(refusal(400, f"limit must not exceed {behaviour.max_page_size}"))
    return max(1, page), min(max(1, limit), behaviour.max_page_size)


def chosen(query: Mapping[str, str], field: str) -> str:
    """The value a list is filtered by; empty for none, and for `All`."""
    value = query.get(field, "")
    return "" if value.lower() == "all" else value


def moment(text: str | None, default: float, *, days: bool = False, end: bool = False) -> float:
    """A time in epoch seconds; one without a zone is in UTC, and a date is a whole day.

    Args:
        text: The time, or None.
        default: What holds without one.
        days: Whether the time of the day is not looked at.
        end: Whether the end of a day is meant, else its begin.
    """
    if not text:
        return default
    if days:
        text = text[:_DATE]
    try:
        found = datetime.fromisoformat(text)
        instant = (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise RefusedError(refusal(400, f"not an ISO 8601 date: {text}")) from None
    return instant + _LAST_OF_DAY if end and len(text) <= _DATE else instant


def is_true(text: str | None) -> bool:
    """Whether a flag is set."""
    return text is not None and text.lower() == "true"


def _number(query: Mapping[str, str], field: str, default: int) -> int:
    text = query.get(field) or str(default)
    if not _NUMBER.fullmatch(text):
        raise RefusedError(refusal(400, f"{field} must be a number"))
    return int(text)
