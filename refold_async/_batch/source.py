"""What a batch is fed with: either kind of iterable, one request at a time."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from typing import Any, TypeAlias

from refold_async._batch.models import ExecutionRequest
from refold_async._errors import ConfigError

Requests: TypeAlias = Iterable[ExecutionRequest] | AsyncIterable[ExecutionRequest]

END: Any = object()
"""What an `Input` gives when there is no more."""


class Input:
    """Either kind of iterable, one request at a time.

    Raises:
        ConfigError: it can't be iterated over.
    """

    def __init__(self, requests: Requests) -> None:
        self.pulled = 0
        self._many: Any = None
        self._error: Exception | None = None
        try:
            if isinstance(requests, AsyncIterable):
                self._one_by_one = aiter(requests)
            else:
                self._many = iter(requests)
        except TypeError:
            raise ConfigError(
                f"must be an iterable or async iterable, not {type(requests).__name__}",
                field="requests",
            ) from None

    async def next(self) -> Any:
        """Give the next request, or `END`."""
        if self._many is not None:
            request = next(self._many, END)
        else:
            request = await anext(self._one_by_one, END)
        self.pulled += request is not END
        if request is END and self._error is not None:
            raise self._error
        return request

    async def read_all(self) -> list[Any]:
        """Read everything, to be given again by `next`, with what the input raised at its end."""
        requests = []
        try:
            while (request := await self.next()) is not END:
                requests.append(request)
        except Exception as error:  # noqa: BLE001 - the caller's own, raised at the end of `next`
            self._error = error
        self._many, self.pulled = iter(requests), 0
        return requests
