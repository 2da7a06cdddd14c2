"""How a batch is to be run, as a value that is checked when it is made."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Callable
from typing import Any

import attrs

from refold_async._batch.models import BatchProgress
from refold_async._checks import (
    Seconds,
    check_count,
    check_flag,
    positive_seconds,
    seconds_from_zero,
)
from refold_async._errors import ConfigError


def _concurrency(value: object) -> int | None:
    return None if value is None else check_count(value, "concurrency")


def _failures(value: object) -> int | None:
    return None if value is None else check_count(value, "stop_after_failures")


def _stop(stop: object) -> Any:
    if stop is not None and not isinstance(stop, asyncio.Event):
        raise ConfigError(
            f"must be an asyncio.Event, not {type(stop).__name__}; set it to stop the batch",
            field="stop",
        )
    return stop


def _drain(drain: Seconds | None) -> float | None:
    return None if drain is None else seconds_from_zero(drain, "drain")


def _progress(progress: object) -> Any:
    if progress is None:
        return None
    if not callable(progress):
        raise ConfigError(
            f"must be a function that takes a BatchProgress, and is a {type(progress).__name__}",
            field="progress",
        )
    call = getattr(progress, "__call__", None)  # noqa: B004 - of an object of a class
    if inspect.iscoroutinefunction(progress) or inspect.iscoroutinefunction(call):
        raise ConfigError(
            "must be a plain function: nobody awaits it; in one, asyncio.create_task(...) or"
            " queue.put_nowait(...) hands the figures on",
            field="progress",
        )
    return progress


@attrs.frozen(kw_only=True)
class Wishes:
    """The arguments of `RefoldClient.run_batch` and `retry_batch`; see there.

    Raises:
        ConfigError: one of them is wrong.
    """

    journal: str | os.PathLike[str] | None = None
    concurrency: int | None = attrs.field(default=None, converter=_concurrency)
    wait: bool = True
    output: bool = True
    stop_after_failures: int | None = attrs.field(default=None, converter=_failures)
    progress: Callable[[BatchProgress], object] | None = attrs.field(
        default=None, converter=_progress
    )
    validate: bool = False
    stop: asyncio.Event | None = attrs.field(default=None, converter=_stop)
    timeout: float | None = attrs.field(default=None, converter=positive_seconds)
    drain: float | None = attrs.field(default=None, converter=_drain)
    keep_payloads: bool = False
    out: str | os.PathLike[str] | None = None
    retry: bool = False
    """Whether what failed is started anew, and nothing else is begun."""

    def __attrs_post_init__(self) -> None:
        for flag in ("wait", "output", "validate", "keep_payloads"):
            check_flag(getattr(self, flag), flag)
        if self.keep_payloads and self.journal is None:
            raise ConfigError("give the journal that is to keep them, too", field="keep_payloads")
