"""Settings: policies as frozen values, hidden secrets, and where each setting comes from."""

import hmac
import importlib.util
import ipaddress
import math
import os
import re
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Literal, NoReturn, cast, get_args
from urllib.parse import urlsplit

import attrs

from refold_async._checks import (
    Seconds,
    check_count,
    check_flag,
    check_header,
    plain,
    positive_seconds,
    seconds_from_zero,
    to_seconds,
)
from refold_async._errors import ConfigError
from refold_async._value import Value

RetryMode = Literal["transient", "safe", "never"]
"""What a policy sends again; see `RetryPolicy`."""
BodyForm = Literal["wrapped", "bare"]
"""What is around a payload; see `Dialect`."""

DEFAULT_BASE_URL = "https://app.refold.ai"
MIB = 1024 * 1024


def _seconds(value: Seconds) -> float:
    """Convert what needs it; the validator, which knows the field's name, sees to the rest."""
    return value.total_seconds() if isinstance(value, timedelta) else value


def _above_zero(policy: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    field = _name(policy, attribute)
    seconds = to_seconds(value, field)
    if not (math.isfinite(seconds) and seconds > 0):
        raise ConfigError(f"must be a finite number of seconds above 0, not {seconds}", field=field)


def _from_zero(policy: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    seconds_from_zero(value, _name(policy, attribute))


def _name(policy: object, attribute: "attrs.Attribute[Any]") -> str:
    return f"{type(policy).__name__}.{attribute.name}"


def _count_field(default: int) -> Any:
    """Declare a policy field that counts: a whole number from 1."""

    def check(instance: object, attribute: "attrs.Attribute[int]", value: int) -> None:
        check_count(value, f"{type(instance).__name__}.{attribute.name}")

    return attrs.field(default=default, validator=check)


def _call_timeout(value: Seconds | None) -> float | None:
    return positive_seconds(value, "Timeouts.call")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Timeouts(Value):
    """Bounds on one attempt, in seconds; none but `call` counts the wait for a slot.

    Attributes:
        connect: until a connection stands: DNS, TCP, TLS. Ten seconds cross any healthy network.
        read: from the last byte sent to the last byte read, so that a slow drip ends. While a large
            body is being sent, each 64 KiB of it must be taken within the same time.
        sync: the same as `read` for a sync run, which holds the connection until the workflow ends;
            330 s is above the five minutes at which most proxies cut.
        abandoned: what is left of them once the caller of a start is gone, be it by cancelling or
            by its own timeout; then the run is looked up instead of waited for.
        call: bounds a whole `execute` that is given no `timeout`: slot, attempts and pauses; None
            for no bound.
    """

    connect: float = attrs.field(default=10.0, converter=_seconds, validator=_above_zero)
    read: float = attrs.field(default=30.0, converter=_seconds, validator=_above_zero)
    sync: float = attrs.field(default=330.0, converter=_seconds, validator=_above_zero)
    abandoned: float = attrs.field(default=10.0, converter=_seconds, validator=_above_zero)
    call: float | None = attrs.field(default=None, converter=_call_timeout)


def _plain_mode(value: RetryMode) -> RetryMode:
    given: object = value
    return cast("RetryMode", plain(given)) if isinstance(given, str) else value


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RetryPolicy(Value):
    """When a request is tried again, and how long the pauses are.

    The pause before try n+1 (n from 0) is random between 0 and `min(max_wait, wait * 2**n)`; a
    Retry-After is a lower bound that this jitter goes on top of.

    Attributes:
        mode: `transient` sends again after failures that prove no start, and after a 5xx, flagged
            as `possible_duplicate`; `safe` never sends what may have started; `never` tries once.
        attempts: tries in all, the first one included; refusals by load (a 429, and a 503 of the
            service's own) are not counted.
        wait: the first pause's upper end, in seconds.
        max_wait: no pause is drawn from a longer range than this, in seconds.
        patience: how long refusals by load are waited out, in seconds from the first one, or from
            when the call began to wait for a pause after others; a Retry-After beyond what is left
            of it fails at once.
        settle: how long a started run may take to show in the list, in seconds.
    """

    mode: RetryMode = attrs.field(default="transient", converter=_plain_mode)
    attempts: int = _count_field(4)
    wait: float = attrs.field(default=0.5, converter=_seconds, validator=_from_zero)
    max_wait: float = attrs.field(default=8.0, converter=_seconds, validator=_from_zero)
    patience: float = attrs.field(default=120.0, converter=_seconds, validator=_from_zero)
    settle: float = attrs.field(default=1.0, converter=_seconds, validator=_from_zero)

    @mode.validator
    def _check_mode(self, _: "attrs.Attribute[str]", value: str) -> None:
        if value not in get_args(RetryMode):
            known = ", ".join(get_args(RetryMode))
            raise ConfigError(f"must be one of {known}, not {value!r}", field="RetryPolicy.mode")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class PollPolicy(Value):
    """How a pending run is looked at.

    Attributes:
        first: seconds from the start of a run to the first look, until the durations of its
            workflow are known; and the shortest pause between two looks.
        max_interval: pauses grow up to this many seconds, like the square root of the run's age;
            beyond it only while so many reads are made that each has become dearer. An hour-long
            run reaches 33 s, so this bounds runs of three hours and more.
        sweep: whether the runs of an account may be looked at together, by list requests.
        page_size: documents asked for per list request.
        not_found_grace: a run that was started so many seconds ago, by this client or by what its
            id tells, may be unknown to the service still; any other 404 is raised at once.
        failure_budget: looks may fail for this many seconds in a row before the wait gives up,
            counted from the first of them; refusals by load (429) for two minutes.
        push: whether looks may become rare where webhooks tell of ends (`refold.notify`): `"auto"`
            as far as they have proved to come, True from the start, False never.
        push_sweep: where pushes are relied on, pauses between looks may grow beyond `max_interval`,
            up to this many seconds.
    """

    first: float = attrs.field(default=0.5, converter=_seconds, validator=_above_zero)
    max_interval: float = attrs.field(default=60.0, converter=_seconds, validator=_above_zero)
    sweep: bool = attrs.field(default=True)
    page_size: int = _count_field(100)
    not_found_grace: float = attrs.field(default=5.0, converter=_seconds, validator=_from_zero)
    failure_budget: float = attrs.field(default=60.0, converter=_seconds, validator=_from_zero)
    push: Literal["auto"] | bool = attrs.field(default="auto")
    push_sweep: float = attrs.field(default=60.0, converter=_seconds, validator=_above_zero)

    @push.validator
    def _check_push(self, _: "attrs.Attribute[Any]", value: object) -> None:
        if not isinstance(value, bool) and value != "auto":
            raise ConfigError(
                f'must be "auto", True or False, not {value!r}', field="PollPolicy.push"
            )

    @sweep.validator
    def _check_sweep(self, _: "attrs.Attribute[bool]", value: bool) -> None:  # noqa: FBT001
        check_flag(value, "PollPolicy.sweep")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RateLimit(Value):
    """A ceiling on requests, as a token bucket: Refold documents 20 per second, bursts of 5.

    Clients of one event loop with the same base URL and credential share one budget; if they ask
    for different limits, the stricter one holds for all while both are open. Below the ceiling the
    rate adapts to what the service refuses; see "Pacing" in the documentation.

    Attributes:
        per_second: requests per second in the long run.
        burst: requests that may leave at once after a pause.
    """

    per_second: float = attrs.field(default=20.0)
    burst: int = _count_field(5)

    @per_second.validator
    def _check_rate(self, _: "attrs.Attribute[float]", value: float) -> None:
        number = type(value) in {int, float}
        if not (number and 0 < value <= sys.float_info.max):
            raise ConfigError(
                f"must be a finite number above 0, not {value!r}; rate_limit=None for no ceiling",
                field="RateLimit.per_second",
            )


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Dialect(Value):
    """How a deployment speaks where the service's documentation leaves it open.

    Attributes:
        body: where the input of a workflow stands in the body of an execute request: `wrapped` in
            an object's `payload`, as the reference page of "Execute Workflow" has it, or `bare`, as
            the OpenAPI file has it.
    """

    body: BodyForm = attrs.field(default="wrapped")

    @body.validator
    def _check_body(self, _: "attrs.Attribute[str]", value: str) -> None:
        if value not in get_args(BodyForm):
            known = ", ".join(get_args(BodyForm))
            raise ConfigError(f"must be one of {known}, not {value!r}", field="Dialect.body")


class Secret:
    """A string that shows in no `repr`, `str`, log or pickle."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Give the string itself, to put on the wire."""
        return self._value

    def hidden_in(self, text: bytes) -> bytes:
        """Give a text that came back, without the string, also as JSON, HTML and URLs spell it."""
        spelled = b"".join(map(_spellings, self._value.encode()))
        return re.sub(spelled, b"***", text, flags=re.IGNORECASE)

    def __repr__(self) -> str:
        return "Secret('***')"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "what holds a credential can't be pickled or deep-copied: a client, Shared, a handle, a"
            " batch's report and its items. Make the client where it is used, and pass on"
            " handle.ref, item.document() or report.to_jsonl()"
        )


_NEVER_ESCAPED = re.compile(rb"[A-Za-z0-9._~-]")


def _spellings(byte: int) -> bytes:
    """Write a pattern for a byte of a secret: most are spelled in one way only."""
    plain = bytes([byte])
    if _NEVER_ESCAPED.match(plain):
        return re.escape(plain)
    other = b"\\\\+u00%02x|%%%02x|&#0*%d;|&#x0*%x;" % (byte, byte, byte, byte)
    return b"(?:\\\\*%b|%b)" % (re.escape(plain), other)


_SCHEMES = {"redis", "rediss", "unix"}


def _hidden_url(value: object) -> Secret:
    """Take a URL, whose password shows nowhere from here on."""
    if isinstance(value, Secret):
        return value
    good = isinstance(value, str) and value.isprintable()
    try:
        parts = urlsplit(value) if isinstance(value, str) else None
        _ = None if parts is None else parts.port
    except ValueError:
        good = False
    if not good or parts is None or parts.scheme not in _SCHEMES:
        raise ConfigError(
            "must be the URL of one Redis, as redis://:password@host:6379/0, rediss://... or"
            " unix:///path; Cluster and Sentinel are not supported",
            field="shared",
        )
    return Secret(str.__str__(value))


def _shared_name(value: str | None) -> str | None:
    return None if value is None else check_header(value, "Shared.name")


def _members(value: int | None) -> int | None:
    return None if value is None else check_count(value, "Shared.members")


@attrs.frozen(eq=False, repr=False)
class Shared(Value):
    """One Redis for what processes and machines with one credential share.

    Attributes:
        url: where it is, as `redis://:password@host:6379/0`. One Redis of its own, no Cluster and
            no Sentinel, with `maxmemory-policy noeviction`. It shows in no repr, pickle or error.
        name: what is shared goes by this name; None for one made of base URL and API key, so that
            processes with the same key find each other. Needed with session tokens.
        members: how many processes share; a process that never reached Redis takes this part of the
            rate. None: it takes all of it.
    """

    url: Any = attrs.field(converter=_hidden_url)
    name: str | None = attrs.field(default=None, converter=_shared_name)
    members: int | None = attrs.field(default=None, converter=_members)


def check_shared(value: object) -> Shared | None:
    """Accept a `Shared` or its URL, where what it needs is installed."""
    if value is None:
        return None
    shared = value if isinstance(value, Shared) else Shared(value)
    if importlib.util.find_spec("redis") is None:
        raise ConfigError("needs redis: pip install 'refold-async[redis]'", field="shared")
    return shared


def name_of(shared: Shared, base_url: str, api_key: str | None) -> str:
    """Give the name under which things are shared; it doesn't give the key away.

    Raises:
        ConfigError: there is no API key to make one of.
    """
    if shared.name is not None:
        return shared.name
    if api_key is None:
        raise ConfigError(
            "session tokens change, so say by which name processes share: shared=Shared(url,"
            " name='...')",
            field="Shared.name",
        )
    return hmac.digest(api_key.encode(), base_url.encode(), "sha256").hex()[:32]


@attrs.frozen(eq=False, repr=False)
class Credential(Value):
    """Exactly one of the two ways to authenticate.

    Attributes:
        api_key: the organisation's key.
        session_token: a JWT bound to one linked account.
        token_source: gives a session token whenever one is needed.
        origin: what it is and where it came from, for errors.
    """

    api_key: Secret | None = None
    session_token: Secret | None = None
    token_source: Callable[[], Awaitable[str] | str] | None = attrs.field(default=None, repr=False)
    origin: str = attrs.field(default="the credential", eq=False)


_ENVIRONMENTS = {"pk": "production ", "tk": "test "}
"""What a key's first letters tell. See: "Authentication"."""


def from_environment(name: str, environ: dict[str, str] | None = None) -> str | None:
    """Read a variable; one that is set but empty counts as unset."""
    return (os.environ if environ is None else environ).get(name) or None


def choose_credential(
    api_key: str | None, session_token: str | Callable[[], Awaitable[str] | str] | None
) -> Credential:
    """Settle on one credential: an argument of either kind switches the environment off."""
    key_field, token_field, given = "api_key", "session_token", "given as"
    if api_key is None and session_token is None:
        key_field, token_field, given = "REFOLD_API_KEY", "REFOLD_SESSION_TOKEN", "from"
        api_key, session_token = from_environment(key_field), from_environment(token_field)
        both = "REFOLD_API_KEY and REFOLD_SESSION_TOKEN are both set; unset one, or pass one"
    else:
        both = "give one of api_key and session_token, not both"
    if api_key is not None and session_token is not None:
        raise ConfigError(both, field=key_field)
    if api_key is not None:
        secret = Secret(check_header(api_key, key_field))
        kind = _ENVIRONMENTS.get(api_key[:2], "")
        return Credential(api_key=secret, origin=f"the {kind}API key {given} {key_field}")
    if session_token is None:
        raise ConfigError(
            "no credential: pass api_key or session_token, or set REFOLD_API_KEY or"
            " REFOLD_SESSION_TOKEN",
            field="api_key",
        )
    if callable(session_token):
        origin = "the session token the session_token callable gave"
        return Credential(token_source=session_token, origin=origin)
    return Credential(
        session_token=Secret(check_header(session_token, token_field)),
        origin=f"the session token {given} {token_field}",
    )


_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)*")


def check_base_url(value: object, *, allow_insecure_http: bool = False) -> str:
    """Accept an https URL (http to loopback), a path prefix allowed; drop its end slash."""
    field = "base_url"
    insecure = check_flag(allow_insecure_http, "allow_insecure_http")
    if not isinstance(value, str):
        raise ConfigError(f"must be a string, not {type(value).__name__}", field=field)
    value = plain(value)
    try:
        parts = urlsplit(value)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ConfigError(f"is no URL: {error}", field=field) from None
    if parts.scheme not in {"http", "https"}:
        raise ConfigError("must begin with https://", field=field)
    if "@" in parts.netloc or "?" in value or "#" in value:
        raise ConfigError(
            "must carry no user, query or fragment; a credential goes into api_key or"
            " session_token",
            field=field,
        )
    named = "[" not in parts.netloc and _HOST.fullmatch(host)
    if not parts.netloc.isascii() or port == 0 or not (named or _is_address(host)):
        raise ConfigError("needs an ASCII host name or address (punycode for others)", field=field)
    if parts.scheme == "http" and not (insecure or _is_loopback(host)):
        raise ConfigError(
            "plain http would show the key to the network; use https, or"
            " allow_insecure_http=True inside a private network",
            field=field,
        )
    path = parts.path.rstrip("/")
    if not _PREFIX.fullmatch(path) or value != value.strip() or not value.isprintable():
        raise ConfigError("its path may hold only plain segments, as /api/refold", field=field)
    netloc = parts.netloc.lower() if named else parts.netloc  # one service has one name, and budget
    return f"{parts.scheme}://{netloc}{path}"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    """Tell the canonical spellings only: `127.1` or `localhost.` may resolve to something else."""
    return host in {"localhost", "::1"} or (
        _is_address(host) and host.startswith("127.") and ":" not in host
    )
