"""A web service that runs workflows for its customers, each with a linked account of its own.

One client lives as long as the service; `for_account` makes a view of it per request.
"""

import os
from collections.abc import AsyncIterator

from aiohttp import web

from refold_async import (
    ApiError,
    ExecutionOutcomeUnknownError,
    RefoldClient,
    TransportError,
    WaitTimeoutError,
)

REFOLD = web.AppKey("refold", RefoldClient)


async def with_client(app: web.Application) -> AsyncIterator[None]:
    async with RefoldClient() as refold:
        app[REFOLD] = refold
        yield


async def create_contact(request: web.Request) -> web.Response:
    refold = request.app[REFOLD].for_account(request.match_info["account"])
    payload = await request.json()
    try:
        handle = await refold.execute("wf_contact", slug="demo", payload=payload, timeout=10)
    except ExecutionOutcomeUnknownError as error:
        # Not a 503: that would invite the customer to try again.
        return web.json_response({"may_have_started": error.instance_tag}, status=500)
    except (ApiError, TransportError):
        return web.json_response({"error": "try again later"}, status=503)
    try:
        result = await handle.result(timeout=20)
    except WaitTimeoutError:
        return web.json_response({"execution_id": handle.execution_id}, status=202)
    return web.json_response(result.output, status=201)


def make_app() -> web.Application:
    app = web.Application()
    app.cleanup_ctx.append(with_client)
    app.add_routes([web.post("/accounts/{account}/contacts", create_contact)])
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=int(os.environ.get("PORT", "8000")))
