"""Looks at pages, by list or singly: what they tell of the runs, and what their failures mean."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from refold_async._errors import (
    ApiError,
    AuthenticationError,
    BadRequestError,
    ClientClosedError,
    ConfigError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    RefoldError,
    clip,
)
from refold_async._logs import Log, about
from refold_async._waiting.look import Look, completed, unexplained, without_output
from refold_async._waiting.pool import SLACK, Page, created_of, tells
from refold_async._waiting.watch import Hint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from refold_async._clock import Clock
    from refold_async._config import PollPolicy
    from refold_async._models import Execution, ExecutionResult
    from refold_async._protocol import Output
    from refold_async._stats import Counters
    from refold_async._waiting.planning import Planner
    from refold_async._waiting.pool import Account
    from refold_async._waiting.schedule import Schedule
    from refold_async._waiting.unread import Unread
    from refold_async._waiting.watch import Watch

logger = Log("waiting")

_UNLISTED_FOR = 60.0
"""Seconds for which a run is read by itself that a list should have shown and did not."""
_REFUSED_FOR = 60.0
"""Seconds for which lists are left alone that an account may not read."""
_AT_ONCE = (AuthenticationError, PermissionDeniedError, ConfigError, ClientClosedError)
"""Failed looks that are not worth repeating."""
PATIENCE = 120.0
"""Seconds for which load may hold up a look: a longer Retry-After counts as so many."""


class Rounds:
    """Makes the looks that are due.

    Args:
        look: reads.
        planner: says when to look next.
        find: gives the `Watch` of a run, if there is one.
        arrange: has a run looked at again, where it belongs now; or no more, if nobody waits.
        policy: the settings.
        clock: what tells the time.
        counters: what is counted.
        patience: seconds for which load may hold up a look.
    """

    def __init__(
        self,
        look: Look,
        planner: Planner,
        *,
        find: Callable[[str, str | None], Watch | None],
        arrange: Callable[[Watch], None],
        policy: PollPolicy,
        clock: Clock,
        counters: Counters,
        patience: float,
    ) -> None:
        self._look = look
        self._planner = planner
        self._find = find
        self._arrange = arrange
        self._policy = policy
        self._clock = clock
        self._counters = counters
        self._patience = patience
        self.schedule: Schedule  # which calls `look_at`
        self.unread: Unread | None = None  # once outputs may come with pushes
        self.learn: Callable[[Iterable[Execution]], None] = lambda _: None  # from list entries

    def pick(self, page: Page) -> Page:
        """Give what the next look at a page is at: all of it by a list, or one of its runs.

        The others of its runs are not kept waiting by one that takes long to read.
        """
        if page.single or page.account.reads_list(page, self._clock.monotonic()):
            return page
        watch = self._planner.next_single(page)[1]
        part = Page(page.account, single=True)
        if watch is not None and not self._planner.is_too_soon(watch):
            watch.looking = True
            part.runs[watch.execution_id] = watch
        return part

    async def look_at(self, page: Page) -> None:
        """Look once; no fault in here leaves anybody waiting."""
        now = self._clock.monotonic()
        try:
            if not page.runs:
                return  # who waited for them has left since the look was begun
            if not page.single:
                if self._planner.is_list_too_soon(page):
                    return
                told = [watch for watch in page.runs.values() if watch.hinted]
                await self._look_over(page, now)
                for watch in told:
                    self._not_shown(watch, now)
            for watch in [*page.runs.values()] if page.single else ():
                await self._look_singly(watch, page.account)
        except Exception:
            logger.exception(
                "a list broke us; its runs are read singly for a while",
                extra=about(linked_account_id=page.account.name),
            )
            page.account.lists.failed(now, self._clock.monotonic(), passing=False)

    def _not_shown(self, watch: Watch, asked_at: float) -> None:
        """Read a run by itself whose end a push told, unless the list has shown it."""
        if watch.wanted and not watch.progress.over:
            self._planner.pushes.lagged(watch, asked_at)
            self._arrange(watch)

    async def _look_singly(self, watch: Watch, account: Account) -> None:
        watch.looking = True
        try:
            await self._read(watch, account)
        except Exception as error:
            logger.exception(
                "a look at execution %s broke; the waits it was for fail",
                watch.execution_id,
                extra=_about(watch),
            )
            watch.fail(broken(watch.execution_id, error))
        finally:
            watch.looking = False
            self._arrange(watch)

    async def _read(self, watch: Watch, account: Account) -> None:
        progress, began = watch.progress, self._clock.monotonic()
        before, told = progress.document, progress.told
        result, error = None, None
        try:
            result = await self._look(watch)
        except RefoldError as caught:
            error = caught
        watch.document = False
        account.failing = error is not None
        if changed := progress.document is not before:
            watch.version += 1
            self._date_by(watch, progress.document)
        if result is None and not progress.ended:
            self._counters.wasted += 1
            self._counters.polls += watch.hinted
            self._planner.count_read(account)
            if error is None or isinstance(error, NotFoundError):
                self._planner.pushes.lagged(watch, began)
        if error is not None:
            self._weigh(watch, error)
        elif result is not None:
            self._planner.learn(watch, result.execution)
            self._settle(watch, result)
        elif told is not None or progress.ended:  # whoever says less is asked again soon
            watch.contradicted += 1
            self._planner.back_off(watch, watch.contradicted)
        else:
            watch.going_at = began
        if progress.ended:
            self._planner.learn(watch, progress.document)
        if changed:
            watch.wake_readers()

    def settle_unread(self, watch: Watch, workflow: str, output: Output) -> None:
        """Settle a run by the output that came with its push, or have it compared with the read.

        Args:
            watch: the run, whose output somebody waits for.
            workflow: what it runs, as it is known here and as the push told.
            output: what the push told.
        """
        unread, refused = self.unread, self._policy.push is False
        if unread is None or refused or not unread.takes(watch, workflow, output):
            return
        now = self._clock.monotonic()
        watch.hint = watch.hint or Hint(now, now)
        watch.progress.heard(output.status, now)
        result = completed(watch, output)
        self._planner.learn(watch, result.execution)
        self._settle(watch, result)
        self._arrange(watch)

    def _settle(self, watch: Watch, result: ExecutionResult[Any]) -> None:
        if self.unread is not None and watch.claim is not None:
            self.unread.compare(watch, watch.claim, result)
        watch.settle(result)
        self._counters.settled += 1
        if logger.is_enabled_for(logging.DEBUG):
            logger.debug(
                "execution %s is %s, after %d looks at it alone",
                watch.execution_id,
                clip(result.status, 40),
                watch.progress.looks,
                extra=_about(watch),
            )

    def _weigh(self, watch: Watch, error: RefoldError) -> None:
        """Tell the failures that end a wait from those that only delay it."""
        progress, now = watch.progress, self._clock.monotonic()
        progress.missed(error, now)
        failing_for = now - (progress.failing_since or now)
        asked = error.retry_after if isinstance(error, ApiError) else None
        if isinstance(error, NotFoundError) and progress.status is None:
            is_final = not (self._planner.is_new(watch) or watch.hinted)
        elif isinstance(error, RateLimitError):  # load is no failure
            is_final = failing_for > max(self._policy.failure_budget, self._patience)
        else:
            is_final = isinstance(error, _AT_ONCE) or failing_for > self._policy.failure_budget
        if is_final and progress.bad_ending is not None:
            self._settle(watch, unexplained(watch, progress.bad_ending))
        elif is_final:
            watch.fail(error)
        else:
            self._planner.back_off(watch, progress.failed_looks, min(asked or 0, self._patience))

    async def _look_over(self, page: Page, asked_at: float) -> None:
        account, asked = page.account, set(page.runs)
        account.lists.forget_refusals(asked_at)
        begin, end = page.window()
        self._planner.count_read(account)
        try:
            reply = await self._look.list(
                account.name, begin, end, number=page.number, size=account.lists.size
            )
        except RefoldError as error:
            account.failing = True
            self._counters.wasted += 1
            self._list_failed(account, error, asked_at)
            return
        account.failing, now = False, self._clock.monotonic()
        self.learn(reply)
        found = sum([self.saw(entry, account, asked_at) for entry in reply])
        self._counters.wasted += not found
        page.looked_at = now
        worth_it, missed, rest = account.absorb(
            page, asked, reply, begin, self._planner.service_now()
        )
        for watch in missed:
            watch.missed_at = now
        late = [watch for watch in missed if not self._planner.is_new(watch)]
        for watch in late:
            watch.unlisted_until = now + _UNLISTED_FOR
            self._arrange(watch)
        if worth_it and 2 * len(late) <= len(asked):
            account.lists.worked()
        else:
            account.lists.failed(asked_at, now, passing=False)
        if rest is not None:
            self._planner.plan(rest)
            self.schedule.arrange(rest)

    def _list_failed(self, account: Account, error: RefoldError, asked_at: float) -> None:
        """Leave lists alone after one that could not be read, or ask for less."""
        now = self._clock.monotonic()
        if isinstance(error, BadRequestError) and account.lists.refused_size(now):
            return
        asked = error.retry_after if isinstance(error, ApiError) else None
        passing = not isinstance(error, _AT_ONCE)
        pause = min(asked or 0.0, self._patience) if passing else _REFUSED_FOR
        account.lists.failed(asked_at, now, passing=passing, pause=pause)

    def saw(self, entry: Execution, account: Account, asked_at: float) -> bool:
        """Note what a list shows of a run somebody waits for; tell whether it is news of an end."""
        watch = self._find(entry.execution_id, account.name)
        if watch is None or watch.progress.over or not tells(entry):
            return False
        is_news = watch.wanted
        self._date_by(watch, entry)
        watch.progress.saw_listed(entry, self._clock.monotonic())
        if watch.progress.told is None:
            watch.going_at = asked_at
            watch.unlisted_until = 0.0
        else:
            self._planner.learn(watch, entry, listed=True)
            if watch.enders:
                self._settle(watch, without_output(entry))
        self._arrange(watch)
        return is_news and watch.progress.told is not None

    def _date_by(self, watch: Watch, run: Execution | None) -> None:
        """Learn from what was read when a run was created, and what it runs."""
        if run is None:
            return
        watch.workflow = watch.workflow or run.workflow_id
        service_now = self._planner.service_now()
        created = created_of(run, service_now)
        if created is not None:
            watch.created, watch.unsure = created, SLACK
            if watch.born is None:
                watch.born = self._clock.monotonic() - max(service_now - created, 0.0)


def broken(execution_id: str, error: Exception) -> RefoldError:
    """Make the error of a wait that a fault of ours ends."""
    failure = RefoldError(f"tracking {execution_id} failed: {type(error).__name__}")
    failure.__cause__ = error
    return failure


def _about(watch: Watch) -> dict[str, object]:
    """Give the `extra` of a line that tells of a run."""
    return about(
        execution_id=watch.execution_id,
        workflow_id=watch.workflow,
        linked_account_id=watch.account,
    )
