"""What `once=` asks for: a start under a key, with all that decides whether it is the same one."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from typing import TYPE_CHECKING

import attrs

from refold_async._checks import check_header, positive_seconds
from refold_async._errors import ConfigError, PayloadError
from refold_async._protocol import Request

if TYPE_CHECKING:
    from refold_async._checks import Seconds
    from refold_async._config import RetryPolicy

_WORKFLOW_ID = re.compile(r"[0-9a-f]{24}")
_VERSION = "1"
"""Of the fingerprint: another way to make it is another version."""


@attrs.frozen(kw_only=True)
class OnceOptions:
    """The arguments of `execute` that belong to `once`, checked.

    Attributes:
        key: the caller's own name of what is started.
        within: seconds for which it counts.
        shared: whether the key is kept in Redis, or by this process alone.
        looks: whether a look at the list is to do while Redis is away.
    """

    key: str
    within: float
    shared: bool
    looks: bool


@attrs.frozen(kw_only=True)
class Asked:
    """A start under a key.

    Attributes:
        options: the key, and how it is kept.
        request: what starts it, under the tag that is made of the key.
        tag: that tag.
        fingerprint: of what is started.
    """

    options: OnceOptions
    request: Request
    tag: str
    fingerprint: str

    def check(self, fingerprint: str) -> None:
        """Refuse another start under the same key.

        Raises:
            PayloadError: the key was used for another one.
        """
        if fingerprint != self.fingerprint:
            raise PayloadError(
                f"the key {self.options.key!r:.80} was used with another payload, slug or"
                " configuration; nothing was sent: another start needs another key",
                field="once",
            )


def check_once(
    once: object,
    *,
    within: Seconds,
    scope: object,
    fallback: object,
    shared: bool,
    sync: object,
    instance_tag: object,
    policy: RetryPolicy,
    workflow_id: object,
    account: str | None,
) -> OnceOptions:
    """Check what is said about a key, and that the call can be made once at all."""
    key = check_header(once, "once")
    seconds = positive_seconds(within, "once_within")
    if scope not in {"shared", "process"}:
        raise ConfigError(f'must be "shared" or "process", not {scope!r:.40}', field="once_scope")
    if fallback not in {None, "look"}:
        raise ConfigError(f'must be None or "look", not {fallback!r:.40}', field="once_fallback")
    if seconds is None:
        raise ConfigError("must be a number of seconds, not None", field="once_within")
    if scope == "shared" and not shared:
        raise ConfigError(
            "keys are kept in Redis: RefoldClient(shared='redis://...'). Without it"
            " once_scope='process' has calls on this event loop share one start, at best",
            field="once",
        )
    if sync:
        raise ConfigError("a run is started once and then waited for; leave sync out", field="once")
    if instance_tag is not None:
        raise ConfigError("makes the tag itself; leave instance_tag out", field="once")
    if policy.mode == "never":
        raise ConfigError(
            "looks lost answers up, which the mode 'never' doesn't allow", field="once"
        )
    if not (isinstance(workflow_id, str) and _WORKFLOW_ID.fullmatch(workflow_id)):
        raise ConfigError(
            "needs the workflow's id (24 hex digits): an alias may point elsewhere tomorrow",
            field="once",
        )
    if account is None:
        raise ConfigError(
            "a session token doesn't tell whose key this is: say linked_account_id=", field="once"
        )
    return OnceOptions(key=key, within=seconds, shared=scope == "shared", looks=fallback == "look")


def tag_of(name: str, base_url: str, account: str, workflow_id: str, key: str) -> str:
    """Make the tag of a key: the same in every process, and nobody else's."""
    whole = json.dumps([base_url, account, workflow_id, key]).encode()
    return "rfa-" + hmac.digest(name.encode(), whole, "sha256").hex()[:32]


def asked_for(options: OnceOptions, request: Request) -> Asked:
    """Put together what is asked for."""
    config_id = request.headers.get("config_id")
    head = json.dumps([_VERSION, request.workflow_id, request.account, config_id, request.slug])
    digest = hashlib.sha256(head.encode() + b"\n" + request.payload).hexdigest()
    return Asked(
        options=options,
        request=request,
        tag=request.instance_tag or "",
        fingerprint=f"{_VERSION}:{digest}",
    )
