"""Contacts in your customers' CRMs, made by Refold: a service to start from, with aiohttp.web.

PUBLIC_URL is where Refold reaches it, as in https://service.example; without it runs are looked at.
"""

import json
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import cast

import attrs
from aiohttp import web

from refold_async import (
    ConfigError,
    Execution,
    ExecutionError,
    ExecutionOutcomeUnknownError,
    NotFoundError,
    PayloadError,
    RefoldClient,
    RefoldError,
    WaitTimeoutError,
    webhooks,
    workflow,
)

logger = logging.getLogger("contacts")
routes = web.RouteTableDef()
REFOLD = web.AppKey("refold", RefoldClient)

ACCOUNTS = {"key-of-acme": "acct_acme", "key-of-bell": "acct_bell"}  # yours: a table, or a JWT


@attrs.frozen
class Contact:
    id: int
    email: str


create_contact = workflow("wf_contact", slug="demo", output=Contact)
import_contacts = workflow("wf_slow", slug="demo")


def for_customer(request: web.Request) -> RefoldClient:
    """The client, for the linked account of whoever asks: cheap, so one per request."""
    account = ACCOUNTS.get(request.headers.get("X-API-Key", ""))
    if account is None:
        raise web.HTTPUnauthorized(text="no such key")
    return request.app[REFOLD].for_account(account)


async def known_run(request: web.Request) -> Execution:
    """A run of the customer's own; there are no others for them."""
    try:
        return await for_customer(request).executions.get(request.match_info["run"])
    except (NotFoundError, ConfigError):  # the latter: it can't be an id
        raise web.HTTPNotFound(text="no such run") from None


async def document(request: web.Request) -> dict[str, object]:
    try:
        given = await request.json()
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise web.HTTPUnprocessableEntity(text="the body has to be a JSON object")
    return cast("dict[str, object]", given)


@routes.post("/contacts")
async def add_contact(request: web.Request) -> web.Response:
    """Waits for the contact, and not for longer than a customer would."""
    create = for_customer(request).workflow(create_contact)
    contact = await create(await document(request), timeout=20)
    return web.json_response(attrs.asdict(contact), status=201)


@routes.post("/imports")
async def start_import(request: web.Request) -> web.Response:
    """Starts an import, and says where to ask for it."""
    start = for_customer(request).workflow(import_contacts)
    handle = await start.execute(await document(request), timeout=10)
    return under_way(handle.execution_id)


@routes.get("/runs/{run}")
async def show_run(request: web.Request) -> web.Response:
    """Says how far it is, in any worker, and after a restart."""
    run = await known_run(request)
    return web.json_response({"status": run.status, "percent": run.completion_percentage})


@routes.get("/runs/{run}/events")
async def watch_run(request: web.Request) -> web.StreamResponse:
    """Tells what happens, as server-sent events, up to the status that ends the run."""
    run = await known_run(request)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    async with aclosing(for_customer(request).handle(run.execution_id).events()) as events:
        async for event in events:
            now = event.execution
            told = json.dumps({"status": now.status, "percent": now.completion_percentage})
            await response.write(f"event: {type(event).__name__}\ndata: {told}\n\n".encode())
    return response


def under_way(run: str | None) -> web.Response:
    return web.json_response({"run": run}, status=202, headers={"Location": f"/runs/{run}"})


@web.middleware
async def answering(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """What a customer is told of what went wrong; in one place, for all routes."""
    try:
        return await handler(request)
    except WaitTimeoutError as error:  # it goes on
        return under_way(error.execution_id)
    except (ExecutionError, PayloadError) as error:
        return web.json_response({"reason": str(error)}, status=422)
    except ExecutionOutcomeUnknownError as error:  # no 503: that would invite to try again
        logger.error("%s", error)  # noqa: TRY400
        return web.json_response({"look_for": error.instance_tag}, status=500)
    except RefoldError as error:
        logger.warning("%s", error)
        begun = error.execution_id is not None  # it exists, and can't be read just now
        return web.json_response({"run": error.execution_id}, status=500 if begun else 503)


async def with_refold(app: web.Application) -> AsyncIterator[None]:
    refold = app[REFOLD]
    if url := os.environ.get("PUBLIC_URL"):
        try:
            await refold.webhooks.ensure(f"{url}/refold/webhooks/")
        except RefoldError as error:  # no reason not to start
            logger.warning("runs are looked at until the next start: %s", error)
    yield
    await refold.aclose(grace=10)  # starts that are under way become runs with an id
    for handle in refold.orphans:
        logger.warning("nobody waited for %r", handle.ref)


def make_app(refold: RefoldClient | None = None) -> web.Application:
    """The service; tests give it a client of their own."""
    app = web.Application(middlewares=[answering])
    app[REFOLD] = refold = refold or RefoldClient()
    app.cleanup_ctx.append(with_refold)
    app.add_routes(routes)
    app.router.add_post("/refold/webhooks/", webhooks.aiohttp_handler(refold))
    return app


if __name__ == "__main__":
    web.run_app(
        make_app(),
        host="127.0.0.1",
        port=int(os.environ.get("PORT", "8000")),
        handler_cancellation=True,  # a customer who hangs up waits no longer; the run goes on
    )
