"""One scheduler per client that settles every run somebody waits for.

However many handles and tasks speak of a run, there is one `Watch`, one future and one stream of
looks. A run is looked at only while somebody waits: with its neighbours by one list request where
that is cheaper, else singly.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from refold_async._clock import done_within
from refold_async._errors import ApiError, ClientClosedError, RefoldError
from refold_async._waiting.agenda import Agenda
from refold_async._waiting.looking import Look, is_passing
from refold_async._waiting.planning import Planner
from refold_async._waiting.pool import Cohort, Field
from refold_async._waiting.report import reattach, wait_timeout
from refold_async._waiting.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from refold_async._clock import Clock
    from refold_async._config import PollPolicy
    from refold_async._models import Execution, ExecutionResult
    from refold_async._stats import Counters
    from refold_async._transport import Api

logger = logging.getLogger("refold_async")

_FAILURES = 3
"""List requests that may fail in a row before the runs are read singly."""
_LAST_LOOK = 1.0
"""Seconds before a wait times out at which the whole document is read, to say why."""


class Tracker:
    """Looks at pending runs and wakes who waits for them."""

    def __init__(
        self, api: Api, policy: PollPolicy, clock: Clock, counters: Counters, *, at_once: int
    ) -> None:
        self._api = api
        self._policy = policy
        self._clock = clock
        self._counters = counters
        self._look = Look(api, policy, clock, counters)
        server_clock = api.transport.server_clock
        self.planner = Planner(policy, clock, server_clock, counters)
        self._watches: WeakValueDictionary[tuple[str | None, str], Watch] = WeakValueDictionary()
        self._fields: dict[str | None, Field] = {}
        self._agenda: Agenda[Watch | Cohort] = Agenda(
            clock,
            at_once=at_once,  # the rest of the connections is for starts
            look=self._look_at,
            looked=self._looked,
            broken=self._fail,
        )
        self._closed = False
        self.learn: Callable[[Iterable[Execution]], None] = lambda _: None  # from list entries

    def watch(
        self,
        execution_id: str,
        account: str | None,
        *,
        first_look: float,
        workflow: str | None = None,
        fresh: bool = False,
    ) -> Watch:
        """Give the one `Watch` of a run; nothing is looked at before somebody waits.

        Args:
            execution_id: the run.
            account: the linked account it belongs to.
            first_look: monotonic seconds before which a look is wasted.
            workflow: what it runs, if that is known.
            fresh: whether it was started just now, by us.
        """
        key = (account, execution_id)
        watch = self._watches.get(key)
        if watch is None:
            watch = Watch(execution_id, account, first_look, self._policy.first, workflow)
            self.planner.date(watch, fresh=fresh)
            self._watches[key] = watch
        return watch

    # -- waiting -----------------------------------------------------------------------------

    async def wait(self, watch: Watch) -> ExecutionResult[Any]:
        """Wait for the end of a run, whatever it is.

        Raises:
            RefoldError: the run can't be read.
        """
        settled = self._settlement(watch)
        if not settled.done():
            # As `done_within`, without its frame: of these there may be hundreds of thousands.
            waiter = asyncio.get_running_loop().create_future()
            wake = functools.partial(_wake, waiter)
            settled.add_done_callback(wake)
            watch.waiters += 1
            try:
                self._arrange(watch)
                await waiter
            finally:
                settled.remove_done_callback(wake)
                watch.waiters -= 1
                self._leave(watch)
        return _outcome(watch, settled)

    async def wait_within(self, watch: Watch, timeout: float) -> ExecutionResult[Any]:
        """Wait for the end of a run for no longer than `timeout` seconds.

        Raises:
            WaitTimeoutError: they have passed; the run goes on.
            RefoldError: the run can't be read.
        """
        settled = self._settlement(watch)
        began = self._clock.monotonic()
        watch.waiters += 1
        last_look = None
        try:
            if not settled.done():
                self._arrange(watch)
                if timeout > 2 * _LAST_LOOK:
                    last_look = self._clock.call_later(
                        timeout - _LAST_LOOK, functools.partial(self._read_whole, watch)
                    )
            done = await done_within(self._clock, settled, timeout)
        finally:
            if last_look is not None:
                last_look.cancel()
            watch.waiters -= 1
            self._leave(watch)
        if not done:
            now = self._clock.monotonic()
            raise wait_timeout(
                execution_id=watch.execution_id,
                account=watch.account,
                progress=watch.progress,
                waited=now - began,
                now=now,
            )
        return _outcome(watch, settled)

    async def next_change(
        self, watch: Watch, seen: int, interval: float | None
    ) -> tuple[int, Execution]:
        """Wait for a snapshot newer than version `seen`.

        Raises:
            RefoldError: the run can't be read.
        """
        longest = self._policy.max_interval if interval is None else interval
        while watch.version <= seen or watch.progress.listed:
            settled = self._settlement(watch)
            if watch.changed is None:
                watch.changed = asyncio.get_running_loop().create_future()
            watch.watchers = [*(watch.watchers or ()), longest]
            try:
                watch.due = min(watch.due, self._clock.monotonic() + longest)
                self._arrange(watch)
                await done_within(self._clock, watch.changed, None)
            finally:
                watch.watchers.remove(longest)
                self._leave(watch)
            if settled.done() and (watch.version <= seen or watch.progress.listed):
                outcome = settled.result()
                if isinstance(outcome, RefoldError):
                    raise _unreadable(outcome, watch.execution_id) from outcome.__cause__
        assert watch.progress.snapshot is not None  # noqa: S101 - versions count snapshots
        return watch.version, watch.progress.snapshot

    def _settlement(self, watch: Watch) -> asyncio.Future[ExecutionResult[Any] | RefoldError]:
        """Give the future everybody shares; one that failed is replaced, to try afresh."""
        if self._closed:
            raise ClientClosedError(
                "the client is closed; the run goes on", execution_id=watch.execution_id
            )
        future = watch.settled
        if future is None or (future.done() and isinstance(future.result(), RefoldError)):
            future = watch.settled = asyncio.get_running_loop().create_future()
            watch.progress.forget_failures()
        return future

    # -- when to look ------------------------------------------------------------------------

    def _arrange(self, watch: Watch) -> None:
        """Have a run looked at: with its neighbours, or singly."""
        if not watch.wanted:
            return
        if watch.watchers or watch.document or watch.progress.ended or not self._policy.sweep:
            self._release(watch)
        elif watch.cohort is None:
            field = self._fields.setdefault(
                watch.account, Field(watch.account, self._policy.not_found_grace)
            )
            cohort = field.place(watch, self._clock.monotonic())
            if cohort is not None and not (watch.fresh and self.planner.knows(watch)):
                cohort.due = max(min(cohort.due, watch.due), cohort.not_before)
        if watch.cohort is not None:
            self._agenda.arrange(watch.cohort)
        else:
            self._agenda.arrange(watch)

    def _release(self, watch: Watch) -> None:
        field = self._fields.get(watch.account)
        if field is not None:
            field.release(watch)
            if field.is_empty(self._clock.monotonic()):
                del self._fields[watch.account]

    def _leave(self, watch: Watch) -> None:
        if not watch.wanted:
            if watch.cohort is not None:  # to wait again is no reason to look sooner
                watch.due = watch.cohort.due
            self._release(watch)

    def _read_whole(self, watch: Watch) -> None:
        """Read the document of a run whose wait is about to time out."""
        if watch.wanted and not watch.looking:
            watch.document, watch.due = True, self._clock.monotonic()
            self._arrange(watch)

    # -- looking -----------------------------------------------------------------------------

    async def _look_at(self, item: Watch | Cohort) -> None:
        """Look once; no fault in here leaves anybody waiting."""
        try:
            if isinstance(item, Cohort):
                await self._look_over(item)
            else:
                await self._look_singly(item)
        except Exception as error:
            logger.exception("a look broke; the waits it was for fail")
            if isinstance(item, Cohort):
                self._fail(error, item.field)
                # Those that are looked at singly just now are spared, and looked at so again.
                self._look_singly_at(item.field.give_up(item, self._clock.monotonic()))
            else:
                self._end(item, _broken(item.execution_id, error))

    def _looked(self, item: Watch | Cohort) -> None:
        """Arrange the next look."""
        if isinstance(item, Cohort):
            if item.members:
                self._agenda.arrange(item)
        else:
            self._arrange(item)

    async def _look_singly(self, watch: Watch) -> None:
        before = watch.progress.snapshot
        with_output = watch.waiters > 0
        document, watch.document = watch.document or bool(watch.watchers), False
        outcome = await self._look(
            watch.progress,
            watch.execution_id,
            watch.account,
            with_output=with_output,
            document=document,
        )
        if changed := watch.progress.snapshot is not before:
            watch.version += 1
        ended = watch.progress.ended
        if ended or (outcome is not None and not isinstance(outcome, RefoldError)):
            self._learn(watch, watch.progress.snapshot if ended else None)
        else:
            self._counters.wasted += 1
        if outcome is not None:
            self._end(watch, outcome)
            return
        self.planner.postpone(watch, at_once=not with_output and ended)
        if changed:
            watch.wake_readers()

    async def _look_over(self, cohort: Cohort) -> None:
        if not cohort.members:
            return
        asked = set(cohort.members)
        begin, end = cohort.window()
        self.planner.count_list()
        try:
            page = await self._look.page(cohort.field.account, begin, end)
        except RefoldError as error:
            self._forgive(cohort, error)
            return
        cohort.failures = 0
        self.learn(page)
        seen = cohort.field.absorb(cohort, asked, page, begin, self._clock.monotonic())
        for watch, entry in seen.running:
            watch.progress.saw_listed(entry, self._clock.monotonic())
            watch.workflow = watch.workflow or entry.workflow_id
        found = sum(self._saw_end(entry, cohort.field.account) for entry in page)
        self._counters.wasted += not found
        self._look_singly_at(seen.left)
        for part in (cohort, seen.rest):
            if part is not None and part.members:
                self.planner.plan(part)
                self._agenda.arrange(part)

    def _forgive(self, cohort: Cohort, error: RefoldError) -> None:
        """After a list that could not be read: again later, or singly, where budgets are kept."""
        now = self._clock.monotonic()
        cohort.failures += 1
        if cohort.failures >= _FAILURES or not is_passing(error):
            self._look_singly_at(cohort.field.give_up(cohort, now))
            return
        asked = error.retry_after if isinstance(error, ApiError) else None
        cohort.due = cohort.not_before = now + (asked or self._policy.first * 2**cohort.failures)

    def _look_singly_at(self, watches: Iterable[Watch]) -> None:
        for watch in watches:
            watch.alone = True
            if not watch.progress.ended:
                self.planner.postpone(watch, at_once=False)
            self._arrange(watch)

    def _saw_end(self, entry: Execution, account: str | None) -> bool:
        """Have the rest of a run read if it has ended and somebody waits, whoever looked."""
        watch = self._watches.get((account, entry.execution_id))
        if not entry.status.is_terminal or watch is None or watch.looking or not watch.wanted:
            return False
        if watch.progress.ended:  # known already: its output is waited for
            return False
        watch.progress.saw_listed(entry, self._clock.monotonic())
        watch.workflow = watch.workflow or entry.workflow_id
        self._learn(watch, entry)
        watch.due = self._clock.monotonic()
        self._arrange(watch)
        return True

    def _learn(self, watch: Watch, run: Execution | None) -> None:
        if self.planner.learn(watch, run):
            self._replan()

    def _replan(self) -> None:
        """Plan all cohorts anew: a workflow has become known."""
        cohorts = {id(watch.cohort): watch.cohort for watch in self._watches.values()}
        for cohort in cohorts.values():
            if cohort is not None and not cohort.looking:
                self.planner.plan(cohort)
                self._agenda.arrange(cohort)

    # -- the end -----------------------------------------------------------------------------

    def _end(self, watch: Watch, outcome: ExecutionResult[Any] | RefoldError) -> None:
        if watch.settled is not None and not watch.settled.done():
            watch.settled.set_result(outcome)
            self._counters.settled += not isinstance(outcome, RefoldError)
        watch.due = self._clock.monotonic()
        self._release(watch)
        watch.wake_readers()

    def _fail(self, error: Exception, field: Field | None = None) -> None:
        """End every wait with an error, or those of one account."""
        for watch in list(self._watches.values()):
            if not watch.looking and (field is None or watch.account == field.account):
                self._end(watch, _broken(watch.execution_id, error))

    async def aclose(self) -> None:
        """End every wait with `ClientClosedError`; the runs themselves go on."""
        self._closed = True
        await self._agenda.aclose()
        for watch in list(self._watches.values()):
            error = ClientClosedError(
                "the client was closed while this run was waited for; it goes on:"
                f" {reattach(watch.execution_id, watch.account)} waits for it again",
                execution_id=watch.execution_id,
            )
            self._end(watch, error)


def _wake(waiter: asyncio.Future[None], _: object) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _outcome(
    watch: Watch, settled: asyncio.Future[ExecutionResult[Any] | RefoldError]
) -> ExecutionResult[Any]:
    outcome = settled.result()
    if isinstance(outcome, RefoldError):
        raise _unreadable(outcome, watch.execution_id) from outcome.__cause__
    return outcome


def _broken(execution_id: str, error: Exception) -> RefoldError:
    failure = RefoldError(f"tracking {execution_id} failed: {type(error).__name__}")
    failure.__cause__ = error
    return failure


def _unreadable(error: RefoldError, execution_id: str) -> RefoldError:
    """Give an awaiter an error of its own, which says that the run exists."""
    own = error.fresh()
    own.execution_id = execution_id
    own.add_note(f"while waiting for execution {execution_id}, which goes on")
    return own
