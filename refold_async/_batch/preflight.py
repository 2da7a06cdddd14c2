"""Payloads are checked against their workflow's JSON Schema before anything is sent.

Needs the extra `validate`. A schema that is no schema, or refers to another document, checks
nothing: the service has the last word.

See: "Get Workflow Request Structure".
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

from refold_async._errors import ConfigError, PayloadError, clip
from refold_async._logs import Log, about

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from refold_async._batch.models import ExecutionRequest
    from refold_async._models import RequestStructure

logger = Log("batch")

_LONGEST = 300
"""Characters of a complaint, which quotes the schema."""

_NAMING = {"required", "dependentRequired", "additionalProperties"}
"""Keywords whose complaints hold names alone; the others quote the value at fault."""


class Preflight:
    """Checks payloads; asks for the schema of each workflow and account once.

    Args:
        read: gives a workflow's request structure, for a linked account or the client's own.

    Raises:
        ConfigError: the extra is missing.
    """

    def __init__(self, read: Callable[[str, str | None], Awaitable[RequestStructure]]) -> None:
        try:
            import jsonschema  # noqa: F401, PLC0415 - an extra
        except ImportError:
            raise ConfigError(
                "needs the extra: pip install 'refold-async[validate]'", field="validate"
            ) from None
        self._read = read
        self._validators: dict[tuple[str, str | None], asyncio.Task[Any]] = {}

    async def check(self, name: str, request: ExecutionRequest) -> None:
        """Check one payload.

        Args:
            name: the item's key, for the error.
            request: what is to be sent; it can be sent as JSON.

        Raises:
            PayloadError: the payload does not fit; names the item and the JSON path.
            ApiError: the service does not give the workflow's schema.
            TransportError: no answer came.
        """
        key = (request.workflow_id, request.linked_account_id)
        reading = self._validators.get(key)
        if reading is None:
            loop = asyncio.get_running_loop()
            reading = self._validators[key] = loop.create_task(self._validator(*key))
            reading.add_done_callback(lambda read: self._forget_failed(key, read))
        # Shared: who is cancelled must not take it from the others.
        validator = await asyncio.shield(reading)
        if validator is not None:
            _complain(name, validator, {} if request.payload is None else request.payload)

    async def aclose(self) -> None:
        """End what is still being read."""
        tasks = [*self._validators.values()]
        for reading in tasks:
            reading.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget_failed(self, key: tuple[str, str | None], reading: asyncio.Task[Any]) -> None:
        """Let a later item ask again."""
        if reading.cancelled() or reading.exception() is not None:
            self._validators.pop(key, None)

    async def _validator(self, workflow_id: str, account: str | None) -> Any:
        """Make a workflow's validator; None if there is nothing to check."""
        structure = await self._read(workflow_id, account)
        return None if structure.schema is None else _validator(workflow_id, structure.schema)


def _validator(workflow_id: str, schema: Mapping[str, Any]) -> Any:
    import jsonschema  # noqa: PLC0415 - an extra
    from referencing import Registry  # noqa: PLC0415 - comes with it

    kind = jsonschema.validators.validator_for(schema)
    try:
        kind.check_schema(dict(schema))
    except (jsonschema.SchemaError, RecursionError) as error:
        logger.warning(
            "the schema of workflow %s is none, payloads go unchecked: %s",
            workflow_id,
            clip(error),
            extra=about(workflow_id=workflow_id),
        )
        return None
    # An empty registry: nothing a schema refers to is fetched.
    return kind(dict(schema), registry=Registry())


def _complain(name: str, validator: Any, payload: Any) -> None:
    from jsonschema.exceptions import best_match  # noqa: PLC0415 - an extra
    from referencing.exceptions import Unresolvable  # noqa: PLC0415 - comes with it

    try:
        worst = best_match(validator.iter_errors(payload))
    except (Unresolvable, RecursionError, re.error) as error:
        logger.warning(
            "the payload of item %s can't be checked: %s",
            clip(name, 80),
            clip(error),
            extra=about(key=name),
        )
        return
    if worst is not None:
        words = worst.message if worst.validator in _NAMING else _words(worst)
        raise PayloadError(f"item {name}: {clip(words, _LONGEST)}", path=worst.json_path)


def _words(worst: Any) -> str:
    got = type(worst.instance).__name__
    if worst.validator is None:  # the schema `false`
        return f"a `{got}` is not allowed here"
    return f"a `{got}` does not fit {json.dumps({worst.validator: worst.validator_value})}"
