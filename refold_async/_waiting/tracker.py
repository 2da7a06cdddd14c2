"""One scheduler per client that settles every run somebody waits for.

However many handles and tasks speak of a run, there is one `Watch`, one settlement and one stream
of looks. A run is looked at only while somebody waits: with its neighbours by one list request
where that is cheaper, else by itself.
"""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from refold_async._clock import done_within, give_up, waiting, watched
from refold_async._errors import ClientClosedError, RefoldError
from refold_async._models import ExecutionStatus
from refold_async._protocol import Output
from refold_async._stats import WaitingStats
from refold_async._waiting.look import Look
from refold_async._waiting.planning import Planner
from refold_async._waiting.pool import Account, Lists, Page
from refold_async._waiting.push import Pushes
from refold_async._waiting.report import reattach, wait_timeout
from refold_async._waiting.rounds import PATIENCE, Rounds, broken
from refold_async._waiting.schedule import Schedule
from refold_async._waiting.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from refold_async._clock import Clock
    from refold_async._config import PollPolicy
    from refold_async._models import Execution, ExecutionResult
    from refold_async._stats import Counters
    from refold_async._transport import Api
    from refold_async._waiting.watch import Settlement

_LAST_LOOK = 1.0
"""Seconds before a wait times out at which the whole document is read, to say why."""
_FEW = 64
"""Accounts from which on those with nothing pending are looked for, to forget them."""


class Tracker:
    """Looks at pending runs and wakes who waits for them."""

    def __init__(
        self,
        api: Api,
        policy: PollPolicy,
        clock: Clock,
        counters: Counters,
        *,
        at_once: int,
        patience: float = PATIENCE,
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._watches: WeakValueDictionary[tuple[str | None, str], Watch] = WeakValueDictionary()
        self._accounts: dict[str | None, Account] = {}
        self._many = _FEW
        server_clock = api.transport.server_clock
        self._pushes = Pushes(policy, clock, self._plan_anew)
        self.planner = Planner(policy, clock, server_clock, counters, self._accounts, self._pushes)
        self.rounds = Rounds(
            Look(api, policy, clock, counters),
            self.planner,
            find=self.find,
            arrange=self._arrange,
            policy=policy,
            clock=clock,
            counters=counters,
            patience=patience,
        )
        self._schedule = self.rounds.schedule = Schedule(
            clock,
            at_once=at_once,  # the rest of the connections is for starts
            pick=self.rounds.pick,
            look=self.rounds.look_at,
            looked=self._looked,
            broken=self._fail,
        )
        self._closed = False
        self.waited: Callable[[], object] = _nobody  # told that somebody begins to wait

    def find(self, execution_id: str, account: str | None) -> Watch | None:
        """Give the `Watch` of a run, if there is one."""
        return self._watches.get((account, execution_id))

    def watch(
        self,
        execution_id: str,
        account: str | None,
        *,
        known_at: float,
        workflow: str | None = None,
        fresh: bool = False,
    ) -> Watch:
        """Give the one `Watch` of a run; nothing is looked at before somebody waits.

        Args:
            execution_id: the run.
            account: the linked account it belongs to.
            known_at: monotonic seconds of when it became known here.
            workflow: what it runs, if that is known.
            fresh: whether it was started just then, by us.
        """
        watch = self.find(execution_id, account)
        if watch is None:
            watch = Watch(execution_id, account, known_at, workflow, fresh)
            self.planner.date(watch)
            self._watches[account, execution_id] = watch
        return watch

    def stats(self) -> WaitingStats:
        """Say what waits where."""
        now = self._clock.monotonic()
        accounts = self._accounts.values()
        return WaitingStats(
            lists_of_no_use=sum(not account.lists_are_good(now) for account in accounts),
            read_singly=sum(account.read_singly(now) for account in accounts),
            overdue=self._schedule.overdue(accounts),
            told_by_push=self._pushes.by_push,
            told_by_looks=self._pushes.by_looks,
            settled_by_push=0 if self.rounds.unread is None else self.rounds.unread.settled,
            pushes_lost=self._pushes.lost_of_all,
        )

    # -- being told --------------------------------------------------------------------------

    def notify(self, execution_id: str, account: str | None) -> bool:
        """Take a hint that a run has ended; tell whether it is read for somebody who waits here.

        Args:
            execution_id: the run.
            account: the linked account that it belongs to, if that was told.
        """
        if self._closed:
            return False
        names = [*self._accounts] if account is None else [account]
        watches = (self.find(execution_id, name) for name in {*names, None})
        told = self._pushes.told(execution_id, account, filter(None, watches))
        for watch in told:
            self._arrange(watch)
        return bool(told)

    def expect_outputs(self) -> None:
        """Be ready for outputs that pushes bring."""
        from refold_async._waiting.unread import Unread  # noqa: PLC0415 - few are told so much

        self.rounds.unread = self.rounds.unread or Unread()

    def take_output(
        self,
        execution_id: str,
        account: str | None,
        workflow: str | None,
        output: Any,
        raw: Mapping[str, Any],
    ) -> None:
        """Take the output of a run that a verified push brought; the push itself is told as ever.

        Whoever waits here for the output of exactly this run, of this account and workflow, may be
        settled by it. It is not kept for anybody else.

        Args:
            execution_id: the run.
            account: the linked account that it belongs to, as told.
            workflow: what it runs, as told.
            output: what it gave, as told, having completed; None if that could not be read.
            raw: what was delivered.
        """
        watch = None if account is None else self.find(execution_id, account)
        if watch is None or workflow is None or self._closed:
            return
        if watch.workflow == workflow and watch.wants_output:
            told = Output(output, ExecutionStatus.COMPLETED, raw)
            self.rounds.settle_unread(watch, workflow, told)

    def deafen(self) -> None:
        """Look as without pushes: those that are told elsewhere are not heard here."""
        self._pushes.deafen()
        self._plan_anew()

    def hear_again(self, *, missed: bool) -> None:
        """Rely on pushes again, but for runs that may have ended while some were missed."""
        self._pushes.hear_again(missed=missed)
        if missed:
            self._plan_anew()

    def _plan_anew(self) -> None:
        """Set the next looks at all that is pending: what they are worth has changed at once."""
        if self._closed:
            return
        for watch in self._watches.values():
            watch.planned_until = 0.0
        for page in {watch.page for watch in self._watches.values()} - {None}:
            self.planner.plan(page)
            self._schedule.arrange(page)

    # -- waiting -----------------------------------------------------------------------------

    async def wait(self, watch: Watch, *, output: bool = True) -> ExecutionResult[Any]:
        """Wait for the end of a run, whatever it is.

        Args:
            watch: the run.
            output: whether its output is wanted, too.

        Raises:
            RefoldError: the run can't be read.
        """
        settled = self._settlement(watch, output=output)
        if not settled.done():
            # As `done_within`, without its frame: of these there may be hundreds of thousands.
            waiter = asyncio.get_running_loop().create_future()
            wake = functools.partial(_wake, waiter)
            settled.add_done_callback(wake)
            self._join(watch, output=output)
            try:
                self._arrange(watch)
                with waiting(self._clock, watch.execution_id, functools.partial(give_up, waiter)):
                    await waiter
            finally:
                settled.remove_done_callback(wake)
                self._leave(watch, output=output)
        return _outcome(watch, settled)

    async def wait_within(
        self, watch: Watch, timeout: float, *, output: bool = True
    ) -> ExecutionResult[Any]:
        """Wait for the end of a run for no longer than `timeout` seconds.

        Raises:
            WaitTimeoutError: they have passed; the run goes on.
            RefoldError: the run can't be read.
        """
        settled = self._settlement(watch, output=output)
        began = self._clock.monotonic()
        last_look = None
        self._join(watch, output=output)
        try:
            if not settled.done():
                self._arrange(watch)
                if timeout > 2 * _LAST_LOOK:
                    last_look = self._clock.call_later(
                        timeout - _LAST_LOOK, functools.partial(self._read_whole, watch)
                    )
            with waiting(self._clock, watch.execution_id):
                in_time = await done_within(self._clock, settled, timeout)
        finally:
            if last_look is not None:
                last_look.cancel()
            self._leave(watch, output=output)
        if not in_time:
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
        """Wait for a document newer than version `seen`.

        Raises:
            RefoldError: the run can't be read.
        """
        longest = self._policy.max_interval if interval is None else interval
        while watch.version <= seen:
            self._check_open(watch)
            self._begin(watch)
            if watch.changed is None:
                watch.changed = asyncio.get_running_loop().create_future()
            changed = watch.changed
            watch.readers = [*(watch.readers or ()), longest]
            try:
                self._arrange(watch)
                await watched(self._clock, changed, watch.execution_id)
            finally:
                watch.readers.remove(longest)
                self._release_unwanted(watch)
            if (error := changed.result()) is not None:
                raise _unreadable(error, watch.execution_id) from error.__cause__
        assert watch.progress.document is not None  # noqa: S101 - versions count documents
        return watch.version, watch.progress.document

    def _check_open(self, watch: Watch) -> None:
        if self._closed:
            raise ClientClosedError(
                "the client is closed; the run goes on", execution_id=watch.execution_id
            )

    def _settlement(self, watch: Watch, *, output: bool) -> Settlement:
        """Give the future everybody shares; one that failed is replaced, to try afresh."""
        self._check_open(watch)
        if not output and watch.result is not None:
            output = True  # it is known already
        name = "settled" if output else "ended"
        future: Settlement | None = getattr(watch, name)
        if future is None or (future.done() and isinstance(future.result(), RefoldError)):
            future = asyncio.get_running_loop().create_future()
            setattr(watch, name, future)
        return future

    def _join(self, watch: Watch, *, output: bool) -> None:
        self._begin(watch)
        watch.waiters += output
        watch.enders += not output

    def _begin(self, watch: Watch) -> None:
        if not watch.wanted:  # nobody has waited meanwhile: a new wait has a budget of its own
            self.waited()
            watch.progress.forget_failures()
            self.planner.joined(watch)

    def _leave(self, watch: Watch, *, output: bool) -> None:
        watch.waiters -= output
        watch.enders -= not output
        self._release_unwanted(watch)

    def _read_whole(self, watch: Watch) -> None:
        """Read the document of a run whose wait is about to time out."""
        if watch.wanted and not watch.looking:
            watch.document = True
            self._arrange(watch)

    # -- where it is looked at ---------------------------------------------------------------

    def _arrange(self, watch: Watch) -> None:
        """Have a run looked at: with its neighbours, or by itself."""
        watch.planned_until = 0.0
        if watch.looking or self._closed:
            return
        if not watch.wanted:
            self._release(watch)
            return
        single = self._is_single(watch)
        page = watch.page
        if page is None or page.single is not single:
            account = self._account(watch.account)
            account.release(watch)
            page = account.place(watch, single=single)
            page.due = min(page.due, self.planner.due(watch))
            if not single and len(page.runs) >= 2 * page.planned_for:
                self.planner.plan(page)
        elif single:
            page.due = self.planner.due(watch)
        elif watch.hinted:
            page.due = min(page.due, self.planner.due(watch))
        self._schedule.arrange(page)

    def _is_single(self, watch: Watch) -> bool:
        """Whether no list can tell what is still missing of a run."""
        progress = watch.progress
        wants_document = watch.wants_document or watch.document
        unlisted = watch.created is None or self._clock.monotonic() < watch.unlisted_until
        hint = watch.hint if watch.hinted else None
        told = hint is not None and (watch.wants_output or hint.tries > 0)
        return not self._policy.sweep or wants_document or progress.over or unlisted or told

    def _account(self, name: str | None) -> Account:
        account = self._accounts.get(name)
        if account is None:
            if len(self._accounts) >= self._many:
                for each in [*self._accounts.values()]:
                    self._forget(each)
                self._many = max(_FEW, 2 * len(self._accounts))
            lists = Lists(self._policy.page_size, 2 * self._policy.first)
            account = self._accounts[name] = Account(name, lists)
        return account

    def _forget(self, account: Account) -> None:
        """Forget an account nobody waits for, unless its lists are to be left alone."""
        good = account.lists_are_good(self._clock.monotonic())
        if account.idle and good and self._accounts.get(account.name) is account:
            del self._accounts[account.name]

    def _release_unwanted(self, watch: Watch) -> None:
        if not watch.wanted:
            self._release(watch)

    def _release(self, watch: Watch) -> None:
        page = watch.page
        if page is not None:
            page.account.release(watch)
            self._forget(page.account)

    def _looked(self, page: Page, part: Page) -> None:
        """Arrange the next look at a page, after one at it or at one of its runs."""
        for watch in part.runs.values() if part.single else ():
            watch.looking = False  # also if the look was cancelled before it began
        if page.runs:
            self.planner.plan(page)
            self._schedule.arrange(page)
        self._forget(page.account)

    # -- the end -----------------------------------------------------------------------------

    def _end(self, watch: Watch, error: RefoldError) -> None:
        watch.fail(error)
        self._release(watch)

    def _fail(self, error: Exception) -> None:
        """End every wait with an error, but for those that are looked at just now."""
        for watch in list(self._watches.values()):
            if not watch.looking:
                self._end(watch, broken(watch.execution_id, error))

    async def aclose(self) -> None:
        """End every wait with `ClientClosedError`; the runs themselves go on."""
        self._closed = True
        self._pushes.close()
        try:
            await self._schedule.aclose()
        finally:
            for watch in list(self._watches.values()):
                error = ClientClosedError(
                    "the client was closed while this run was waited for; it goes on:"
                    f" {reattach(watch.execution_id, watch.account)} waits for it again",
                    execution_id=watch.execution_id,
                )
                self._end(watch, error)


def _nobody() -> None:
    """Hear of nothing."""


def _wake(waiter: asyncio.Future[None], _: object) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _outcome(watch: Watch, settled: Settlement) -> ExecutionResult[Any]:
    outcome = settled.result()
    if isinstance(outcome, RefoldError):
        raise _unreadable(outcome, watch.execution_id) from outcome.__cause__
    return outcome


def _unreadable(error: RefoldError, execution_id: str) -> RefoldError:
    """Give an awaiter an error of its own, which says that the run exists."""
    own = error.fresh()
    own.execution_id = execution_id
    own.add_note(f"while waiting for execution {execution_id}, which goes on")
    return own
