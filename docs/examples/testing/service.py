"""A service that runs workflows for its customers: FastAPI, with Refold behind it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Response

from refold_async import (
    ExecutionError,
    ExecutionOutcomeUnknownError,
    NotFoundError,
    RefoldClient,
    RefoldError,
    WaitTimeoutError,
    webhooks,
)


def create_app(refold: RefoldClient, public_url: str | None = None) -> FastAPI:
    """The service, and where Refold reaches it, if it is to tell."""
    imported: list[str] = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        async with refold:
            if public_url is not None:
                await refold.webhooks.ensure(f"{public_url}/refold/webhooks/")
            yield

    async def on_event(event: webhooks.WebhookEvent) -> None:
        if isinstance(event, webhooks.WorkflowEvent):
            imported.append(event.execution_id)

    app = FastAPI(lifespan=lifespan)
    app.mount("/refold/webhooks", webhooks.asgi(refold, on_event=on_event))

    @app.post("/accounts/{account}/contacts", status_code=201)
    async def create_contact(account: str, contact: dict[str, Any], response: Response) -> Any:
        """A contact in the customer's CRM; 202 with an id if it takes longer than half a minute."""
        mine = refold.for_account(account)
        try:
            result = await mine.run("wf_contact", slug="crm", payload=contact, timeout=30)
        except WaitTimeoutError as error:
            response.status_code = 202
            return {"id": error.execution_id}
        except ExecutionError as error:
            response.status_code = 422
            return {"reason": error.result.error}
        except ExecutionOutcomeUnknownError as error:
            response.status_code = 500  # nobody may try again before somebody has looked
            return {"look_for": error.instance_tag}
        except RefoldError as error:
            response.status_code = 503
            return {"reason": str(error)}
        return result.output

    @app.post("/accounts/{account}/imports", status_code=202)
    async def start_import(account: str, source: dict[str, Any]) -> Any:
        """An import of all contacts, which takes hours."""
        handle = await refold.for_account(account).execute("wf_import", slug="crm", payload=source)
        return {"id": handle.execution_id}

    @app.get("/accounts/{account}/imports/{execution_id}")
    async def show_import(account: str, execution_id: str, response: Response) -> Any:
        """How far it is."""
        try:
            run = await refold.for_account(account).executions.get(execution_id)
        except NotFoundError:
            response.status_code = 404
            return {"reason": "no such import"}
        return {"status": run.status, "percent": run.completion_percentage}

    @app.get("/imported")
    async def list_imported() -> list[str]:
        """Those of whose end Refold has told."""
        return imported

    return app
