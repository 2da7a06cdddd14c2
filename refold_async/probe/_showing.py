"""What the document of a run shows: of its input, of headers, and of itself."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from refold_async.probe._asking import Answer
    from refold_async.probe._findings import Notes

_OBJECT_ID = re.compile("[0-9a-f]{24}")
_DEEPEST = 6
_DOCUMENTED = frozenset({
    "_id", "name", "org_id", "environment", "status", "completion_percentage", "config_id",
    "linked_account_id", "nodes", "createdAt", "updatedAt", "completion_time",
    "instance_execution_time", "associated_workflow", "associated_application",
    "associated_event_id", "type_of_execution", "execution_source", "trigger_application_event",
    "executed_by_thanos", "instance_tag", "__v",
})  # fmt: skip


def nodes_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Give the nodes of a document; what is none is left out."""
    nodes = document.get("nodes")
    return [each for each in nodes if isinstance(each, dict)] if isinstance(nodes, list) else []


def places_of(document: dict[str, Any], payload: dict[str, Any]) -> list[tuple[str, str]]:
    """Find the input in what the nodes show: (`bare` under a key `payload`, else `wrapped`, where).

    That names the form of body for which a wrapped one was meant: the input under `payload` says
    that the whole body was taken for the input.
    """
    found = []
    for index, node in enumerate(nodes_of(document)):
        for field in ("input_data", "latest_output"):
            for path in _paths(node.get(field), payload):
                form = "bare" if path and path[-1] == "payload" else "wrapped"
                found.append((form, ".".join([f"nodes[{index}].{field}", *path])))
    return found


def _paths(value: Any, payload: dict[str, Any], *above: str) -> Iterator[tuple[str, ...]]:
    """Give where an object stands that has all of the payload."""
    if not isinstance(value, dict) or len(above) > _DEEPEST:
        return
    if payload and payload.items() <= value.items():
        yield above
    for name, inner in value.items():
        yield from _paths(inner, payload, *above, name)


def included_headers(notes: Notes, answer: Answer, document: dict[str, Any]) -> None:
    """Note where the headers went that were asked for."""
    in_reply = _headers_in(answer.body)
    inputs = [node.get("input_data") for node in nodes_of(document)]
    in_payload = next(filter(None, map(_headers_in, inputs)), None)
    if in_reply is None and in_payload is None:
        for name in ("included_headers_in", "included_headers_field"):
            notes.leave(name, "they are neither in the answer nor in the input")
        return
    where = "both" if in_reply and in_payload else "reply" if in_reply else "payload"
    notes.tell("included_headers_in", where, f"in {in_reply or in_payload!r}")
    notes.tell("included_headers_field", in_reply or in_payload, f"of the {where}")


def _headers_in(value: Any) -> str | None:
    """Give the field of an object that holds our headers."""
    for name, inner in value.items() if isinstance(value, dict) else ():
        if isinstance(inner, dict) and "user-agent" in {str(each).lower() for each in inner}:
            return str(name)
    return None


def tell_of_document(notes: Notes, execution_id: str, document: dict[str, Any], tag: str) -> None:
    """Note what a run's own document says."""
    shown = document.get("instance_tag")
    notes.tell("echo_instance_tag_in_get", shown == tag, f"the document bears {shown!r}")
    created = document.get("createdAt")
    if isinstance(created, str):
        exact = "milliseconds" if re.search(r"T[\d:]+\.\d", created) else "seconds"
        notes.tell("created_at", exact, created)
    is_object_id = _OBJECT_ID.fullmatch(execution_id) is not None
    notes.tell("object_ids", is_object_id, execution_id)
    status = document.get("status")
    if isinstance(status, str) and status:
        notes.tell("status_case", "lower" if status.islower() else "upper", status)
    unknown = sorted(document.keys() - _DOCUMENTED)
    notes.tell("extra_fields", bool(unknown), f"unknown: {', '.join(unknown) or 'none'}")
