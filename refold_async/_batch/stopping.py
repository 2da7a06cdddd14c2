"""A batch that is stopped from outside: nothing more is sent, and what runs is asked to stop.

A batch has its journal to itself, and whoever is to stop it may be another process. So a file
beside the journal says it, `JOURNAL.stop`; the batch takes it away when it has seen it.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from refold_async._batch.journal_files import check_meta, identity
from refold_async._batch.journal_rows import Row, is_uncertain
from refold_async._batch.reading import Facts, read
from refold_async._batch.recovery import Recovery
from refold_async._clock import Clock, look_later, outside, sleep, to_the_end
from refold_async._errors import ClientClosedError, RefoldError
from refold_async._handle import ExecutionHandle
from refold_async._logs import Log
from refold_async._models import ExecutionRef

if TYPE_CHECKING:
    from refold_async._clock import Timer

logger = Log("batch")

EVERY = 1.0
"""Seconds between two looks of a batch for the file."""
_HEARD = 5.0
"""Seconds within which a batch has to have seen it."""
_ANSWERS = 15.0
"""Seconds for starts that were under way to be answered."""
_LOOK = 0.25
_AT_ONCE = 100


@attrs.frozen(kw_only=True)
class StopReport:
    """What `RefoldClient.stop_batch` did.

    Attributes:
        path: the journal.
        heard: whether the batch that is at it sends nothing more; None if none is at it. False:
            it did not hear, as where its process is frozen, and goes on when it wakes.
        asked: the runs that were asked to stop.
        refused: what the service said of others, by execution id: most are over by now.
        uncertain: keys of items that may have run, and whose runs were not found.
    """

    path: str
    heard: bool | None
    asked: tuple[str, ...] = ()
    refused: Mapping[str, RefoldError] = attrs.field(factory=dict)
    uncertain: tuple[str, ...] = ()


class StopFile:
    """The file by which a batch is told to stop, as the batch sees it."""

    def __init__(self, journal: str, clock: Clock, told: Callable[[], object]) -> None:
        self._path = Path(stop_file(journal))
        self._clock = clock
        self._told = told
        self._timer: Timer | None = None
        self._take()  # one from before is not meant for this batch
        self._again()

    def _again(self) -> None:
        self._timer = look_later(self._clock, EVERY, self._look)

    def _look(self) -> None:
        if self._take():
            self._told()
        else:
            self._again()

    def _take(self) -> bool:
        try:
            self._path.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            logger.warning("%s can't be taken away: %s", self._path, error)
        return True

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()


def stop_file(journal: str) -> str:
    """Give the path of the file that stops the batch of a journal."""
    return f"{journal}.stop"


@attrs.define(eq=False)
class _Open:
    """The rows of items that have begun and not ended."""

    running: list[Row] = attrs.field(factory=list)
    uncertain: list[Row] = attrs.field(factory=list)

    def take(self, row: Row) -> None:
        """Keep it, if a run of it may go on."""
        if is_uncertain(row):
            self.uncertain.append(row)
        elif row.execution_id is not None and (row.state != "settled" or _is_unended(row)):
            self.running.append(row)


def _is_unended(row: Row) -> bool:
    """Whether nobody has seen the end of a run, though its item has ended."""
    return row.outcome == "unknown" or (row.outcome == "succeeded" and row.result is None)


@attrs.define(eq=False, kw_only=True)
class Stopping:
    """Stops what a journal says is running.

    Attributes:
        journal: its path.
        meta: what the journal of this client's batches says.
        recovery: finds runs by their tags.
        reattach: gives the handle of a run.
        clock: the client's clock.
    """

    journal: str | os.PathLike[str]
    meta: Mapping[str, str | None]
    recovery: Recovery
    reattach: Callable[[ExecutionRef], ExecutionHandle[Any]]
    clock: Clock
    _asked: dict[str, RefoldError | None] = attrs.field(factory=dict)

    async def stop(self) -> StopReport:
        """Do it; see `RefoldClient.stop_batch`."""
        facts, rows = await self._read()
        check_meta(facts.path, facts.meta, self.meta)
        heard = await self._tell(facts.path) if facts.in_use else None
        give_up = self.clock.monotonic() + _ANSWERS
        while True:
            facts, rows = await self._read()
            await self._ask(rows.running)
            if not (facts.in_use and rows.uncertain) or self.clock.monotonic() > give_up:
                break
            await sleep(self.clock, _LOOK)
        left = await self._ask_found(rows.uncertain)
        return StopReport(
            path=facts.path,
            heard=heard,
            asked=tuple(asked for asked, error in self._asked.items() if error is None),
            refused={asked: error for asked, error in self._asked.items() if error is not None},
            uncertain=tuple(row.key.removeprefix("#") for row in left),
        )

    async def _read(self) -> tuple[Facts, _Open]:
        with outside(self.clock):
            return await asyncio.to_thread(read, self.journal, _Open)

    async def _tell(self, path: str) -> bool:
        """Have the batch send nothing more; tell whether it has heard."""
        file = Path(stop_file(path))
        await asyncio.to_thread(file.touch)
        give_up = self.clock.monotonic() + _HEARD
        try:
            while identity(str(file)) is not None:
                if self.clock.monotonic() > give_up:
                    return False
                await sleep(self.clock, _LOOK)
        finally:
            await to_the_end(asyncio.to_thread(file.unlink, missing_ok=True))
        return True

    async def _ask(self, rows: list[Row]) -> None:
        """Ask for runs to be stopped, each once."""
        new = [row for row in rows if row.execution_id not in self._asked]
        for first in range(0, len(new), _AT_ONCE):
            await asyncio.gather(*map(self._ask_one, new[first : first + _AT_ONCE]))

    async def _ask_one(self, row: Row) -> None:
        assert row.execution_id is not None  # noqa: S101 - it runs
        ref = ExecutionRef(
            execution_id=row.execution_id,
            workflow_id=row.workflow_id,
            linked_account_id=row.account,
            instance_tag=row.tag,
        )
        try:
            await self.reattach(ref).stop()
        except ClientClosedError:
            raise
        except RefoldError as error:
            self._asked[row.execution_id] = error
        else:
            self._asked[row.execution_id] = None

    async def _ask_found(self, rows: list[Row]) -> list[Row]:
        """Look for runs whose ids nobody knows, and ask for them; give those not found."""
        findable = {row.tag: row for row in rows if row.findable and row.tag}
        if findable:
            await self.recovery.look(findable)
        found = []
        for row in findable.values():
            sighting = self.recovery.known(row)
            if sighting is not None and sighting.execution_id is not None:
                row.execution_id = sighting.execution_id
                found.append(row)
        await self._ask(found)
        return [row for row in rows if row.execution_id is None]
