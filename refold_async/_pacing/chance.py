"""Tells refusals that come with load from those that come by chance. Pure: no clock, no waiting.

Asking a service less that refuses by chance, as behind a balancer with a broken replica, helps
nobody. It shows when the share of refusals is the same at much lower rates: a service that is full
refuses a smaller share of less.
"""

from __future__ import annotations

import math

_APART = 2
"""Rates are compared that differ by at least two powers of two."""
_ENOUGH, _FEW = 60, 30
"""Requests at higher rates, and at the present one, from which on their shares are compared."""
_KEPT = 400
"""Requests at a rate from which on older ones weigh less."""
_SAME = 0.6
"""Shares of which the smaller is at least so much of the larger are the same."""
_LEAST, _MOST = 0.07, 0.5
"""Shares that can be chance: less is no trouble, and more is an outage."""
_LATELY = 0.02
"""The weight of a request in the share of lately."""
_MORE = 0.15
"""What the share may rise by before load is the likelier reason again."""


class Chance:
    """The share of requests that are refused whatever the rate, None while there is none."""

    def __init__(self) -> None:
        self.share: float | None = None
        self._lately = 0.0
        self._seen: dict[int, list[float]] = {}  # by power of two of the rate: sent, refused
        self._highest = 0.0  # rate noted

    def note(self, rate: float, *, refused: bool) -> float | None:
        """Take note of a reply.

        Args:
            rate: requests per second when the request left.
            refused: whether it was refused.

        Returns:
            The highest rate so far, when it has just become clear that it was no worse.
        """
        self._lately += _LATELY * (refused - self._lately)
        self._highest = max(self._highest, rate)
        power = math.frexp(rate)[1]
        seen = self._seen.setdefault(power, [0.0, 0.0])
        seen[0] += 1
        seen[1] += refused
        if seen[0] > _KEPT:
            seen[:] = [count / 2 for count in seen]
        if self.share is not None:
            if not self.share / 3 <= self._lately <= self.share + _MORE:
                self.share = None
            return None
        return self._compare(power) if refused else None

    def _compare(self, power: int) -> float | None:
        sent, refused = self._seen[power]
        higher = {p: seen for p, seen in self._seen.items() if p >= power + _APART}
        sent_then = sum(seen[0] for seen in higher.values())
        if sent < _FEW or sent_then < _ENOUGH:
            return None
        share = refused / sent
        then = sum(seen[1] for seen in higher.values()) / sent_then
        less, more = sorted([share, then])
        if less < max(_LEAST, more * _SAME) or more > _MOST:
            return None
        self.share = self._lately = (share + then) / 2
        return self._highest
