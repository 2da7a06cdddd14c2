"""A service that is told by Refold when its runs end: with FastAPI.

PUBLIC_URL is where Refold reaches it, as in https://service.example.
"""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI

from refold_async import RefoldClient, webhooks

refold = RefoldClient()  # lives on the loop of its first call, which is the server's


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
    # With the slash at the end: frameworks redirect the path without it, and webhooks don't follow.
    await refold.webhooks.ensure(os.environ["PUBLIC_URL"] + "/refold/webhooks/")
    yield
    await refold.aclose(grace=10)


app = FastAPI(lifespan=lifespan)
app.mount("/refold/webhooks", webhooks.asgi(refold))


@app.post("/accounts/{account}/contacts", status_code=201)
async def create_contact(account: str, contact: dict[str, Any]) -> Any:
    mine = refold.for_account(account)
    result = await mine.run("wf_contact", slug="demo", payload=contact)
    return result.output


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8000")))
