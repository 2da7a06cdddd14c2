"""A real nginx between the client and the emulator, where one is installed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.endings import at_once
from tests.support.nginx import EXECUTABLE, PASS_ON, nginx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from refold_async import RefoldClient
    from refold_async.emulator import Emulator
    from tests.support.nginx import Behind, Nginx


@pytest.fixture
def behind(connect: Callable[..., RefoldClient], tmp_path: Path) -> Iterator[Behind]:
    """Make a client of a server, and the one nginx between them: `behind(server, settings)`."""
    if EXECUTABLE is None:
        pytest.skip("nginx is not installed: apt-get install nginx-light")
    with contextlib.ExitStack() as stack:

        def make(
            server: Any,
            settings: str = "",
            *,
            underscores: str = "on",
            locations: str = PASS_ON,
            mode: str = "transient",
            **options: Any,
        ) -> tuple[RefoldClient, Nginx]:
            settings = f"underscores_in_headers {underscores}; {settings}"
            between = stack.enter_context(nginx(tmp_path, server, settings, locations=locations))
            return connect(between, **({"retry": at_once(mode)} | options)), between

        yield make


@pytest.fixture
def emulator(emulator: Emulator) -> Emulator:
    """A local Refold whose workflows answer their payload: at once, or when they are told to."""
    emulator.workflow("wf_1", slug="s")(dict)
    emulator.workflow("wf_long", slug="s", duration=None)(dict)
    return emulator
