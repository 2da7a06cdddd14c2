"""A service that is told by Refold when its runs end: with aiohttp.

PUBLIC_URL is where Refold reaches it, as in https://service.example.
"""

import logging
import os
from collections.abc import AsyncIterator

from aiohttp import web

from refold_async import RefoldClient, webhooks

logger = logging.getLogger("service")
REFOLD = web.AppKey("refold", RefoldClient)


async def on_event(event: webhooks.WebhookEvent) -> None:
    if event.kind == webhooks.WebhookEventKind.CONNECTION_EXPIRED:
        logger.warning("account %s has to connect again", event.linked_account_id)


async def create_contact(request: web.Request) -> web.Response:
    refold = request.app[REFOLD].for_account(request.match_info["account"])
    result = await refold.run("wf_contact", slug="demo", payload=await request.json())
    return web.json_response(result.output, status=201)


async def subscribed(app: web.Application) -> AsyncIterator[None]:
    refold = app[REFOLD]
    await refold.webhooks.ensure(
        os.environ["PUBLIC_URL"] + "/refold/webhooks/",
        events=[*webhooks.WORKFLOW_EVENTS, webhooks.WebhookEventKind.CONNECTION_EXPIRED],
    )
    yield
    await refold.aclose(grace=10)


def make_app() -> web.Application:
    app = web.Application()
    refold = app[REFOLD] = RefoldClient()
    app.cleanup_ctx.append(subscribed)
    app.router.add_post("/accounts/{account}/contacts", create_contact)
    take = webhooks.aiohttp_handler(refold, on_event=on_event)
    app.router.add_post("/refold/webhooks/", take)
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=int(os.environ.get("PORT", "8000")))
