"""What a batch and its workers tell each other: values, none of which holds a secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import attrs

from refold_async._config import RetryPolicy
from refold_async._errors import RefoldError
from refold_async._protocol import Request


class Mark(NamedTuple):
    """A moment by both clocks of a worker's machine, in seconds."""

    monotonic: float
    wall: float


class Sealed(bytes):
    """The pickled starts of a chunk. Dashboards and logs show their size: payloads are private."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self):,} bytes of starts>"


@attrs.frozen(kw_only=True)
class Profile:
    """What clients of one batch have in common, wherever they are; compared, and told in errors.

    Attributes:
        release: of the SDK.
        base_url: where the service is.
        linked_account_id: for whom.
        credential: an HMAC of the API key for this batch alone, or the kind of the other one.
        timeouts: by which it is known when a request is over.
    """

    release: str
    base_url: str
    linked_account_id: str | None
    credential: str = attrs.field(repr=False)
    timeouts: str

    def difference(self, there: Profile) -> str | None:
        """Say in what another profile differs; None if in nothing."""
        for field in attrs.fields(Profile):
            here, other = getattr(self, field.name), getattr(there, field.name)
            if here != other and field.name == "credential":
                return "its credential is another one"
            if here != other:
                return f"its {field.name} is {other!r}, and here it is {here!r}"
        return None


@attrs.frozen(kw_only=True)
class Invitation:
    """What a worker needs to know to take part in a batch."""

    batch: str
    connect: str
    lease: float
    profile: Profile


@attrs.frozen
class Refused:
    """Why a worker can't take part."""

    why: str


@attrs.frozen(kw_only=True)
class Beat:
    """What the batch tells a worker now and then.

    Attributes:
        seat: whom it is for.
        mark: the moment of the worker's last answer: its lease counts from then.
        heard: up to which of its outcomes it has been heard.
        part: of the rate limit that is the worker's; None if nobody divides it.
        off: tags of starts that nobody wants any more.
        void: numbers of chunks of which nothing more may be sent.
    """

    seat: str
    mark: Mark | None
    heard: int
    part: float | None
    off: frozenset[str]
    void: frozenset[int]


@attrs.frozen(kw_only=True)
class Pulse:
    """What a worker answers.

    Attributes:
        seat: who answers; None if it knows nothing of the batch (any more).
        mark: the moment of the answer.
        leased: whether it may start runs now.
        epoch: how often it has been without a lease and was then given one.
        outcomes: what became of starts, numbered: what the batch has not heard yet.
        requests: it has made for the batch, by operation.
    """

    seat: str | None
    mark: Mark
    leased: bool = False
    epoch: int = 0
    outcomes: tuple[tuple[int, Outcome], ...] = ()
    requests: Mapping[str, int] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Head:
    """Whose chunk it is: it is for one seat in one epoch, and is worth nothing elsewhere."""

    batch: str
    number: int
    seat: str
    epoch: int


@attrs.frozen
class Start:
    """A start as it is to be sent.

    Attributes:
        request: complete but for the credential.
        policy: how it is tried again.
        limit: seconds for all tries, or None.
    """

    request: Request
    policy: RetryPolicy
    limit: float | None


@attrs.frozen(kw_only=True)
class Outcome:
    """What became of a start on a worker: a run, an error, or neither: it was held back.

    Attributes:
        chunk: number of the chunk it came in.
        tag: that it was to be sent with.
        execution_id: its run.
        error: why there is none, or that nobody knows.
        attempts: tries it took.
        possible_duplicate: whether an earlier try may have started a run as well.
    """

    chunk: int
    tag: str
    execution_id: str | None = None
    error: RefoldError | None = None
    attempts: int = 0
    possible_duplicate: bool = False

    @property
    def held_back(self) -> bool:
        """Whether nothing was sent, and nothing will be."""
        return self.execution_id is None and self.error is None


@attrs.frozen
class Report:
    """What a chunk came to, and the requests its worker has made for the batch by then."""

    outcomes: tuple[Outcome, ...]
    requests: Mapping[str, int]
