"""A real Redis that goes by a clock that a test moves, and may set."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from redis import Redis

if TYPE_CHECKING:
    from tests.support.clock import FakeClock
    from tests.support.redis import RedisServer


class TimedRedis:
    """What takes the place of a `Link`: one for all who share, whose clock `ahead` sets."""

    def __init__(self, redis: RedisServer, clock: FakeClock) -> None:
        self.ahead = 0.0  # seconds
        self.left = 0  # how many have left it
        self.client: Any = Redis.from_url(redis.url, decode_responses=True)
        self._clock = clock

    async def run(self, script: str, keys: list[str], *args: str | int) -> Any:
        """Run a script, which is told the time."""
        await asyncio.sleep(0)
        now = int((self._clock.time() + self.ahead) * 1000)
        timed = script.replace("redis.call('TIME')", "{ARGV[#ARGV] / 1000, 0}")
        return self.client.eval(timed, len(keys), *keys, *args, now)

    async def aclose(self) -> None:
        """Leave it; the next one connects anew."""
        await asyncio.sleep(0)
        self.left += 1
        self.client.close()
