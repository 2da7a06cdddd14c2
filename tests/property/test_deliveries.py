"""Whatever is delivered to a webhook: an event, or an error of ours."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold_async import WebhookBodyError, WebhookSignatureError
from refold_async.webhooks import parse, verify
from tests.support.deliveries import KEY, connection_event, sign, workflow_event

pytestmark = pytest.mark.long

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner),
    max_leaves=12,
)
FIELDS = st.dictionaries(
    st.sampled_from([*workflow_event(), *connection_event(), "execution_id", "failed_node"]), JSON
)


@given(FIELDS)
def test_any_document_is_an_event_or_an_error_of_ours(document: dict[str, Any]) -> None:
    """No shape of a field gets another exception out of it, and all of it stays in `raw`."""
    body = json.dumps(document).encode()
    try:
        event = parse(body)
    except WebhookBodyError:
        return
    assert event.raw == document
    assert repr(event)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_event_or_an_error_of_ours(body: bytes) -> None:
    """Whoever has the key could send them."""
    with suppress(WebhookBodyError):
        parse(body)


@given(st.binary(max_size=300), st.integers(0, 63))
def test_one_changed_digit_is_wrong(body: bytes, at: int) -> None:
    """No part of the signature is left unread."""
    good = sign(body)
    changed = good[:at] + ("0" if good[at] != "0" else "1") + good[at + 1 :]
    with pytest.raises(WebhookSignatureError):
        verify(body, changed, api_key=KEY)
