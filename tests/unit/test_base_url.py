"""Base URLs: which are accepted, and why others are not."""

from __future__ import annotations

from typing import Any

import pytest

from refold_async import ConfigError
from refold_async._config import DEFAULT_BASE_URL, check_base_url


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (DEFAULT_BASE_URL, "https://app.refold.ai"),
        ("https://app.refold.ai/", "https://app.refold.ai"),
        ("https://app.refold.ai///", "https://app.refold.ai"),
        ("HTTPS://App.Refold.AI/Api", "https://app.refold.ai/Api"),
        ("https://refold.example:8443", "https://refold.example:8443"),
        ("https://refold.example:65535/x", "https://refold.example:65535/x"),
        ("https://refold.example/api/re-fold_1.~/", "https://refold.example/api/re-fold_1.~"),
        ("https://refold.example/...", "https://refold.example/..."),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
        ("https://10.0.0.7", "https://10.0.0.7"),
        ("https://intranet", "https://intranet"),
        ("https://[2001:db8::1]:8443/x", "https://[2001:db8::1]:8443/x"),
    ],
)
def test_https_url_is_accepted(given: str, kept: str) -> None:
    """Host, in lower case, port and path prefix are kept; slashes at the end are not."""
    assert check_base_url(given) == kept


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost",
        "http://LOCALHOST:8080",
        "http://127.0.0.1:8080/prefix",
        "http://127.255.255.254",
        "http://[::1]",
        "http://[::1]:8080",
    ],
)
def test_plain_http_to_this_machine_is_accepted(url: str) -> None:
    """Nothing crosses a network on the way to a loopback address."""
    assert check_base_url(url) == url.lower()


NOT_LOOPBACK = [
    "http://app.refold.ai",
    "http://10.0.0.7",
    "http://127.1",
    "http://127.0.0.1.nip.io",
    "http://localhost.example",
    "http://notlocalhost",
    "http://0x7f000001",
    "http://2130706433",
    "http://0.0.0.0",
    "http://[::ffff:127.0.0.1]",
    "http://[127::1]",
]


@pytest.mark.parametrize("url", NOT_LOOPBACK)
def test_plain_http_to_a_network_is_refused(url: str) -> None:
    """Only the canonical spellings of loopback are; others may resolve to something else."""
    with pytest.raises(ConfigError, match="show the key to the network") as caught:
        check_base_url(url)
    assert caught.value.field == "base_url"


@pytest.mark.parametrize("url", NOT_LOOPBACK)
def test_plain_http_can_be_allowed(url: str) -> None:
    """A self-hosted deployment in a private network may be reached without TLS."""
    assert check_base_url(url, allow_insecure_http=True) == url


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        pytest.param("https://user@app.refold.ai", "user", id="user"),
        pytest.param("https://user:pw@app.refold.ai", "user", id="password"),
        pytest.param("https://app.refold.ai\\@evil.example", "user", id="backslash-user"),
        pytest.param("https://app.refold.ai?x=1", "query", id="query"),
        pytest.param("https://app.refold.ai/?", "query", id="empty-query"),
        pytest.param("https://app.refold.ai#x", "fragment", id="fragment"),
        pytest.param("https://app.refold.ai/#", "fragment", id="empty-fragment"),
        pytest.param("", "https://", id="empty"),
        pytest.param("app.refold.ai", "https://", id="no-scheme"),
        pytest.param("//app.refold.ai", "https://", id="no-scheme-slashes"),
        pytest.param("ftp://app.refold.ai", "https://", id="ftp"),
        pytest.param("file:///etc/passwd", "https://", id="file"),
        pytest.param("https://", "host", id="no-host"),
        pytest.param("https:///x", "host", id="no-host-path"),
        pytest.param("https:app.refold.ai", "host", id="no-slashes"),
        pytest.param("https://localhost.", "host", id="dot-at-end"),
        pytest.param("https://.refold.ai", "host", id="dot-at-start"),
        pytest.param("https://-refold.ai", "host", id="hyphen"),
        pytest.param("https://app refold.ai", "host", id="space-in-host"),
        pytest.param("https://bücher.example", "host", id="umlaut"),
        pytest.param("https://boo\u212a.example", "host", id="kelvin-sign"),
        pytest.param("https://app.refold.ai\\x", "host", id="backslash"),
        pytest.param("https://%61pp.refold.ai", "host", id="quoted-host"),
        pytest.param("https://" + "a" * 254, "host", id="long-host"),
        pytest.param("https://app.refold.ai:0", "host", id="port-0"),
        pytest.param("https://app.refold.ai:65536", "no URL", id="port-too-high"),
        pytest.param("https://app.refold.ai:x", "no URL", id="port-no-number"),
        pytest.param("https://[::1", "no URL", id="open-bracket"),
        pytest.param("https://a\uff0fb", "no URL", id="wide-slash"),
        pytest.param("https://[v1.x]", "host", id="future-address"),
        pytest.param("https://app.refold.ai/..", "path", id="up"),
        pytest.param("https://app.refold.ai/a/../b", "path", id="up-inside"),
        pytest.param("https://app.refold.ai/./b", "path", id="here"),
        pytest.param("https://app.refold.ai/%2e%2e", "path", id="quoted-up"),
        pytest.param("https://app.refold.ai//b", "path", id="empty-segment"),
        pytest.param("https://app.refold.ai/a b", "path", id="space"),
        pytest.param("https://app.refold.ai/a;b", "path", id="semicolon"),
        pytest.param("https://app.refold.ai/é", "path", id="path-not-ascii"),
        pytest.param("https://app.refold.ai\n", "path", id="newline-at-end"),
        pytest.param("https://app.re\tfold.ai", "path", id="tab"),
        pytest.param(" https://app.refold.ai", "path", id="space-before"),
        pytest.param("https://app.refold.ai ", "host", id="space-after"),
        pytest.param("https://app.refold.ai/\x00", "path", id="nul"),
    ],
)
def test_url_that_would_lead_elsewhere_is_refused(url: str, reason: str) -> None:
    """Whatever could change host, path or query of a request is refused, with the reason."""
    with pytest.raises(ConfigError, match=reason) as caught:
        check_base_url(url, allow_insecure_http=True)
    assert caught.value.field == "base_url"


@pytest.mark.parametrize("value", [None, 5, b"https://app.refold.ai"])
def test_url_must_be_a_string(value: Any) -> None:
    """Bytes and numbers are no URL."""
    with pytest.raises(ConfigError, match="must be a string"):
        check_base_url(value)
