"""The rate at which requests may leave, learned from what the service refuses. Pure: no waiting.

1. A refusal lowers the rate a little, once per round trip: replies to what left before don't count.
   In `BACK` seconds it is back just below what was refused, rests there, and goes on, ever faster:
   the curve of TCP CUBIC (RFC 9438), in shares of the rate: it fits 1 per second and 1,000.
2. The next `WINDOW` replies are judged, of half a second at least. If more than one in `WINDOW` is
   a refusal, the rate falls to what was served, at most to a third. (Where requests come fast,
   one in so many is no reason to slow down, unless a pause came with it.)
3. If none was served, the service is down: nothing leaves for half a second, then 1, 2, ... up
   to a third of `BACK`; when it serves again, the rate comes back to what it was.
4. A share of refusals that is no smaller at a third of the rate is chance, not load (a broken
   replica): the rate is what it was until the share doubles, for `MEMORY` seconds at most.
5. At the ceiling, or `MEMORY` seconds after the rate was lowered, all is forgotten.

Several that tell each other what they have learned, and what they have counted, are as one: each
judges by the replies of all.
"""

from __future__ import annotations

import json
import math
from typing import Any

import attrs

from refold_async._value import Value

FALL = 0.05
"""By how much a refusal lowers the rate; half of it for good."""
BACK = 20.0
"""Seconds until the rate is back where it was."""
WINDOW = 16
"""Replies by which a rate is judged, and refusals that suffice."""
GLANCE = 0.5
"""Seconds a judgement takes at least, and the first pause while nothing is served."""
THIRD = 1 / 3
"""The part of a rate that a judgement leaves at least, and at which chance shows; the growth beyond
in another `BACK` seconds; and of these, the longest pause while nothing is served."""
MEMORY = 120.0
"""Seconds after which what was learned is put to the test again."""
SLOWEST = 0.1
"""Requests per second that leave at least: so little fills no service."""
TICK = 0.02
"""Seconds that are one moment to a timer."""


@attrs.define(eq=False, repr=False)
class Window:
    """The replies since the rate was lowered, or since a refusal that did not lower it."""

    opened: float  # monotonic seconds
    stopped: float  # seconds thereof behind a gate
    served: int = 0
    refused: int = 0
    elsewhere: tuple[int, int] = (0, 0)  # of both, what others have told

    @property
    def own(self) -> tuple[int, int]:
        """What was served and refused here."""
        return self.served - self.elsewhere[0], self.refused - self.elsewhere[1]

    def hear(self, served: int, refused: int) -> None:
        """Count what others tell now, in place of what they told before."""
        self.served += served - self.elsewhere[0]
        self.refused += refused - self.elsewhere[1]
        self.elsewhere = served, refused

    @property
    def sent(self) -> int:
        """Replies in all."""
        return self.served + self.refused

    @property
    def share(self) -> float:
        """How much of it was refused."""
        return self.refused / self.sent


@attrs.frozen(eq=False, repr=False)
class Trouble(Value):
    """A rate at which a clear share was refused: is it as large at a third of it?"""

    rate: float  # requests per second
    share: float  # refused
    unlimited: bool  # whether nothing limited the rate


class Throttle:
    """The rate of one budget: a ceiling, and what refusals have taught."""

    def __init__(self, ceiling: float | None) -> None:
        self.ceiling = ceiling  # requests per second, or None; may be set from outside
        self.gate = -math.inf  # monotonic seconds before which nothing may leave; the same
        self.part = 1.0  # of the rate; the rest leaves elsewhere
        self.phase = 0  # counts the decreases; a reply tells of the phase its request left in
        self.changes = 0  # counts what others should be told of, decreases and judgements
        self._peak: float | None = None  # the rate it comes back to; None: nothing is learned
        self._fall = FALL  # how far below that it begins
        self._begun = 0.0  # when it began to come back
        self._window: Window | None = None  # what is being judged
        self._trouble: Trouble | None = None  # where a clear share of refusals began
        self._chance: tuple[float, float] | None = None  # share refused by chance; until when
        self._pause = 0.0  # the last one because nothing was served

    @property
    def learned(self) -> bool:
        """Whether refusals say more than the ceiling does."""
        return self._peak is not None

    def rate(self, now: float) -> float | None:
        """Give the requests per second that may leave now; None for any number."""
        if self._peak is None:
            return self.ceiling
        since = max(now - self._begun, 0.0)
        way = since / BACK - 1
        rate = max(self._peak * (1 + (self._fall if way < 0 else THIRD) * way**3), SLOWEST)
        if since > MEMORY or rate >= (self.ceiling or math.inf):
            self._peak = self._window = self._trouble = None
            return self.ceiling
        return rate

    def serve(self, now: float, phase: int) -> None:
        """Take note of a request that left in a phase, and was served."""
        if self._window is not None and phase == self.phase:
            self._window.served += 1
            self._pause = 0.0
            self._judge(now, self._window)

    def refuse(self, now: float, phase: int) -> None:
        """Take note of a request that left in a phase, and was refused."""
        if phase != self.phase:
            return  # the rate is lower by now
        if self._window is None:
            rate = self.rate(now)
            if rate is not None and self.learned and _is_slow(rate) and not self._by_chance(now):
                too_soon = now - self._begun < BACK / 2
                self._lower(now, rate * (1 - (FALL if too_soon else FALL / 2)))
                return
            self._window = self._new_window(now)
            self.changes += 1
        self._window.refused += 1
        self._judge(now, self._window)

    def shut(self, now: float, until: float) -> None:
        """Let nothing leave until then; no shorter than it is shut already."""
        longer = until - max(self.gate, now)
        if longer > 0:
            self.gate = until
            self._begun += longer
            if self._window is not None:
                self._window.stopped += longer

    def _new_window(self, now: float) -> Window:
        return Window(now, stopped=max(self.gate - now, 0.0))

    def _by_chance(self, now: float) -> bool:
        return self._chance is not None and now < self._chance[1]

    def _judge(self, now: float, window: Window) -> None:
        """Decide about the rate as soon as there are replies enough."""
        took = max(now - window.opened, TICK)
        open_for = max(took - window.stopped + max(self.gate - now, 0.0), TICK)
        rate, by_chance = self.rate(now), self._by_chance(now)
        if rate is None or not self.learned:  # a high ceiling says less than what was sent
            sent = sum(window.own) / open_for / self.part
            rate = min(rate or math.inf, max(sent, WINDOW / GLANCE))
        if not window.served and (self._pause or window.refused >= WINDOW):
            self._pause = min(max(2 * self._pause, GLANCE), BACK * THIRD)
            self.shut(now, now + self._pause)
            self._lower(now, self._peak or rate, fall=1.0)
            return
        unlimited = not self.learned and self.ceiling is None
        long = by_chance or unlimited or self._is_low(rate)
        seen = window.sent >= (WINDOW / THIRD if long else WINDOW) and took >= GLANCE
        if seen or (window.refused >= WINDOW and not by_chance):
            self._window = None
            self.changes += 1
            self._weigh(now, window, rate, open_for / took)

    def _is_low(self, rate: float) -> bool:
        return self._trouble is not None and rate <= self._trouble.rate * THIRD

    def _weigh(self, now: float, window: Window, rate: float, open_part: float) -> None:
        """Lower the rate to what is served of it, unless that would not help."""
        share, low, trouble = window.share, self._is_low(rate), self._trouble
        if self._chance is not None and self._by_chance(now):
            if share <= 2 * self._chance[0]:
                return
            self._chance = trouble = self._trouble = None
        elif trouble is not None and low and trouble.share * (1 - THIRD) < share <= 1 / 2:
            self._chance, self._trouble = (max(share, trouble.share), now + MEMORY), None
            self._lower(now, trouble.rate)
            if trouble.unlimited:
                self._peak = None
            return
        if share <= 1 / WINDOW:
            counts = window.stopped or (not self.learned and _is_slow(rate))
            if window.refused and counts:
                self._lower(now, rate * (1 - FALL / 2))
            return
        if share <= 1 / 2:  # more is an outage rather than chance
            if trouble is None:
                unlimited = not self.learned and self.ceiling is None
                self._trouble = Trouble(rate, share, unlimited=unlimited)
            elif low:
                self._trouble = attrs.evolve(trouble, share=share)
        # Of the time behind a gate a service that saves up loses nothing, another all.
        served = (1 - share) * (1 + open_part) / 2
        self._lower(now, rate * max(served, THIRD))
        self._begun -= BACK  # it stays there for a while

    def _lower(self, now: float, peak: float, *, fall: float = FALL) -> None:
        """Begin anew below a rate, and come back to it."""
        self.phase += 1
        self.changes += 1
        self._peak = min(max(peak, SLOWEST), self.ceiling or math.inf)
        self._fall, self._begun = fall, max(now, self.gate)
        self._window = self._new_window(now)

    # -- others that learn the same ----------------------------------------------------------

    @property
    def counted(self) -> tuple[int, int]:
        """The replies here of what is being judged, served and refused."""
        return (0, 0) if self._window is None else self._window.own

    def hear(self, now: float, served: int, refused: int) -> None:
        """Take note of all replies that others have had since they know what is known here."""
        window = self._window
        if window is not None and (served, refused) != window.elsewhere:
            window.hear(served, refused)
            if window.served:
                self._pause = 0.0
            self._judge(now, window)

    def tell(self, now: float) -> str:
        """Give all that was learned but for what is counted; times are seconds ago."""
        window, trouble, chance = self._window, self._trouble, self._chance
        told = (
            self._peak,
            self._fall,
            now - self._begun,
            window and (now - window.opened, window.stopped),
            trouble and (trouble.rate, trouble.share, trouble.unlimited),
            chance and (chance[0], chance[1] - now),
            self._pause,
        )
        return json.dumps(told)

    def learn(self, told: str, now: float) -> None:
        """Take what another told now; what left here before says nothing about it.

        Raises:
            ValueError: nobody tells such a thing.
        """
        try:
            peak, fall, begun, window, trouble, chance, pause = json.loads(told)
            known = (
                None if peak is None else _within(peak, SLOWEST, self.ceiling or math.inf),
                _within(fall, 0.0, 1.0),
                now - _within(begun, -MEMORY, MEMORY + BACK),
                window
                and Window(
                    now - _within(window[0], -MEMORY, MEMORY), _within(window[1], 0.0, MEMORY)
                ),
                trouble
                and Trouble(
                    _within(trouble[0], SLOWEST, math.inf),
                    _within(trouble[1], 0.0, 1.0),
                    unlimited=bool(trouble[2]),
                ),
                chance
                and (_within(chance[0], 0.0, 1.0), now + _within(chance[1], -MEMORY, MEMORY)),
                _within(pause, 0.0, BACK * THIRD),
            )
        except (TypeError, LookupError, RecursionError) as error:
            raise ValueError(told[:100]) from error
        self._peak, self._fall, self._begun, self._window = known[:4]
        self._trouble, self._chance, self._pause = known[4:]
        self.phase += 1


def _within(value: Any, least: float, most: float) -> float:
    number = float(value)
    if not number >= least:  # no number either
        return least
    return min(number, most)


def _is_slow(rate: float) -> bool:
    """Tell whether requests are so rare that a single refusal counts."""
    return rate * GLANCE <= WINDOW
