"""`refold demo --live` as a child process, against an emulator in the test's own process."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from refold_async.emulator import Emulator
    from tests.cli.conftest import Ended

    Refold = Callable[..., Awaitable[Ended]]

EMAIL = {"email": "jane@example.com"}


@pytest.fixture
def settings(emulator: Emulator) -> dict[str, str]:
    """The environment that points at the emulator."""

    @emulator.workflow("wf_1", slug="crm", duration=0.4)
    def contact(payload: dict[str, Any]) -> Any:
        return payload

    return {
        "REFOLD_BASE_URL": emulator.base_url,
        "REFOLD_API_KEY": emulator.api_key,
        "REFOLD_LINKED_ACCOUNT_ID": "acct_1",
    }


async def test_live_plays_the_scenes_that_make_sense(
    refold: Refold, emulator: Emulator, settings: dict[str, str]
) -> None:
    """It says what it will start, starts exactly that, and shows how it ended."""
    ended = await refold(
        *("demo", "--live", "wf_1", "crm", "--payload", json.dumps(EMAIL), "--fan-out", "3"),
        **settings,
    )

    assert (ended.code, ended.err) == (0, "")
    intent = ended.out.splitlines()[:3]
    assert intent == [
        f"About to start 6 runs of workflow wf_1 (slug crm) at {emulator.base_url}",
        "for linked account acct_1: 1 async, 1 sync, 3 at once, 1 whose wait times out.",
        f"Payload of each: {EMAIL}",
    ]
    assert "3 of 3 runs from one asyncio.gather ended well" in ended.out
    assert "WaitTimeoutError after 0.3 s" in ended.out
    assert "A run that fails" not in ended.out
    assert [run.payload for run in emulator.runs] == [EMAIL] * 6
    assert {run.linked_account_id for run in emulator.runs} == {"acct_1"}


async def test_unreachable_service_is_exit_code_3(
    refold: Refold, settings: dict[str, str], unused_tcp_port: int
) -> None:
    """No connection: advice about the address, and no traceback."""
    settings["REFOLD_BASE_URL"] = f"http://127.0.0.1:{unused_tcp_port}"
    ended = await refold("demo", "--live", "wf_1", "crm", **settings)

    assert (ended.code, ended.err) == (3, "")
    assert "ConnectionFailedError" in ended.out
    assert ended.out.splitlines()[-1] == (
        "Stopped at this failure. Check host and port of REFOLD_BASE_URL, and that the service is"
        " up: nothing listens there."
    )


async def test_missing_settings_are_exit_code_2(refold: Refold) -> None:
    """The message names the variables, and nothing is sent."""
    ended = await refold("demo", "--live", "wf_1", "crm")

    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        "refold: --live needs REFOLD_API_KEY with REFOLD_LINKED_ACCOUNT_ID, or"
        " REFOLD_SESSION_TOKEN. Nothing was sent.\n"
    )
