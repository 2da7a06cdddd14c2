"""One attempt as others see it: a line of the log at DEBUG."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from refold_async._errors import clip
from refold_async._logs import about

if TYPE_CHECKING:
    from refold_async._protocol import Answer, Request

logger = logging.getLogger("refold_async.transport")


def is_observed() -> bool:
    """Tell whether anybody wants to see attempts."""
    return logger.isEnabledFor(logging.DEBUG)


def tell(request: Request, answer: Answer, seconds: float) -> None:
    """Say what an attempt came to, and how long it took."""
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
