"""Requests to the emulator made without the SDK: as documents by aiohttp, as bytes by a socket."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, NamedTuple

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from refold_async.emulator import Emulator

V1 = "/api/v1"
V2 = "/api/v2/public"
RUN = f"{V2}/workflow/wf/execute"


class Answer(NamedTuple):
    """What came back; `body` is the document, or the text of what is no JSON."""

    status: int
    headers: Mapping[str, str]
    body: Any


def credentials(emulator: Emulator, account: str = "acct_1", **more: str) -> dict[str, str]:
    """Headers that speak for an account with the API key."""
    return {"x-api-key": emulator.api_key, "linked_account_id": account, "slug": "hubspot", **more}


async def ask(
    emulator: Emulator,
    method: str,
    path: str,
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> Answer:
    """Make one request, for acct_1 unless headers say otherwise; an empty header is left out."""
    sent = {k: v for k, v in {**credentials(emulator), **(headers or {})}.items() if v}
    async with aiohttp.request(method, emulator.base_url + path, headers=sent, **more) as answer:
        text = await answer.text()
        is_json = answer.content_type == "application/json"
        return Answer(answer.status, answer.headers, read_json(text) if is_json else text)


async def start(emulator: Emulator, payload: Any = None, **headers: str) -> str:
    """Start a run of workflow wf and give its id."""
    answer = await ask(emulator, "POST", RUN, headers, json={"payload": payload or {}})
    assert answer.status == 200, answer
    return str(answer.body["execution_id"])


async def document(emulator: Emulator, execution_id: str) -> Any:
    """Read an execution."""
    return (await ask(emulator, "GET", f"{V2}/execution/{execution_id}")).body


async def listed(emulator: Emulator, query: str = "") -> Any:
    """Read the entries of one page of the list."""
    return (await ask(emulator, "GET", f"{V2}/execution?{query}")).body["docs"]


async def response(emulator: Emulator, execution_id: str) -> Any:
    """Read an execution's output."""
    return (await ask(emulator, "GET", f"{V1}/execution/{execution_id}/response")).body


def head(emulator: Emulator, first: str = f"POST {RUN}", *lines: bytes) -> bytes:
    """Write the head of a request that ends the connection."""
    usual = [f"{name}: {value}".encode() for name, value in credentials(emulator).items()]
    whole = [f"{first} HTTP/1.1".encode(), b"Host: x", b"Connection: close", *usual, *lines]
    return b"\r\n".join(whole) + b"\r\n\r\n"


def post(emulator: Emulator, body: bytes, *lines: bytes) -> bytes:
    """Write a whole request to execute wf."""
    length = f"Content-Length: {len(body)}".encode()
    return head(emulator, f"POST {RUN}", b"Content-Type: application/json", length, *lines) + body


async def send(emulator: Emulator, data: bytes) -> Answer:
    """Send bytes as they are and read the one answer to its end."""
    port = int(emulator.base_url.split(":")[2].split("/")[0])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(60):
            for at in range(0, len(data), 65_536):  # no more of it in memory than needs be
                writer.write(data[at : at + 65_536])
                await writer.drain()
            raw = await reader.read()
    finally:
        writer.close()
    return _parsed(raw)


def _parsed(raw: bytes) -> Answer:
    top, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = top.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    is_json = headers.get("content-type", "").startswith("application/json")
    text = body.decode()
    return Answer(int(first.split()[1]), headers, read_json(text) if is_json and text else text)


def read_json(text: str) -> Any:
    """Read JSON as everybody else does: NaN and its like are none."""
    return json.loads(text, parse_constant=lambda name: _fail(f"{name} on the wire"))


def _fail(why: str) -> Any:
    raise AssertionError(why)
