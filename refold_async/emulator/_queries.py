"""What a query or a header says, read strictly; what makes no sense is refused."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from ._replies import RefusedError, refusal
from ._service import Call, Service

_NUMBER = re.compile("-?[0-9]{1,9}")


def paging(service: Service, call: Call) -> tuple[int, int]:
    """The page and limit asked for; a limit out of range is moved into it."""
    page, limit = _number(call.query, "page", 1), _number(call.query, "limit", 10)
    return max(1, page), min(max(1, limit), service.behaviour.max_page_size)


def chosen(query: Mapping[str, str], field: str) -> str:
    """The value a list is filtered by; empty for none, and for `All`."""
    value = query.get(field, "")
    return "" if value.lower() == "all" else value


def moment(text: str | None, default: float) -> float:
    """A time in epoch seconds; one without a zone is in UTC."""
    if not text:
        return default
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise RefusedError(refusal(400, f"not an ISO 8601 date: {text}")) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def is_true(text: str | None) -> bool:
    """Whether a flag is set."""
    return text is not None and text.lower() == "true"


def _number(query: Mapping[str, str], field: str, default: int) -> int:
    text = query.get(field) or str(default)
    if not _NUMBER.fullmatch(text):
        raise RefusedError(refusal(400, f"{field} must be a number"))
    return int(text)
