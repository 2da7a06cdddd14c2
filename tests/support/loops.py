"""The kind of event loop the tests run on: REFOLD_TEST_LOOP is `uvloop`, `eager` or nothing."""

from __future__ import annotations

import asyncio
import importlib
import os


class _Eager(asyncio.DefaultEventLoopPolicy):
    """Loops on which a task begins where it is made (Python 3.12 and later)."""

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        """Make one."""
        loop = super().new_event_loop()
        loop.set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009 - not in 3.11
        return loop


def choose() -> None:
    """Have all loops made from now on be of the kind that is asked for."""
    kind = os.environ.get("REFOLD_TEST_LOOP")
    if kind == "uvloop":
        uvloop = importlib.import_module("uvloop")  # installed for these runs only
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    elif kind == "eager":
        asyncio.set_event_loop_policy(_Eager())
