"""Events: what starts runs without saying which."""

from collections.abc import Iterable, Mapping
from typing import Any

import attrs


def _names(starts: Iterable[str]) -> tuple[str, ...]:
    return tuple(starts)


@attrs.frozen(kw_only=True)
class Event:
    """One event that workflows are started by.

    Attributes:
        name: Its name, as a trigger gives it.
        starts: Ids or aliases of the workflows it starts, of those the account may run.
        slug: The application it belongs to; None for any.
        idempotency_header: The header from which a trigger's idempotency key is taken.
        idempotency_field: The field of the payload from which it is taken instead.
        within: Seconds in which a trigger with the same key starts nothing.
    """

    name: str
    starts: tuple[str, ...] = attrs.field(converter=_names)
    slug: str | None = None
    idempotency_header: str | None = None
    idempotency_field: str | None = None
    within: float = 300.0

    def key(self, headers: Mapping[str, str], payload: dict[str, Any]) -> str | None:
        """What makes a repeat a repeat; None if nothing does."""
        found: Any = None
        if self.idempotency_header is not None:
            found = headers.get(self.idempotency_header)
        elif self.idempotency_field is not None:
            found = payload.get(self.idempotency_field)
        return None if found is None else str(found)


@attrs.frozen(kw_only=True)
class Fired:
    """One trigger that was accepted.

    Attributes:
        event: The event's name.
        linked_account_id: Whose event it was.
        payload: What came with it.
        key: The idempotency key, or None.
        duplicate: Whether it repeated another, and so started nothing.
        execution_ids: The runs it started.
        at: When it came, epoch seconds.
    """

    event: str
    linked_account_id: str
    payload: dict[str, Any]
    key: str | None
    duplicate: bool
    execution_ids: tuple[str, ...]
    at: float


class Events:
    """The events of one Refold, and what was made of them."""

    def __init__(self) -> None:
        self.fired: list[Fired] = []
        self._by_name: dict[str, Event] = {}
        self._begun: dict[tuple[str, str, str], float] = {}

    def add(self, event: Event) -> None:
        """Make an event known."""
        self._by_name[event.name] = event

    def find(self, name: object, slug: str | None) -> Event | None:
        """The event of this name, if it is the application's."""
        event = self._by_name.get(name) if isinstance(name, str) else None
        return event if event is not None and event.slug in {None, slug} else None

    def is_repeat(self, event: Event, account: str, key: str | None, now: float) -> bool:
        """Whether the same was fired a short while ago; if not, it is now."""
        if key is None:
            return False
        mark = (event.name, account, key)
        began = self._begun.get(mark)
        if began is not None and now - began < event.within:
            return True
        self._begun[mark] = now
        return False
