"""Calls and attempts as others see them: in the log at DEBUG, and in telemetry."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from typing import TYPE_CHECKING

from refold_async import _telemetry as seam
from refold_async._errors import clip
from refold_async._logs import Log, about
from refold_async._protocol import STARTING, TEMPLATES, read_started

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextlib import AbstractContextManager
    from typing import Any

    from refold_async._clock import Clock
    from refold_async._config import Secret
    from refold_async._protocol import Answer, Request
    from refold_async._telemetry import Scope
    from refold_async._transport.attempt import Attempt

    Exchange = Callable[[Request, Secret, int, Attempt], Coroutine[Any, Any, Answer]]

logger = Log("transport")


def call_of(request: Request, clock: Clock) -> AbstractContextManager[Scope | None]:
    """Give the scope of a call, if there is telemetry."""
    if seam.telemetry is None:
        return nullcontext()
    return seam.telemetry.call(request.ids, clock, starts=request.operation in STARTING)


def tell_started(request: Request, answer: Answer, scope: Scope | None) -> None:
    """Say which run a call has come to."""
    started = read_started(answer, request)
    if scope is not None:
        scope.note(
            execution_id=started.execution_id,
            status=started.result and str(started.result.status),
            attempts=started.attempts,
            possible_duplicate=started.possible_duplicate or None,
        )
    logger.debug(
        "%s gave execution %s, after %d tries",
        request.operation,
        started.execution_id,
        started.attempts,
        extra=about(
            **request.ids | {"execution_id": started.execution_id}, attempts=started.attempts
        ),
    )


def observed(
    exchange: Exchange, request: Request, clock: Clock, base_url: str, resends: int
) -> Exchange:
    """Give an exchange that is seen by whoever looks, as a part of the caller's trace.

    Args:
        exchange: sends a request and reads the answer.
        request: what it will send.
        clock: what tells the time.
        base_url: where to.
        resends: how often the same was sent before.
    """
    scope: Scope | None = None
    if seam.telemetry is not None:
        scope = seam.telemetry.attempt(
            clock,
            method=request.method,
            template=TEMPLATES[request.operation],
            base_url=base_url,
            target=request.target,
            resends=resends,
        )

    async def seen(request: Request, secret: Secret, phase: int, attempt: Attempt) -> Answer:
        with scope or nullcontext():
            began = clock.monotonic()
            answer = await exchange(request, secret, phase, attempt)
            if scope is not None:
                scope.note(status=answer.status, error=answer.error)
            if logger.is_enabled_for(logging.DEBUG):
                _log(request, answer, clock.monotonic() - began)
            return answer

    return seen


def _log(request: Request, answer: Answer, seconds: float) -> None:
    error = answer.error
    logger.debug(
        "%s: %s %s came to %s after %.3f s%s",
        request.operation,
        request.method,
        clip(request.target, 200),
        "no reply" if answer.status is None else f"HTTP {answer.status}",
        seconds,
        "" if error is None else f" ({clip(error.describe(), 200)})",
        extra=about(
            **request.ids,
            status=answer.status,
            request_id=None if error is None else error.request_id,
        ),
    )
