"""A web service that starts one run per contact in the request, and answers as they settle.

The answer is a stream of JSON lines. A customer who hangs up cancels no run.
"""

import json
import logging
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

from aiohttp import web

from refold_async import ExecutionRequest, RefoldClient

logger = logging.getLogger(__name__)

REFOLD = web.AppKey("refold", RefoldClient)


async def with_client(app: web.Application) -> AsyncIterator[None]:
    async with RefoldClient() as refold:
        app[REFOLD] = refold
        yield
        for handle in refold.orphans:  # runs whose customer hung up
            logger.warning("nobody waited for execution %s", handle.execution_id)


def requests(contacts: list[dict[str, Any]]) -> Iterator[ExecutionRequest]:
    for contact in contacts:
        yield ExecutionRequest("wf_contact", slug="demo", payload=contact, key=contact["email"])


async def create_contacts(request: web.Request) -> web.StreamResponse:
    refold = request.app[REFOLD].for_account(request.match_info["account"])
    contacts = await request.json()
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    async with aclosing(refold.map(requests(contacts), concurrency=100)) as items:
        async for item in items:
            line = {"contact": item.key, "outcome": item.outcome, "run": item.execution_id}
            await response.write(json.dumps(line).encode() + b"\n")
    return response


def make_app() -> web.Application:
    app = web.Application()
    app.cleanup_ctx.append(with_client)
    app.add_routes([web.post("/accounts/{account}/contacts", create_contacts)])
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=int(os.environ.get("PORT", "8000")))
