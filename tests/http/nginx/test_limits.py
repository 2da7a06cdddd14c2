"""Behind a real nginx: what it refuses, closes, compresses and redirects."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import (
    ApiError,
    RateLimitError,
    RetryPolicy,
    UnexpectedReplyError,
)
from tests.support.endings import MODES
from tests.support.nginx import ending_of
from tests.support.wire import STARTS, wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from refold_async import RefoldClient
    from refold_async.emulator import Emulator
    from tests.support.nginx import Behind

LIMITED_STARTS = """
    location / { proxy_pass http://service; }
    location ~ /execute$ { proxy_pass http://service; limit_req zone=starts; }
"""


# -- too large, too many ---------------------------------------------------------------------


@MODES
@pytest.mark.parametrize(
    ("settings", "size"),
    [
        pytest.param("client_max_body_size 10k;", 20_000, id="10k"),
        pytest.param("", 2_000_000, id="1m, the default"),
    ],
)
async def test_a_body_the_proxy_finds_too_large_is_refused_at_once(
    behind: Behind, emulator: Emulator, mode: str, settings: str, size: int
) -> None:
    """A 413 page is a refusal in every mode, also while the body is still being sent."""
    refold, _ = behind(emulator, settings, mode=mode)
    with pytest.raises(ApiError, match="413 Request Entity Too Large") as caught:
        await refold.execute("wf_1", slug="s", payload={"n": "x" * size})
    assert (ApiError, 413) == (type(caught.value), caught.value.status)
    assert len(str(caught.value)) < 500
    assert (refold.stats.requests["execute"], dict(emulator.counts), emulator.runs) == (1, {}, [])


async def test_a_page_is_not_quoted(behind: Behind, emulator: Emulator) -> None:
    """Of a page with somebody's branding nothing reaches the message."""
    page = f'location = /413 {{ return 413 "<html>{"x" * 3000}</html>"; }}'
    settings = "client_max_body_size 10; error_page 413 /413;"
    refold, _ = behind(emulator, settings, locations=page)
    with pytest.raises(ApiError, match="HTTP 413") as caught:
        await refold.execute("wf_1", slug="s", payload={"n": "x" * 100})
    assert caught.value.message == "an HTML page"


async def test_a_large_body_that_is_let_through_arrives_whole(
    behind: Behind, emulator: Emulator
) -> None:
    """Nginx keeps it in a file before it passes it on."""
    refold, _ = behind(emulator, "client_max_body_size 4m;")
    payload = {"n": "x" * 2_000_000}
    await refold.execute("wf_1", slug="s", payload=payload)
    assert [payload] == [run.payload for run in emulator.runs]


def limit(rate: str, *more: str) -> str:
    """Write the settings that limit starts."""
    zone = f"limit_req_zone $server_port zone=starts:1m rate={rate};"
    return " ".join((zone, *more))


@MODES
async def test_a_429_of_the_proxy_starts_nothing(
    behind: Behind, emulator: Emulator, mode: str
) -> None:
    """Whoever is still over the limit when patience ends gets the refusal, not an unknown."""
    settings = limit("1r/m", "limit_req_status 429;")
    refold, _ = behind(emulator, settings, locations=LIMITED_STARTS, mode=mode)
    await refold.execute("wf_1", slug="s")
    with pytest.raises(RateLimitError, match="HTTP 429"):  # with the next one, or before it
        await refold.execute("wf_1", slug="s")
    assert (len(emulator.runs), refold.stats.unknown) == (1, 0)


@MODES
async def test_a_503_of_the_proxy_is_uncertain(
    behind: Behind, emulator: Emulator, mode: str
) -> None:
    """A page tells nothing about whose overload it was: `safe` doesn't send again."""
    refold, _ = behind(emulator, limit("1r/m"), locations=LIMITED_STARTS, mode=mode)
    await refold.execute("wf_1", slug="s")
    tries = 4 if mode == "transient" else 1
    assert ("unknown", tries) == await ending_of(refold.execute("wf_1", slug="s"))
    assert (1, tries - 1) == (len(emulator.runs), refold.stats.possible_duplicates)
    assert (1, 1 + tries) == (emulator.counts["execute"], refold.stats.requests["execute"])


@pytest.mark.parametrize(
    ("status", "mode", "flagged"),
    [
        pytest.param(429, "safe", False, id="429, safe"),
        pytest.param(429, "transient", False, id="429, transient"),
        pytest.param(503, "transient", True, id="503, transient"),
    ],
)
async def test_a_limit_that_is_ridden_out_costs_no_second_run(
    behind: Behind, emulator: Emulator, status: int, mode: Any, flagged: bool
) -> None:
    """Calls at the same time are let through one after the other, each of them once."""
    settings = limit("20r/s", f"limit_req_status {status};")
    policy = RetryPolicy(mode=mode, attempts=1000, wait=0.03, max_wait=0.03, settle=0)
    refold, server = behind(emulator, settings, locations=LIMITED_STARTS, retry=policy)
    handles = await asyncio.gather(*(refold.execute("wf_1", slug="s") for _ in range(6)))
    assert f"{status} -" in await server.answered(7)
    assert {h.execution_id for h in handles} == {run.execution_id for run in emulator.runs}
    assert len(emulator.runs) == 6
    assert flagged is any(handle.possible_duplicate for handle in handles)


# -- connections and encodings ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "connections"), [("keepalive_requests 2;", 25), ("keepalive_timeout 0;", 50)]
)
async def test_connections_the_proxy_closes_lose_no_call(
    behind: Behind, emulator: Emulator, settings: str, connections: int
) -> None:
    """Fifty calls over four connections at a time are fifty runs, at the first try each."""
    refold, server = behind(emulator, settings, max_connections=4)
    handles = await asyncio.gather(*(refold.execute("wf_1", slug="s") for _ in range(50)))
    assert 50 == len({handle.execution_id for handle in handles}) == len(emulator.runs)
    assert (refold.stats.retries, refold.stats.unknown) == (0, 0)
    assert connections <= await server.connections(50)


async def test_a_compressed_reply_is_read(behind: Behind, emulator: Emulator) -> None:
    """Nginx compresses what the service sent plain."""
    settings = "gzip on; gzip_proxied any; gzip_types application/json; gzip_min_length 1;"
    refold, server = behind(emulator, settings)
    result = await refold.run("wf_1", slug="s", payload={"n": "x" * 1000})
    assert result.output == {"n": "x" * 1000}
    assert await server.answered(2) == ["200 gzip"] * 2


# -- prefixes and redirects ------------------------------------------------------------------


@pytest.mark.parametrize("end", ["", "/"])
async def test_a_path_prefix_is_kept(
    connect: Callable[..., RefoldClient], behind: Behind, emulator: Emulator, end: str
) -> None:
    """A service below a path of the proxy is used like any other."""
    prefix = "location /refold/ { proxy_pass http://service/; }"
    _, server = behind(emulator, locations=prefix)
    refold = connect(server, base_url=f"{server.base_url}/refold{end}")
    result = await refold.run("wf_1", slug="s", payload={"n": 5})
    listed = [execution.execution_id async for execution in refold.executions.list()]
    assert ({"n": 5}, [result.execution_id]) == (result.output, listed)


@MODES
@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_to_another_origin_is_not_followed(
    behind: Behind, emulator: Emulator, mode: str, status: int
) -> None:
    """Neither a start nor a read goes there, and so no credential does."""
    async with wire(STARTS) as other:
        there = f"return {status} {other.base_url}$request_uri;"
        refold, server = behind(emulator, locations=there, mode=mode)
        for call in (refold.execute("wf_1", slug="s"), refold.executions.get("e1")):
            with pytest.raises(UnexpectedReplyError, match="redirects to") as caught:
                await call
            assert (status, True) == (caught.value.status, other.base_url in str(caught.value))
            assert server.api_key not in str(caught.value)
    assert (0, [f"{status} -"] * 2) == (other.connections, await server.answered(2))
    assert dict(emulator.counts) == {}
