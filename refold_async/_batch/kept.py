"""Requests that a journal keeps, so that a batch can be retried without its input."""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING, Any

from refold_async._batch.models import ExecutionRequest
from refold_async._batch.source import END, Input
from refold_async._checks import plain, to_seconds
from refold_async._errors import JournalError

if TYPE_CHECKING:
    from refold_async._batch.fan import Submission
    from refold_async._batch.journal import Journal

_AT_ONCE = 500
_PLAIN = ("workflow_id", "slug", "linked_account_id", "config_id", "instance_tag")
_FLAGS = ("sync", "unique_tag", "include_headers")


def dump_request(request: ExecutionRequest, submission: Submission) -> str:
    """Write down what an item asks for, its payload as it is sent."""
    kept: dict[str, Any] = {name: getattr(request, name) for name in (*_PLAIN, *_FLAGS)}
    kept = {name: plain(value) if isinstance(value, str) else value for name, value in kept.items()}
    if request.timeout is not None:
        kept["timeout"] = to_seconds(request.timeout)
    return json.dumps({**kept, "payload": json.loads(submission.request.payload)})


class KeptInput(Input):
    """The requests of what a journal knows as failed, rejected, unknown or unsent.

    They are read as they are wanted, in the order of their keys, each once.
    """

    def __init__(self, journal: Journal) -> None:
        super().__init__([])
        self.at_hand = False  # they are many, perhaps
        self._journal = journal
        self._group: deque[tuple[str, str]] = deque()
        self._after = ""

    @property
    def place(self) -> str:
        """What the request that was given last is called, if it has no key: its place once."""
        return self._after.removeprefix("#")

    async def check(self) -> None:
        """See whether all of them are there.

        Raises:
            JournalError: the journal does not keep them.
        """
        if await self._journal.lacks_requests():
            raise JournalError(
                self._journal.path,
                "it does not keep what its items asked for",
                "give the input of that batch again; a batch with keep_payloads=True has its"
                " journal keep it",
            )

    async def next(self) -> Any:
        """Give the next request, or `END`."""
        if not self._group:
            self._group.extend(await self._journal.retriable(self._after, _AT_ONCE))
        if not self._group:
            self.ended = True
            return END
        self._after, kept = self._group.popleft()
        self.pulled += 1
        has_key = not self._after.startswith("#") or self._after.startswith("##")
        return ExecutionRequest(**json.loads(kept), key=self.place if has_key else None)
