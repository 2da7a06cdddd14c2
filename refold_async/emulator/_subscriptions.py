"""The webhooks there are, and what each has subscribed to."""

import secrets
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from ._documents import iso
from ._replies import RefusedError, json_reply

RUN_EVENTS = {
    "COMPLETED": "Workflow Completed",
    "ERRORED": "Workflow Errored",
    "STOPPED": "Workflow Stopped",
    "TIMED_OUT": "Workflow Timed Out",
}
"""The event of each ending; TERMINATED has none."""
CONNECTION_EVENTS = ("Connection Created", "Connection Deleted", "Connection Expired")
EVENTS = (*RUN_EVENTS.values(), *CONNECTION_EVENTS)
ORGANISATION = "org_emulator"


@attrs.define
class Webhooks:
    """The webhooks there are, oldest first.

    Attributes:
        now: The clock in epoch seconds.
        environment: Of the key they were made with.
    """

    now: Callable[[], float]
    environment: str
    _documents: dict[str, dict[str, Any]] = attrs.field(factory=dict)

    def create(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Add one."""
        at = iso(self.now(), "milliseconds")
        webhook_id = f"{int(self.now()) & 0xFFFFFFFF:08x}{secrets.token_hex(8)}"
        self._documents[webhook_id] = {
            "_id": webhook_id,
            "org_id": ORGANISATION,
            "environment": self.environment,
            "is_enabled": True,
            "workflow_ids": [],
            "webhook_type": "default",
            "webhook_body": "{{event}}",
            "method": "POST",
            "createdAt": at,
            "updatedAt": at,
            "__v": 0,
            **fields,
        }
        return self._documents[webhook_id]

    def get(self, webhook_id: str) -> dict[str, Any]:
        """Give one; refuses an unknown id as the service does."""
        found = self._documents.get(webhook_id)
        if found is None:
            raise RefusedError(
                json_reply(
                    {
                        "status_code": 400,
                        "http_error_type": "BAD_REQUEST",
                        "error": "RESOURCE_NOT_FOUND",
                        "message": "Webhook not found",
                    },
                    400,
                )
            )
        return found

    def update(self, webhook_id: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Change the fields that are given."""
        document = self.get(webhook_id)
        document.update(fields, updatedAt=iso(self.now(), "milliseconds"))
        return document

    def delete(self, webhook_id: str) -> None:
        """Remove one."""
        self.get(webhook_id)
        del self._documents[webhook_id]

    def all(self) -> list[dict[str, Any]]:
        """Give all of them."""
        return list(self._documents.values())

    def subscribed(
        self, event: str, *, of_run: tuple[str, str] | None = None
    ) -> list[dict[str, Any]]:
        """Give those that an event goes to; of a run by the ids of its workflow and application.

        One for an application has events of its runs only.
        """
        workflow_id, slug = of_run or (None, None)
        return [
            hook
            for hook in self._documents.values()
            if hook["is_enabled"]
            and event in hook["webhook_events"]
            and (of_run is None or not hook["workflow_ids"] or workflow_id in hook["workflow_ids"])
            and hook.get("slug") in {None, slug}
        ]
