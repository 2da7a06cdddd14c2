"""A state per key, in Redis: `claimed` → `sent` → `started`, each step a compare-and-set.

Only a claim expires by time. What was `sent` stays so until somebody knows whether a run exists.
Durations are in milliseconds of Redis' own clock. It may be set: nothing is sent by it alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from refold_async._clock import outside

if TYPE_CHECKING:
    from refold_async._clock import Clock
    from refold_async._shared.link import Link

CLAIMED, SENT, STARTED = "claimed", "sent", "started"

_NOW = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
"""

_CLAIM = (
    _NOW
    + """
local nonce, claim, print, within, cleared = unpack(ARGV)
local info = redis.call('INFO', 'server')
local run = string.match(info, 'run_id:(%x+)')
local up = math.max(string.match(info, 'uptime_in_seconds:(-?%d+)') * 1000, 0)
local born = tonumber(redis.call('GET', KEYS[2]) or '')
if not born or born > now then
    born = now
    redis.call('SET', KEYS[2], now)
end
local s = redis.call('HMGET', KEYS[1], 'state', 'owner', 'at', 'bound', 'id', 'print')
local state, owner, at, bound = s[1], s[2], tonumber(s[3] or 0), tonumber(s[4] or 0) or 0
local since = now - (at or 0)
local over = since >= bound
local free = not state
    or (state == 'claimed' and (over or owner == nonce))
    or (state ~= 'started' and (owner or '') .. ':' .. (s[3] or '') == cleared)
    or (state == 'started' and since >= tonumber(within))
if free then
    redis.call('DEL', KEYS[1])
    redis.call('HSET', KEYS[1], 'state', 'claimed', 'owner', nonce, 'at', now, 'bound', claim,
        'print', print)
    redis.call('PEXPIRE', KEYS[1], claim * 100)
    state, owner, since, bound, s[3], s[5], s[6] = 'claimed', nonce, 0, claim, now, '', print
end
return {state, owner or '', s[3] or '', since, bound - since, s[5] or '', s[6] or '',
    math.min(up, now - born), run .. ':' .. string.format('%.0f', born)}
"""
)
"""Take a key that is free; else say who has it. And how old the memory of this Redis is."""

_SEND = (
    _NOW
    + """
local nonce, bound = unpack(ARGV)
local s = redis.call('HMGET', KEYS[1], 'state', 'owner')
if s[2] ~= nonce or (s[1] ~= 'claimed' and s[1] ~= 'sent') then return 0 end
redis.call('HSET', KEYS[1], 'state', 'sent', 'at', now, 'bound', bound)
redis.call('PERSIST', KEYS[1])
return 1
"""
)
"""Say that the request leaves now; refused to whom the key was taken from."""

_RENEW = (
    _NOW
    + """
local s = redis.call('HMGET', KEYS[1], 'state', 'owner', 'bound')
if s[1] ~= 'claimed' or s[2] ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'at', now)
redis.call('PEXPIRE', KEYS[1], s[3] * 100)
return 1
"""
)

_STARTED = (
    _NOW
    + """
local id, within, print, age = unpack(ARGV)
local s = redis.call('HMGET', KEYS[1], 'state', 'id')
if s[1] == 'started' then return s[2] == id and 1 or 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'state', 'started', 'at', now - age, 'bound', 0, 'id', id,
    'print', print)
redis.call('PEXPIRE', KEYS[1], math.max(within - age, 1))
return 1
"""
)
"""Keep the id of the run, whatever was thought before: it exists."""

_FREE = """
local s = redis.call('HMGET', KEYS[1], 'state', 'owner')
if s[2] ~= ARGV[1] or (s[1] ~= 'claimed' and s[1] ~= 'sent') then return 0 end
return redis.call('DEL', KEYS[1])
"""
"""Give a key back: nothing was started for it."""

_POLICY = "return string.match(redis.call('INFO', 'memory'), 'maxmemory_policy:([%w-]+)') or ''"


@attrs.frozen
class KeyState:
    """What Redis says of a key.

    Attributes:
        kind: `claimed`, `sent` or `started`.
        owner: the nonce of who claimed it.
        at: when the state began, by Redis' clock; with `owner` it names this very state.
        since: seconds ago.
        left: seconds until its bound has passed.
        execution_id: the run, once it has started.
        fingerprint: of what is started under the key.
        age: seconds for which this Redis has remembered anything.
        generation: names its memory: another one has forgotten what this one knew.
    """

    kind: str
    owner: str
    at: str
    since: float
    left: float
    execution_id: str
    fingerprint: str
    age: float
    generation: str

    @property
    def bound(self) -> float:
        """Seconds for which the state holds from when it began."""
        return self.since + self.left

    @property
    def name(self) -> str:
        """What this very state is called when it is to be cleared away."""
        return f"{self.owner}:{self.at}"


class Keys:
    """The keys of one credential.

    Args:
        link: to the Redis that has them.
        name: under which it keeps them.
        clock: told when Redis is waited for.
    """

    def __init__(self, link: Link, name: str, clock: Clock) -> None:
        self._link = link
        self._clock = clock
        self._prefix = f"refold:{name}:once:"
        self._born = f"refold:{name}:born"

    def _key(self, tag: str) -> list[str]:
        return [self._prefix + tag]

    async def _run(self, script: str, keys: list[str], *args: str | int) -> Any:
        with outside(self._clock):
            return await self._link.run(script, keys, *args)

    async def claim(
        self, tag: str, nonce: str, *, hold: float, fingerprint: str, within: float, cleared: str
    ) -> KeyState:
        """Claim a key for `hold` seconds, if it is free; `cleared` names a state that is void."""
        keys = [*self._key(tag), self._born]
        told = await self._run(_CLAIM, keys, nonce, _ms(hold), fingerprint, _ms(within), cleared)
        kind, owner, at, since, left, execution_id, known, age, generation = told
        return KeyState(
            kind,
            owner,
            at,
            int(since) / 1000,
            int(left) / 1000,
            execution_id,
            known,
            int(age) / 1000,
            generation,
        )

    async def renew(self, tag: str, nonce: str) -> bool:
        """Hold a claim for longer; False if it is none any more."""
        return bool(await self._run(_RENEW, self._key(tag), nonce))

    async def send(self, tag: str, nonce: str, bound: float) -> bool:
        """Note that the request leaves; False if the key was taken over, and nothing may leave."""
        return bool(await self._run(_SEND, self._key(tag), nonce, _ms(bound)))

    async def started(
        self, tag: str, execution_id: str, within: float, fingerprint: str, age: float
    ) -> bool:
        """Keep the run of a key, of so many seconds' age; False if another run is known for it."""
        args = execution_id, _ms(within), fingerprint, int(age * 1000)
        return bool(await self._run(_STARTED, self._key(tag), *args))

    async def free(self, tag: str, nonce: str) -> None:
        """Give a key back for which nothing was started."""
        await self._run(_FREE, self._key(tag), nonce)

    async def eviction(self) -> str:
        """Say what Redis throws away when its memory is full."""
        return str(await self._run(_POLICY, []))

    async def aclose(self) -> None:
        """Close the connection."""
        await self._link.aclose()


def _ms(seconds: float) -> int:
    return max(int(seconds * 1000), 1)
