"""The services that a probe is let loose on, as a table: how each behaves, and what is told."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class Played(NamedTuple):
    """One service.

    Attributes:
        behaviour: the switches that are not as usual; each is told, but for those in `untold`.
        untold: switches that can't be told of this service, and why.
        ends: how its workflow ends.
        more: what else is told of it.
    """

    behaviour: Mapping[str, Any]
    untold: Mapping[str, str] = MappingProxyType({})
    ends: str = "COMPLETED"
    more: Mapping[str, Any] = MappingProxyType({})


SERVICES: dict[str, Played] = {
    "usual": Played({}, more={"execute_body": "wrapped", "honours_response_status": True}),
    "bare": Played({
        "execute_body": "bare", "echo_instance_tag_in_list": False,
        "echo_instance_tag_in_get": False, "max_page_size": 50, "larger_page": "refused",
        "list_dates": "days", "response_accepts_session_token": False,
        "response_node_output": "wrapped", "unknown_execution": "hangs",
        "unknown_event_status": 400, "linked_accounts": frozenset({"acct_1"}),
        "token_lifetime": 3600.0, "refresh_lifetime": 7200.0, "object_ids": False,
        "created_at": "seconds", "status_case": "lower", "extra_fields": False,
        "included_headers_in": "payload", "included_headers_field": "sent",
        "sync_strips": frozenset({"errored", "executed_by_thanos"}),
        "honours_response_status": False, "rerun_shape": "instanceId", "clock_skew": 3600.0,
    }),
    "either": Played({
        "execute_body": "either", "response_path": "missing", "included_headers_in": "both",
        "ignores_filters": True, "undated_every": 2, "rerun_keeps_tag": True,
        "sync_status_code": "null", "larger_page": "lowered", "max_page_size": 7,
        "clock_skew": -60.0,
    }),
    "behind": Played({
        "list_lag": 3.0, "response_status_for_ended": "true", "sync_error_status": 422,
        "sync_error_shape": "object",
    }, ends="STOPPED"),
    "ahead": Played({"list_lead": 3.0, "sync_error_shape": "null"}, ends="TIMED_OUT",
                    more={"response_status_for_ended": "ERRORED"}),
    "queueing": Played({"queued_for": 2.0}, ends="ERRORED",
                       more={"sync_error_shape": "text", "sync_error_status": 200}),
    "refusing": Played({"rate_limit": (1.0, 1), "retry_after": 2.0},
                       {"rate_limit": "no flood"}, more={"rate_limit_html": False}),
    "shedding": Played({"rate_limit": (1.0, 1), "retry_after": "date", "rate_limit_html": True},
                       {"rate_limit": "no flood"}),
    "behind a proxy": Played({"drop_underscore_headers": True}),
}  # fmt: skip
AT_MOST = {"list_lag", "list_lead", "queued_for"}
"""Told as what they are at most: by looks that lie apart."""
IN_REAL_TIME = {"keepalive": (0.05,), "keepalive_announced": (True,)}
"""Told of connections, by a test of their own."""


def told_of(name: str) -> list[Any]:
    """Give the answers that a switch is played with, the usual one aside."""
    found = [*IN_REAL_TIME.get(name, ())]
    for played in SERVICES.values():
        told = {**played.behaviour, **played.more}
        if name in told and name not in played.untold and told[name] not in found:
            found.append(told[name])
    return found
