"""What a batch is fed with: either kind of iterable, one request at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable, Mapping
from types import CoroutineType
from typing import Any, TypeAlias

from refold_async._batch.models import ExecutionRequest
from refold_async._errors import ConfigError
from refold_async._logs import Log

logger = Log("batch")

Requests: TypeAlias = Iterable[ExecutionRequest] | AsyncIterable[ExecutionRequest]

END: Any = object()
"""What an `Input` gives when there is no more."""


_LIKE_THIS = "make it ExecutionRequest(workflow_id, slug=..., payload=...)"


def not_a_request(index: int, item: object) -> ConfigError:
    """Say that an item is no request, and how it becomes one."""
    if isinstance(item, CoroutineType):
        words = "is a coroutine; execute starts a run by itself, so"
    else:
        words = f"must be an ExecutionRequest, not {type(item).__name__};"
    return ConfigError(f"item {index} {words} {_LIKE_THIS}", field="requests")


def _check(requests: object) -> None:
    """Refuse what can be iterated over, and holds no requests, before anything is sent."""
    if isinstance(requests, str | bytes | bytearray | Mapping):
        raise ConfigError(
            f"must hold ExecutionRequests, not be {type(requests).__name__}; give a list of"
            " ExecutionRequest(workflow_id, slug=..., payload=...)",
            field="requests",
        )
    if isinstance(requests, list | tuple):
        for index, item in enumerate(requests):
            if not isinstance(item, ExecutionRequest):
                raise not_a_request(index, item)


class Input:
    """Either kind of iterable, one request at a time.

    Attributes:
        pulled: how many requests it has given.
        ended: whether it has been read to its end.
        at_hand: whether the rest of it is there already, and has an end: a list or a tuple.

    Raises:
        ConfigError: it can't be iterated over.
    """

    def __init__(self, requests: Requests | None) -> None:
        _check(requests)
        self.pulled = 0
        self.ended = False
        self.at_hand = isinstance(requests, list | tuple)
        self._many: Any = None
        self._error: Exception | None = None
        self._is_cut = False
        try:
            if isinstance(requests, AsyncIterable):
                self._one_by_one: Any = aiter(requests)
            else:
                self._many = iter(requests)  # type: ignore[arg-type]
        except TypeError:
            raise ConfigError(
                f"must be an iterable or async iterable, not {type(requests).__name__}; give"
                " a list of ExecutionRequest(workflow_id, slug=..., payload=...)",
                field="requests",
            ) from None
        self._source = self._one_by_one if self._many is None else self._many

    @property
    def place(self) -> str:
        """What the request that was given last is called, if it has no key."""
        return str(self.pulled - 1)

    async def next(self) -> Any:
        """Give the next request, or `END`."""
        if self._many is not None:
            request = next(self._many, END)
        else:
            request = await self._next_of_async()
        if request is not END:
            self.pulled += 1
            return request
        self.ended = not self._is_cut and self._error is None
        if self._error is not None:
            raise self._error
        return END

    async def _next_of_async(self) -> Any:
        """Give the next one; a cancellation that is not ours is an error of the input."""
        try:
            return await anext(self._one_by_one, END)
        except asyncio.CancelledError as error:
            reader = asyncio.current_task()
            if reader is None or reader.cancelling():
                raise
            raise RuntimeError("what the input waited for was cancelled") from error

    async def read_all(self, *stops: asyncio.Event | None) -> list[Any]:
        """Read everything, to be given again by `next`, with what the input raised at its end.

        It ends early when the batch is asked to stop, by whichever event.
        """
        requests: list[Any] = []
        loop = asyncio.get_running_loop()
        reading = loop.create_task(self._read_into(requests))
        tasks = [reading, *(loop.create_task(stop.wait()) for stop in stops if stop is not None)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._is_cut = not reading.done()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        self._many, self.pulled, self.ended, self.at_hand = iter(requests), 0, False, True
        return requests

    async def _read_into(self, requests: list[Any]) -> None:
        try:
            while (request := await self.next()) is not END:
                requests.append(request)
        except Exception as error:  # noqa: BLE001 - the caller's own, raised at the end of `next`
            self._error = error

    async def aclose(self) -> None:
        """End a generator that was not read to its end: what it holds open is not left to chance.

        Anything else stays as it is: the caller may go on with it.
        """
        try:
            if isinstance(self._source, AsyncGenerator):
                await self._source.aclose()
            elif isinstance(self._source, Generator):
                self._source.close()
        except Exception:
            logger.exception("the input of the batch raised as it was closed")
