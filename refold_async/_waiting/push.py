"""What pushes have told: hints for who waits, and what looks may be spared. It sends nothing."""

from __future__ import annotations

import math
from collections import OrderedDict
from contextvars import Context
from typing import TYPE_CHECKING

from refold_async._logs import Log
from refold_async._models import ExecutionStatus
from refold_async._waiting.trust import SILENT, Silence, Trust
from refold_async._waiting.watch import Hint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from refold_async._clock import Clock, Timer
    from refold_async._config import PollPolicy
    from refold_async._waiting.watch import Watch

logger = Log("waiting")

_KEPT, _KEPT_FOR = 10_000, 600.0
"""Events that came before anybody waited for their run: so many, and for so many seconds."""
_LAGS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Seconds between the reads of a run whose end was told and is not shown yet."""
_AGAIN = 5.0
"""Seconds between two reads for which no more than a repeated push is the reason."""
_PINNED = {"True": 0.01, "False": 1.0}
"""The share that is taken for granted, by `PollPolicy.push`."""
_JUDGED_AFTER = 5.0
"""Seconds by which a push may come later than a look, or than it was expected."""
_CHECK = 1.0
"""Seconds between two checks of that, at least."""
_TOLD = frozenset(
    {
        ExecutionStatus.COMPLETED,
        ExecutionStatus.ERRORED,
        ExecutionStatus.STOPPED,
        ExecutionStatus.TIMED_OUT,
    }
)
"""Endings that have an event."""


class Early:
    """Runs that ended before anybody here waited for them, as pushes told."""

    def __init__(self) -> None:
        self._events: OrderedDict[str, tuple[str | None, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._events)

    def keep(self, execution_id: str, account: str | None, now: float) -> None:
        """Keep what was told until somebody waits for it."""
        while self._events and now - next(iter(self._events.values()))[1] > _KEPT_FOR:
            self._events.popitem(last=False)
        self._events.pop(execution_id, None)
        self._events[execution_id] = account, now
        if len(self._events) > _KEPT:
            self._events.popitem(last=False)

    def take(self, execution_id: str, account: str | None, now: float) -> float | None:
        """Give when an end was told of this account's run, if it was; it is forgotten thereby."""
        whose, at = self._events.get(execution_id, (None, -math.inf))
        if not same_account(whose, account):
            return None
        self._events.pop(execution_id, None)
        return at if now - at <= _KEPT_FOR else None


class Pushes:
    """What pushes are worth to one client: hints for who waits, and what looks may be spared.

    Args:
        policy: whether to rely on them.
        clock: what tells the time.
        fell_silent: called when they have stopped coming, to look at what relied on them.
    """

    def __init__(
        self,
        policy: PollPolicy,
        clock: Clock,
        fell_silent: Callable[[], None] = lambda: None,
    ) -> None:
        self._pinned = _PINNED.get(str(policy.push))
        self._clock = clock
        self._fell_silent = fell_silent
        self._early = Early()
        self._trust = Trust()
        self._silence = Silence()
        self._heard = False  # any push at all
        self._deaf = False  # others may be told what is not heard here
        self._whole_from = -math.inf  # monotonic seconds from which on nothing was missed
        self.by_push = self.by_looks = 0  # ends, by what told them first
        self._seen_first: OrderedDict[str, tuple[str | None, float]] = OrderedDict()
        self._timer: Timer | None = None

    # -- what they are worth -----------------------------------------------------------------

    def lost(self, account: str | None, since: float = 0.0) -> float:
        """Give the share of ends of an account whose push will not come, as expected.

        Args:
            account: the linked account.
            since: seconds in which a run may have ended.
        """
        if self._pinned is None and not self._heard:
            return 1.0
        now = self._clock.monotonic()
        self._judge(now)
        if self._silence.silent or self._deaf or now - since < self._whole_from:
            return 1.0
        return self._trust.lost(account) if self._pinned is None else self._pinned

    @property
    def lost_of_all(self) -> float:
        """The same share of the whole client."""
        self._judge(self._clock.monotonic())
        if self._silence.silent or self._deaf:
            return 1.0
        return self._trust.of_all if self._pinned is None else self._pinned

    def ended(self, watch: Watch, status: ExecutionStatus) -> None:
        """Note that an end became known: by its push, or by a look that was there first."""
        if watch.hint is not None:
            self.by_push += 1
            self._trust.count(watch.account, lost=False)
            return
        self.by_looks += 1
        # What had ended before this client knew of it was told to nobody here.
        now, going_at = self._clock.monotonic(), watch.going_at
        whole = not self._deaf and going_at is not None and going_at >= self._whole_from
        if self._heard and status in _TOLD and whole:
            self._seen_first[watch.execution_id] = watch.account, now + _JUDGED_AFTER
            if len(self._seen_first) > _KEPT:
                self._seen_first.popitem(last=False)

    def _judge(self, now: float) -> None:
        """Count as lost the pushes that have not come a while after a look had seen the end."""
        while self._seen_first:
            execution_id, (account, until) = next(iter(self._seen_first.items()))
            if until > now:
                break
            del self._seen_first[execution_id]
            self._trust.count(account, lost=True)

    def deafen(self) -> None:
        """Take note that others may be told what is not heard here."""
        self._deaf = True

    def hear_again(self, *, missed: bool) -> None:
        """Take note that all is heard from now on; and before, unless something was missed."""
        self._deaf = False
        if missed:
            self._whole_from = self._clock.monotonic()

    # -- what they tell ----------------------------------------------------------------------

    def told(self, execution_id: str, account: str | None, watches: Iterable[Watch]) -> list[Watch]:
        """Note a push; give those of the watches of its run that are to be read for it."""
        now, known = self._clock.monotonic(), [*watches]
        self._heard = True
        self._silence.heard(now)
        self._judge(now)
        whose, _ = self._seen_first.get(execution_id, (None, 0.0))
        if execution_id in self._seen_first and same_account(whose, account):
            del self._seen_first[execution_id]
            self._trust.count(whose, lost=False)
            return []
        if all(watch.learned for watch in known) and known:
            return []
        waiting = [watch for watch in known if watch.wanted]
        if not waiting:
            self._early.keep(execution_id, account, now)
        return [watch for watch in waiting if _is_reason(watch, now)]

    def joined(self, watch: Watch) -> None:
        """Take what was told before anybody waited for a run."""
        now = self._clock.monotonic()
        at = self._early.take(watch.execution_id, watch.account, now)
        if at is not None and watch.hint is None:
            watch.hint = Hint(at, now)

    def lagged(self, watch: Watch, asked_at: float) -> None:
        """Note a read that did not show the end that was told: there will be more, then none."""
        hint, now = watch.hint, self._clock.monotonic()
        if hint is None or hint.at > asked_at:
            return
        if hint.tries < len(_LAGS):
            hint.due = now + _LAGS[hint.tries]
        else:
            hint.due, hint.again_from = math.inf, now + _AGAIN
        hint.tries += 1

    # -- silence -----------------------------------------------------------------------------

    def expect(self, watch: Watch, at: float) -> None:
        """Note when a run will very likely have ended, if its push is relied on."""
        if self.lost(watch.account) > 0.5 or watch.hint is not None:  # noqa: PLR2004
            return
        self._silence.expect(watch, at + _JUDGED_AFTER)
        self._arm()

    def _arm(self) -> None:
        due = self._silence.next_check
        if self._timer is None and due < math.inf and not self._silence.silent:
            wait = max(due - self._clock.monotonic(), _CHECK)
            self._timer = Context().run(self._clock.call_later, wait, self._check)

    def _check(self) -> None:
        self._timer = None
        if self._silence.falls(self._clock.monotonic()):
            logger.warning(
                "no webhook comes any more, though %d runs or more have very likely ended: looks"
                " are made as without webhooks until the next one comes",
                SILENT,
            )
            self._fell_silent()
        self._arm()

    def close(self) -> None:
        """Expect nothing more."""
        if self._timer is not None:
            self._timer.cancel()


def same_account(told: str | None, ours: str | None) -> bool:
    """Tell whether an event is of an account; one that names none goes by the run's id alone."""
    return told is None or ours is None or told == ours


def _is_reason(watch: Watch, now: float) -> bool:
    """Tell whether a push is reason for a read; a repeated one hardly ever is."""
    hint = watch.hint
    if hint is None:
        watch.hint = Hint(now, now)
        return True
    if now < hint.again_from:
        return False
    hint.due, hint.again_from = now, math.inf
    return True
