"""The rate at which requests may leave, learned from what the service refuses. Pure: no waiting.

A service tells its capacity only by refusing. So a refusal lowers the rate, which within seconds is
back just below where it was refused, stays there, and then goes beyond: slowly at first, to learn
whether there is more; after a long calm it is at the ceiling again. The shape is that of TCP CUBIC
(RFC 9438), in time and in shares of the rate, so that it fits 1 request per second and 1,000.

Where the rate goes back to is judged by what was *served* since the last decrease: that much the
service is known to take. If far less is served than sent, the rate falls at once; else it takes one
step in `RECOVERY` seconds. A step that brings no relief, because the service refuses at random, is
taken back.
"""

from __future__ import annotations

import math

from refold_async._pacing.chance import Chance

RECOVERY = 3.0
"""Seconds in which the rate is back at its target; until then single refusals change nothing."""
_DIP = 0.05
"""By how much the rate falls below its target at first: the service's queue drains."""
_STEP = 0.99
"""The target is at least this much below the rate that was refused."""
_TRUST = 1.1
"""And at most so much above what was served since the last decrease."""
_SHORTEST_HOVER, _LONGEST_HOVER = 2.0, 14.0
"""Seconds at the target before more is tried: doubled whenever the target proves right."""
_COST, _LONGEST_CALM = 25.0, 30.0
"""A refusal that stops everybody for a second is worth so many seconds without another."""
_FAR_TOO_HIGH = 0.7
"""Less than this share of the rate being served is no single refusal any more."""
_ENOUGH, _PLENTY = 8, 20
"""Requests from which a large and a small shortfall show."""
_SHORT, _LONG = 0.25, 0.75
"""Seconds after which a large and a small shortfall show."""
_CLEAR = 0.08
"""A share of refusals that is more than the way back to the target needs."""
_SLOWEST = 0.1
"""Requests per second below which no target falls: so little fills no service."""
_LONGEST_RECOVERY = 30.0
"""While nothing at all is served, each recovery takes twice as long, up to this."""
_UNUSED = 25
"""A ceiling of more than so many times what was sent so far has not been tried."""
_UNBOUNDED = 1e6
"""Requests per second, where nothing limits them."""
_IDLE = 2.0
"""Seconds without a request after which "served since" begins anew."""
_FORGOTTEN = 100.0
"""Without a ceiling: the growth of the rate at which what was learned is forgotten."""


class Throttle:
    """The rate of one budget: a ceiling, and what refusals have taught."""

    def __init__(self, ceiling: float | None) -> None:
        self.ceiling = ceiling  # requests per second, or None
        self.refused = 0  # requests in all
        self.gate = -math.inf  # monotonic seconds before which nothing may leave
        self.phase = 0  # counts the decreases; a reply tells of the phase its request left in
        self._target: float | None = None  # None: nothing is known but the ceiling
        self._begun = 0.0  # when the way back to the target began
        self._dip = _DIP
        self._recovery = RECOVERY
        self._hover = _SHORTEST_HOVER
        self._chance = Chance()
        # What was served since the last decrease, or since the last idle time.
        self._served = 0
        self._served_since = 0.0
        self._stopped = 0.0  # seconds thereof behind a gate
        self._active_at = -math.inf
        self._proven: float | None = None  # per second, by the decrease before
        self._tried: tuple[float, float] | None = None  # the last step: rate, and served per second
        self._fell = (
            -math.inf,
            1.0,
        )  # when a clear share of refusals lowered the rate, and the share
        # The requests since a refusal, which found the service without reserves.
        self._sampling_since: float | None = None
        self._passed = self._failed = 0

    @property
    def learned(self) -> bool:
        """Whether refusals say more than the ceiling does."""
        return self._target is not None

    def rate(self, now: float) -> float | None:
        """Give the requests per second that may leave now; None for any number."""
        if self._target is None:
            return self.ceiling
        since = now - self._begun
        if since < self._recovery:
            rate = self._target * (1 - self._dip * (1 - max(since, 0.0) / self._recovery) ** 3)
        else:
            growth = 8.0 + 1.5 * min(self._hover, _LONGEST_HOVER)  # seconds until it is doubled
            beyond = max(since - self._recovery - self._hover, 0.0) / growth
            rate = self._target * (1 + beyond**3)
        if rate >= (self.ceiling or self._target * _FORGOTTEN):
            self._target = self._sampling_since = self._proven = self._tried = None
            self._hover, self._recovery = _SHORTEST_HOVER, RECOVERY
            return self.ceiling
        return rate

    def serve(self, now: float, phase: int) -> None:
        """Take note of a request that was served."""
        if now - self._active_at > _IDLE:
            self._note_pause(now)
        self._active_at = now
        self._served += 1
        if self.refused and phase == self.phase and self._is_chance(now, refused=False):
            return
        if self._sampling_since is not None and phase == self.phase:
            self._passed += 1
            self._fall(now, self._sampling_since)

    def refuse(self, now: float, phase: int, pause: float) -> None:
        """Take note of a request that was refused.

        Args:
            now: monotonic seconds.
            phase: in which the request left.
            pause: seconds for which the service wants no requests at all.
        """
        self._note_pause(now)
        self._active_at = now
        self.refused += 1
        if now + pause > self.gate:
            longer = now + pause - max(self.gate, now)
            self._begun += longer
            self._stopped += longer
            self.gate = now + pause
        if phase != self.phase or self._is_chance(now, refused=True):
            return  # the rate is lower by now, or not to blame
        if self._sampling_since is None:
            self._sample(now)
        else:
            self._failed += 1
            if self._fall(now, self._sampling_since):
                return
        rate = self.rate(now)
        if rate is None or (self._target is None and rate > _UNUSED * (self._served + 1)):
            return  # the ceiling says nothing, the sample will
        if self._target is None or now >= self._begun + self._recovery:
            self._step(now, rate)

    def _is_chance(self, now: float, *, refused: bool) -> bool:
        """Tell whether requests are refused by chance; then the rate is what it was before."""
        rate = self.rate(now) or _UNBOUNDED
        as_good = self._chance.note(rate, refused=refused)
        if as_good is not None:
            self._sampling_since = None
            self._decrease(now, as_good, dip=0.0)
        return self._chance.share is not None

    def _note_pause(self, now: float) -> None:
        idle = _IDLE if self._target is None else max(_IDLE, 5 / self._target)
        if now - max(self._active_at, self.gate) > idle:
            self._served, self._served_since, self._stopped = 0, now, 0.0

    def _sample(self, now: float) -> None:
        self._sampling_since = now
        self._passed = self._failed = 0

    def _fall(self, now: float, since: float) -> bool:
        """Lower the rate at once if far less is served than sent; tell whether it was."""
        sent, took = self._passed + self._failed, now - since
        overrun = sent >= _PLENTY and self._failed > self._passed
        seen = took >= _SHORT and (sent >= _ENOUGH or (not self._passed and self._failed > 2))  # noqa: PLR2004
        if not (overrun or seen):
            return False
        took = max(took, 0.01)
        served, rate = self._passed / took, self.rate(now) or sent / took
        if not self._failed or served > rate * _FAR_TOO_HIGH:
            return self._fall_somewhat(now, took)
        if not self._passed and took < _SHORT and self._served:
            served = self._served / max(now - self._served_since, 1.0)
        elif not self._passed:  # it is down rather than full: the target may well be right
            self._recovery = min(self._recovery * 2, _LONGEST_RECOVERY)
            self._decrease(now, self._target or rate, dip=0.98)
            return True
        elif self._proven is not None and self._proven < rate:
            # A server that saves nothing up serves every second request when slightly overrun.
            served, self._proven = self._proven * 0.97, None
        elif served > rate * 0.1:
            served = math.sqrt(served * rate)
        self._recovery = RECOVERY
        self._decrease(now, min(served, rate * _STEP))
        return True

    def _fall_somewhat(self, now: float, took: float) -> bool:
        """Lower the rate to what is served, if a clear share is refused and that may help."""
        sent = self._passed + self._failed
        if self._failed and (sent < _PLENTY or took < _LONG):
            return False  # to be seen
        self._sampling_since = None
        share = self._failed / sent
        fell_at, share_then = self._fell
        in_vain = now - fell_at < _LONGEST_CALM and share > share_then / 2
        if share < _CLEAR or in_vain:
            return False
        self._fell, self._recovery = (now, share), RECOVERY
        self._decrease(now, self._passed / took)
        return True

    def _step(self, now: float, rate: float) -> None:
        """Lower the rate a little: between what was refused and what was served."""
        took = now - self._served_since
        # Of the time behind a gate a server that saves up loses nothing, another all.
        served = self._served / max(took - self._stopped / 4, 1.0)
        if self._tried is not None and took < 2 * RECOVERY:
            rate_before, served_before = self._tried
            relation = rate / rate_before
            if relation < 0.97 and served / served_before < (1 + relation) / 2:  # noqa: PLR2004
                self._tried = None
                self._recovery, self._hover = RECOVERY, _SHORTEST_HOVER
                self._decrease(now, rate_before * _TRUST, dip=0.0)
                return
        known = self._target is not None
        target = min((rate + served) / 2, served * _TRUST) if known else served
        target = max(min(target, rate * _STEP), rate / 2)
        before, self._recovery = self._target or 0.0, RECOVERY
        self._proven = self._tried = None
        if took > RECOVERY and served:
            self._proven, self._tried = served, (rate, served)
        hover = _SHORTEST_HOVER
        if abs(target - before) < 0.1 * before and rate < 1.15 * target:
            costly = min(_COST * (self.gate - now), _LONGEST_CALM, self._hover * 4)
            hover = max(min(self._hover * 2, _LONGEST_HOVER), costly)
        self._decrease(now, target, hover=hover)

    def _decrease(
        self, now: float, target: float, *, dip: float = _DIP, hover: float = _SHORTEST_HOVER
    ) -> None:
        self.phase += 1
        self._target = max(target, _SLOWEST)
        if self.ceiling is not None:
            self._target = min(self._target, self.ceiling)
        self._dip, self._hover = dip, hover
        self._begun = max(now, self.gate)
        self._served, self._served_since = 0, now
        self._stopped = max(self.gate - now, 0.0)
        self._sample(now)
