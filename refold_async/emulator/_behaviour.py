"""What the service leaves undocumented, as one value: every answer can be played."""

from collections.abc import Iterable
from typing import Literal, get_args, get_origin, get_type_hints

import attrs


def _accounts(named: Iterable[str] | None) -> frozenset[str] | None:
    return None if named is None else frozenset(named)


@attrs.frozen(kw_only=True)
class Behaviour:
    """How this Refold answers where the documentation leaves room.

    The defaults are the most likely service. Durations are seconds.

    Attributes:
        execute_body: Where the input is in the body of execute: `wrapped` in `payload`, `bare`, the
            whole body, or `either`: a body of `payload` alone is a wrapped one. The v1 path takes
            bare bodies whatever this says.
        payload_error_status: Status of a payload that fails the workflow's JSON Schema.
        payload_error_shape: Its body: `errors` a list of `{field, message}`, `fields` an object of
            lists by field, `text` one sentence in the execute envelope.
        max_payload_bytes: Larger payloads are refused with 413.
        included_headers_in: Where `include-headers` puts the request's headers: the `reply`, the
            run's `payload`, or `both`.
        included_headers_field: The field of them.
        sync_strips: Fields left out of the answer of a sync run.
        sync_error_status: HTTP status of a sync run that ended badly.
        sync_error_shape: Its `execution_error`: a `text`, an `object`, or `null`. That of a run
            that completed is always null.
        sync_status_code: Its field `status_code`: as the Response node `set` it, or always `null`.
        honours_response_status: Whether the status a Response node sets becomes the HTTP status of
            a sync run; before version 4.1.0 it did not.
        response_path: `v1` serves `/api/v1/execution/{id}/response`, `missing` answers 404.
        response_accepts_session_token: Whether that path takes a session token, or answers 401.
        response_status_for_ended: `ERRORED` reports every bad ending so, and all that goes on as
            RUNNING, as documented; `true` reports the real status.
        response_node_output: Whether the document shows the Response node's data `bare`, or
            `wrapped` in `{status, node_id, node_name, body}`, as that of a node that failed is.
        echo_instance_tag_in_list: Whether an entry of the list carries `instance_tag`.
        echo_instance_tag_in_get: Whether a single execution carries `instance_tag`.
        rerun_keeps_tag: Whether a rerun bears the tag of the run it repeats.
        rerun_shape: The field in which a rerun's answer gives the new id.
        unknown_event_status: Status of a trigger of an event that nobody knows.
        unknown_execution: An id that nobody knows gets `404`, or its request `hangs`.
        retention: How long a run can be read and listed; afterwards it is unknown. None: for ever.
        max_page_size: The largest `limit` of a list.
        larger_page: A larger one is `lowered` to it without a word, or `refused` with 400.
        list_dates: Whether the list takes `times` in `start_date` and `end_date`, or whole `days`
            only, whatever time is given. A date alone is a whole day in any case.
        list_lag: Seconds by which the list is behind: it comes from a replica that shows runs,
            and how far they are, as they were so long ago.
        list_lead: Seconds by which the list is ahead: documents and responses show a run as it was
            so long ago, a younger one as it began. With both, all of them are behind.
        ignores_filters: Whether the list ignores every filter in the query.
        undated_every: Every so many-th run has no `createdAt` in the list; 0 for none.
        created_at: Whether `createdAt` tells `milliseconds`, or whole `seconds`.
        object_ids: 24 hex digits that begin with the creation time, or another opaque id.
        extra_fields: Whether documents carry fields that no documentation knows.
        status_case: Spelling of a run's status.
        queued_for: How long a new run is QUEUED before it begins.
        stop_takes: How long a run is STOPPING before it is STOPPED.
        rate_limit: Requests allowed as (per second, burst); what exceeds it is refused with 429.
        rate_limit_counts_reads: Whether reads count against it, or starts only.
        rate_limit_html: Whether the refusal is a proxy's page, or the service's own JSON.
        capacity: Starts accepted per second; the rest is shed with 503 in the service's own JSON.
        retry_after: What the `Retry-After` of 429 and 503 says: seconds, rounded up to whole ones,
            `date` for an HTTP date a second ahead, None for no such header.
        linked_accounts: The linked accounts there are; None for any that is named.
        token_lifetime: How long a session token is valid.
        refresh_lifetime: How long its refresh token is.
        webhook_response: How `{{workflow_response}}` is filled into the body of a `custom` webhook:
            as `json` (a text alone as it is), `stringified` into a text of JSON, `unescaped` in
            its texts, escaped for `html`, `truncated` after 50 characters, `absent`, with
            `null_as_empty` texts, its whole numbers as `doubles` have them, or with a member
            `twice`.
        keepalive: After how many idle seconds the server closes a connection; None for an hour.
        keepalive_announced: Whether it says so, in whole seconds: `Keep-Alive: timeout=5`.
        clock_skew: Seconds by which the server's clock is ahead, in every time it tells.
        drop_underscore_headers: Whether a proxy with nginx's defaults is in front: headers whose
            names carry an underscore vanish.
    """

    execute_body: Literal["wrapped", "bare", "either"] = "wrapped"
    payload_error_status: int = 400
    payload_error_shape: Literal["errors", "fields", "text"] = "errors"
    max_payload_bytes: int = 3 * 1024 * 1024
    included_headers_in: Literal["reply", "payload", "both"] = "reply"
    included_headers_field: str = "headers"

    sync_strips: frozenset[str] = attrs.field(default=frozenset(), converter=frozenset)
    sync_error_status: int = 200
    sync_error_shape: Literal["text", "object", "null"] = "text"
    sync_status_code: Literal["set", "null"] = "set"
    honours_response_status: bool = True

    response_path: Literal["v1", "missing"] = "v1"
    response_accepts_session_token: bool = True
    response_status_for_ended: Literal["ERRORED", "true"] = "ERRORED"
    response_node_output: Literal["bare", "wrapped"] = "bare"

    echo_instance_tag_in_list: bool = True
    echo_instance_tag_in_get: bool = True
    rerun_keeps_tag: bool = False
    rerun_shape: Literal["id", "instanceId"] = "id"
    unknown_event_status: Literal[404, 400] = 404
    unknown_execution: Literal["404", "hangs"] = "404"
    retention: float | None = None

    max_page_size: int = 100
    larger_page: Literal["lowered", "refused"] = "lowered"
    list_dates: Literal["times", "days"] = "times"
    list_lag: float = 0.0
    list_lead: float = 0.0
    ignores_filters: bool = False
    undated_every: int = 0

    created_at: Literal["milliseconds", "seconds"] = "milliseconds"
    object_ids: bool = True
    extra_fields: bool = True
    status_case: Literal["upper", "lower"] = "upper"

    queued_for: float = 0.0
    stop_takes: float = 0.05

    rate_limit: tuple[float, int] | None = None
    rate_limit_counts_reads: bool = True
    rate_limit_html: bool = False
    capacity: float | None = None
    retry_after: float | Literal["date"] | None = None

    linked_accounts: frozenset[str] | None = attrs.field(default=None, converter=_accounts)
    token_lifetime: float = 7 * 86_400.0
    refresh_lifetime: float = 30 * 86_400.0

    webhook_response: Literal[
        "json",
        "stringified",
        "unescaped",
        "html",
        "truncated",
        "absent",
        "null_as_empty",
        "doubles",
        "twice",
    ] = "json"

    keepalive: float | None = None
    keepalive_announced: bool = False
    clock_skew: float = 0.0
    drop_underscore_headers: bool = False

    def __attrs_post_init__(self) -> None:
        for name, kind in get_type_hints(type(self)).items():
            choices, value = get_args(kind), getattr(self, name)
            if get_origin(kind) is Literal and value not in choices:
                raise ValueError(f"{name} is one of {', '.join(map(repr, choices))}, not {value!r}")
