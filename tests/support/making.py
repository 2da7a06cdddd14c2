"""Short ways to make what the protocol's functions take."""

from __future__ import annotations

import json
from typing import Any

from refold_async._protocol import (
    Answer,
    Evidence,
    Reply,
    Request,
    execute_request,
    get_execution_request,
    rerun_request,
)

RUN = "6a314c54d4616e99e7fa5a02"
NOW = 1_781_615_700.0
"""2026-06-16T13:15:00Z, the time `RUN` was made."""

LOOK = get_execution_request(RUN, account="acct_1")
RERUN = rerun_request(RUN, account="acct_1")


def execute(*, sync: bool = False, unique_tag: bool = True) -> Request:
    """Ask for a run of a workflow."""
    return execute_request(
        "wf_1",
        slug="hubspot",
        sync=sync,
        instance_tag="rfa-1",
        unique_tag=unique_tag,
        max_payload_bytes=1000,
    )


EXECUTE = execute()


def reply(status: int, body: Any = b"", **headers: str) -> Reply:
    """Give a reply; a body that is not bytes is sent as JSON, `a_b` stands for the header `a-b`."""
    return Reply(
        status=status,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        body=body if isinstance(body, bytes) else json.dumps(body).encode(),
        received_at=NOW,
    )


def accepted(document: Any, status: int = 200, **fields: Any) -> Answer:
    """Give an answer whose document was accepted."""
    return Answer(evidence=Evidence.ACCEPTED, status=status, document=document, **fields)
