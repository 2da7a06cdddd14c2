"""Contacts in your customers' CRMs, made by Refold: a service to start from, with FastAPI.

    uvicorn --factory contacts:create_app

PUBLIC_URL is where Refold reaches it, as in https://service.example; without it runs are looked at.
"""

import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel

from refold_async import (
    ConfigError,
    Execution,
    ExecutionError,
    ExecutionEvent,
    ExecutionOutcomeUnknownError,
    NotFoundError,
    RefoldClient,
    RefoldError,
    WaitTimeoutError,
    webhooks,
    workflow,
)

logger = logging.getLogger(__name__)
router = APIRouter()

ACCOUNTS = {"key-of-acme": "acct_acme", "key-of-bell": "acct_bell"}  # yours: a table, or a JWT


class NewContact(BaseModel):
    email: str


class Contact(BaseModel):
    id: int
    email: str


class Source(BaseModel):
    url: str


create_contact = workflow("wf_contact", slug="demo", input=NewContact, output=Contact)
import_contacts = workflow("wf_slow", slug="demo", input=Source)


def for_customer(request: Request, x_api_key: Annotated[str, Header()]) -> RefoldClient:
    """The client, for the linked account of whoever asks: cheap, so one per request."""
    if x_api_key not in ACCOUNTS:
        raise HTTPException(401, "no such key")
    refold: RefoldClient = request.app.state.refold
    return refold.for_account(ACCOUNTS[x_api_key])


Refold = Annotated[RefoldClient, Depends(for_customer)]


async def known_run(refold: Refold, run_id: str) -> Execution:
    """A run of the customer's own; there are no others for them."""
    try:
        return await refold.executions.get(run_id)
    except (NotFoundError, ConfigError):  # the latter: it can't be an id
        raise HTTPException(404, "no such run") from None


Run = Annotated[Execution, Depends(known_run)]


@router.post("/contacts", status_code=201)
async def add_contact(refold: Refold, contact: NewContact) -> Contact:
    """Waits for the contact, and not for longer than a customer would."""
    return await refold.workflow(create_contact)(contact, timeout=20)


@router.post("/imports", status_code=202)
async def start_import(refold: Refold, source: Source, response: Response) -> dict[str, Any]:
    """Starts an import, and says where to ask for it."""
    handle = await refold.workflow(import_contacts).execute(source, timeout=10)
    response.headers["Location"] = f"/runs/{handle.execution_id}"
    return {"run": handle.execution_id}


@router.get("/runs/{run_id}")
async def show_run(run: Run) -> dict[str, Any]:
    """Says how far it is, in any worker, and after a restart."""
    return {"run": run.execution_id, "status": run.status, "percent": run.completion_percentage}


@router.get("/runs/{run_id}/events", response_class=EventSourceResponse)
async def watch_run(refold: Refold, run: Run) -> AsyncIterator[ServerSentEvent]:
    """Tells what happens, up to the status that ends the run."""
    async with aclosing(refold.handle(run.execution_id).events()) as events:
        async for event in events:
            yield ServerSentEvent(event=type(event).__name__, data=told(event))


def told(event: ExecutionEvent) -> dict[str, Any]:
    run, node = event.execution, getattr(event, "node", None)
    status = {"status": run.status, "percent": run.completion_percentage}
    return status if node is None else {"node": node.name, **status}


async def answer(_: Request, error: RefoldError) -> JSONResponse:
    """What a customer is told of what went wrong; in one place, for all routes."""
    match error:
        case WaitTimeoutError(execution_id=run):  # it goes on
            where = {"Location": f"/runs/{run}"}
            return JSONResponse({"run": run}, status_code=202, headers=where)
        case ExecutionError():
            return JSONResponse({"reason": str(error)}, status_code=422)
        case ExecutionOutcomeUnknownError():  # no 503: that would invite to try again
            logger.error("%s", error)
            return JSONResponse({"look_for": error.instance_tag}, status_code=500)
        case _:
            logger.warning("%s", error)
            begun = error.execution_id is not None  # it exists, and can't be read just now
            return JSONResponse({"run": error.execution_id}, status_code=500 if begun else 503)


async def subscribe(refold: RefoldClient, public_url: str) -> None:
    try:  # with the slash: a webhook does not follow the redirect to it
        await refold.webhooks.ensure(f"{public_url}/refold/webhooks/")
    except RefoldError as error:  # no reason not to start
        logger.warning("runs are looked at until the next start: %s", error)


def create_app(refold: RefoldClient | None = None, public_url: str | None = None) -> FastAPI:
    """The service; tests give it a client of their own."""
    refold = refold or RefoldClient()
    public_url = public_url or os.environ.get("PUBLIC_URL")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        app.state.refold = refold
        if public_url:
            await subscribe(refold, public_url)
        yield
        await refold.aclose(grace=10)  # starts that are under way become runs with an id
        for handle in refold.orphans:
            logger.warning("nobody waited for %r", handle.ref)

    app = FastAPI(lifespan=lifespan, exception_handlers={RefoldError: answer})
    app.include_router(router)
    app.mount("/refold/webhooks", webhooks.asgi(refold))
    return app
