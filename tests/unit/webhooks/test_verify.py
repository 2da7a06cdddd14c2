"""Signatures of deliveries."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from refold_async import ConfigError, WebhookSignatureError
from refold_async.webhooks import verify
from tests.support.deliveries import KEY, sign

BODY = b'{"event": "Workflow Completed"}'


@pytest.mark.parametrize(
    "signature",
    [
        pytest.param(sign(BODY), id="lower-case"),
        pytest.param(sign(BODY).upper(), id="upper-case"),
        pytest.param(f" {sign(BODY)} ", id="spaces-around"),
    ],
)
def test_a_signature_of_the_key_is_accepted(signature: str) -> None:
    """Hex digits of either case."""
    verify(BODY, signature, api_key=KEY)


def test_the_documented_scheme_is_hmac_sha256_of_the_raw_body() -> None:
    """A value computed elsewhere: `printf '%s' BODY | openssl dgst -sha256 -hmac tk_webhooks`."""
    told = "9a5b00dcc9dc77255d9ddd27265b08c07f91da61425ab1f75a82863861bfe14b"
    verify(BODY, told, api_key="tk_webhooks")


@pytest.mark.parametrize("keys", [[KEY, "tk_new"], ["tk_new", KEY], iter(["tk_new", KEY])])
def test_any_of_several_keys_may_have_signed(keys: Any) -> None:
    """While a key is rotated both are good."""
    verify(BODY, sign(BODY), api_key=keys)


@pytest.mark.parametrize(
    ("signature", "reason"),
    [
        pytest.param(None, "missing", id="none"),
        pytest.param("", "missing", id="empty"),
        pytest.param("abc", "malformed", id="too-short"),
        pytest.param("g" * 64, "malformed", id="no-hex"),
        pytest.param("\u0663" * 64, "malformed", id="other-digits"),
        pytest.param("sha256=" + sign(BODY), "malformed", id="with-a-prefix"),
        pytest.param(sign(BODY, "tk_other"), "wrong", id="another-key"),
        pytest.param(sign(BODY + b" "), "wrong", id="another-body"),
    ],
)
def test_what_is_not_signed_is_told_apart(signature: str | None, reason: str) -> None:
    """Missing, malformed and wrong are three things to look for."""
    with pytest.raises(WebhookSignatureError) as caught:
        verify(BODY, signature, api_key=KEY)
    assert caught.value.reason == reason
    assert pickle.loads(pickle.dumps(caught.value)).reason == reason  # noqa: S301


def test_the_expected_signature_is_never_shown() -> None:
    """Whoever can read the error must not be able to forge a delivery."""
    with pytest.raises(WebhookSignatureError) as caught:
        verify(BODY, "0" * 64, api_key=KEY)
    shown = f"{caught.value!r} {caught.value} {vars(caught.value)}"
    assert sign(BODY) not in shown
    assert KEY not in shown


@pytest.mark.parametrize("keys", [[], "", ["tk", ""], [3]])
def test_a_key_is_needed(keys: Any) -> None:
    """Verifying with nothing would accept nothing, or everything."""
    with pytest.raises(ConfigError, match="api_key"):
        verify(BODY, sign(BODY), api_key=keys)
