"""How one item of a batch with a journal goes to its outcome, from wherever a crash left it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from refold_async._batch.carrier import Carrier, UnsentError, outcome_of_start
from refold_async._batch.journal import Journal
from refold_async._batch.journal_rows import Row, is_uncertain
from refold_async._batch.journal_values import dump_error, dump_result, load_failure, load_result
from refold_async._batch.kept import dump_request
from refold_async._batch.models import BatchOutcome
from refold_async._batch.patience import ImpatientError
from refold_async._batch.recovery import PATIENCE, Recovery
from refold_async._clock import done_within, waiting
from refold_async._errors import (
    ConfigError,
    ExecutionOutcomeUnknownError,
    JournalError,
    NotSentError,
    RefoldError,
    clip,
)
from refold_async._handle import ExecutionHandle
from refold_async._logs import Log, about
from refold_async._models import ExecutionRef
from refold_async._transport import Finding

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from refold_async._batch.carrier import Ending
    from refold_async._batch.fan import Entry, Fan, Submission
    from refold_async._starting import Found

logger = Log("batch")


_LAST_ANSWERS = 1.0
"""Seconds for which a batch that was cancelled waits for answers that are under way."""


@attrs.define(eq=False, kw_only=True)
class JournaledCarrier(Carrier):
    """Carries items of a batch whose journal is open.

    Attributes:
        journal: the batch's memory.
        recovery: finds runs whose ids the journal never learned.
        reattach: gives the handle of a run that was started before.
        has_runs: whether the journal knows of runs from earlier processes.
        retry: whether items that failed are started anew, and those not begun are left.
        keeps: whether the journal keeps what items ask for.
        skip: is told the place of an item of which the file of results has all there is to say.
    """

    journal: Journal
    recovery: Recovery
    reattach: Callable[[ExecutionRef], ExecutionHandle[Any]]
    has_runs: bool = False
    retry: bool = False
    keeps: bool = False
    skip: Callable[[int], object]
    _mentioned: bool = False
    _missing: int = 0  # answers, when the batch was cancelled
    _all_told: asyncio.Future[None] | None = None
    _led: asyncio.Future[None] | None = None  # done once the journal's first start is through

    async def carry(self, entry: Entry, fan: Fan) -> Ending:
        """Do what is left to do for the item."""
        try:
            submission = self.prepared(entry)
            row = await self._claim(entry, fan, submission)
        except UnsentError as unsent:
            await self._leave_alone(entry)
            hidden = self.journal.size and isinstance(unsent.error, JournalError)  # its row
            outcome = BatchOutcome.UNKNOWN if hidden else BatchOutcome.UNSENT
            return outcome, None, unsent.error
        except RefoldError as error:
            await self._leave_alone(entry)
            if entry.handle is not None:  # of the run that had the item's key
                fan.started()
            return BatchOutcome.REJECTED, None, error
        if self._is_retried(row):
            return await self._start_anew(entry, fan, row, submission)
        known = _known(row)
        if known is not None and not self._is_wanting(row, known):
            return self._restored(entry, fan, row, known)
        if row.execution_id is not None:
            return await self._go_on(entry, fan, row, known)
        if row.state != "new" and is_uncertain(row):
            return await self._clear_up(entry, fan, row, submission)
        return await self._start(entry, fan, row, submission)

    async def is_over(self, entry: Entry) -> bool:
        """Whether an earlier process has seen the item begin: its payload was sent as it is."""
        row = await self.journal.find(entry.journal_key)
        return row is not None and (row.execution_id is not None or row.outcome == "succeeded")

    async def _claim(self, entry: Entry, fan: Fan, submission: Submission) -> Row:
        """Give the item's row; a new one has the state "new" until it is written."""
        key, request = entry.journal_key, submission.request
        try:
            row = await self.journal.claim(key)
        except KeyError:
            self.skip(entry.index)
            raise ConfigError(
                f"{entry.key!r} appears twice in this input; a journal needs one key per item",
                field="key",
            ) from None
        except JournalError as error:
            fan.stop(str(error))
            raise UnsentError(error) from None
        if self.retry and row is None:
            raise UnsentError(NotSentError("not sent: a retry does not begin what has not begun"))
        if row is None:
            self._mention_keys(entry)
            return Row(
                key=key,
                position=entry.index,
                fingerprint=submission.fingerprint,
                tag=request.instance_tag,
                findable=request.unique_tag,
                workflow_id=request.workflow_id or "",
                account=request.account,
                state="new",
                intended_at=self.recovery.clock.time(),
                request=dump_request(entry.request, submission) if self.keeps else None,
            )
        if row.fingerprint != submission.fingerprint:
            if row.execution_id is not None:
                entry.handle = self._handle(row, slug=None)
            raise self._was_another(entry, row)
        own = None if self._is_retried(row) or not row.findable else row.tag
        if own is not None and own != request.instance_tag:
            submission.retag(own)
        return row

    async def _leave_alone(self, entry: Entry) -> None:
        """Let the file of results have what the journal has under the key of an item not taken."""
        try:
            if await self.journal.find(entry.journal_key) is not None:
                self.skip(entry.index)
        except JournalError:
            self.skip(entry.index)
        except UnicodeEncodeError:
            pass  # a key that is no text is in no journal

    def _mention_keys(self, entry: Entry) -> None:
        """Say once what it costs that items have no keys of their own."""
        if entry.request.key is None and not self._mentioned:
            self._mentioned = True
            logger.info(
                "items without a key are known to the journal %s by their places in the input: run"
                " it again with exactly that input; ExecutionRequest(key=...) lifts that",
                self.journal.path,
            )

    def _was_another(self, entry: Entry, row: Row) -> JournalError:
        ended = f" and {row.outcome}" if row.state == "settled" else ""
        began = f": it ran as {row.execution_id}{ended}" if row.execution_id is not None else ""
        if is_uncertain(row):
            began = f", and may have run: its tag is {row.tag!r}"
        return JournalError(
            self.journal.path,
            f"item {entry.key!r} was another request when it was written{began}",
            "give the input of that batch, or use a new journal for a new batch",
        )

    # -- where a crash left it ---------------------------------------------------------------

    def _is_wanting(self, row: Row, known: Ending) -> bool:
        """Whether there is more to learn: it was not waited for then, or without its output."""
        result = known[1]
        has_all = result is not None and (result.output_is_read or not self.output)
        return self.wait and row.execution_id is not None and not has_all

    def _restored(self, entry: Entry, fan: Fan, row: Row, known: Ending) -> Ending:
        """Give the ending an earlier process has seen."""
        entry.resumed = True
        self.skip(entry.index)
        if row.execution_id is not None:
            fan.acknowledged(entry, self._handle(row, slug=entry.request.slug))
            fan.started()
        return known

    async def _go_on(self, entry: Entry, fan: Fan, row: Row, known: Ending | None = None) -> Ending:
        """Wait for a run that an earlier process started, or read the output of one it saw end."""
        entry.resumed = True
        fan.acknowledged(entry, self._handle(row, slug=entry.request.slug))
        fan.started()
        if known is None or known[1] is None:
            return await self._finish(entry, fan, row)
        ending = await self.end(entry, fan, known)
        if ending[1] is known[1]:
            return ending  # nothing was learned: the row stays as it is
        return await self._settled(fan, row, ending)

    async def _clear_up(self, entry: Entry, fan: Fan, row: Row, submission: Submission) -> Ending:
        """Find out whether a run of the item began, and start it where it provably did not."""
        mode = submission.policy.mode
        if mode == "never" or not row.findable:
            why = "its tag is a label" if mode != "never" else "the mode `never` does not look"
            return await self._unknown(fan, row, why)
        found = self.recovery.known(row)
        if found is None:
            settle = submission.policy.settle
            self.recovery.expect(row, settle=settle, is_safe=mode == "safe")
            try:
                found = await fan.patience.bear(partial(self._look_again, entry, fan, row))
            except ImpatientError:
                return await self._unknown(fan, row, "the batch ended before it was looked for")
        finding = Finding.UNPROVEN if found is None else found.finding
        if found is not None and found.execution_id is not None:
            return await self._adopt(entry, fan, row, found.execution_id)
        if finding is not Finding.ABSENT or submission.request.sync:
            return await self._unknown(fan, row, finding.value)
        if fan.stopped is not None:
            return await self._unknown(fan, row, "the batch was stopped before it was sent again")
        return await self._start(entry, fan, row, submission)

    async def _look_again(self, entry: Entry, fan: Fan, row: Row) -> Found | None:
        await fan.step_aside(entry)
        return await self.recovery.look_again(row)

    async def _adopt(self, entry: Entry, fan: Fan, row: Row, execution_id: str) -> Ending:
        logger.info(
            "item %s: its run %s was found by its tag",
            clip(entry.key, 80),
            execution_id,
            extra=_about_item(row) | {"execution_id": execution_id},
        )
        row.execution_id = execution_id
        row.attempts = max(row.attempts, 1)
        _goes_on(row)
        await self._keep(fan, row)
        return await self._go_on(entry, fan, row)

    async def _unknown(self, fan: Fan, row: Row, why: str) -> Ending:
        look = "look through refold.executions.list(start_date=...)"
        if row.findable:
            look = f"await refold.find({row.tag!r}, workflow_id={row.workflow_id!r}) looks for it"
        error = ExecutionOutcomeUnknownError(
            f"item {row.key.removeprefix('#')}: an earlier process may have started its run"
            f" ({why}); before sending it again, {look}",
            instance_tag=row.tag,
            workflow_id=row.workflow_id,
            attempts=max(row.attempts, 1),
        )
        return await self._settled(fan, row, (BatchOutcome.UNKNOWN, None, error))

    # -- what failed -------------------------------------------------------------------------

    def _is_retried(self, row: Row) -> bool:
        return self.retry and row.state == "settled" and row.outcome == BatchOutcome.FAILED

    async def _start_anew(self, entry: Entry, fan: Fan, row: Row, submission: Submission) -> Ending:
        """Start another run of an item that failed, with a tag of its own.

        In the file its row stays as it is until the start is intended.
        """
        request = submission.request
        new = attrs.evolve(
            row,
            tag=request.instance_tag,
            findable=request.unique_tag,
            state="new",
            settled_at=None,
            execution_id=None,
            attempts=0,
            possible_duplicate=False,
            outcome=None,
            result=None,
            error=None,
            failed=row,
        )
        if request.unique_tag and row.findable and row.tag == request.instance_tag:
            refusal = ConfigError(
                f"{row.tag!r} is the tag of the run that failed, and can't be that of another;"
                " leave the tag out to have items retried",
                field="instance_tag",
            )
            return await self._stays_failed(entry, fan, new, refusal)
        return await self._start(entry, fan, new, submission)

    async def _stays_failed(
        self, entry: Entry, fan: Fan, row: Row, why: Exception | None
    ) -> Ending:
        """Give an item that was not started anew its failure back, with the reason as a note."""
        failed = _as_it_failed(row)
        assert failed is not None  # noqa: S101 - it is retried
        if row.state != "new":
            await self._keep(fan, failed)
        outcome, result, error = _known(failed) or (BatchOutcome.FAILED, None, None)
        if error is not None:
            error.add_note(f"not started again: {why}")
        if fan.stopped is None:
            logger.warning(
                "item %s is not started again, and stays failed: %s",
                clip(entry.key, 80),
                clip(why),
                extra=_about_item(failed),
            )
        return self._restored(entry, fan, failed, (outcome, result, error))

    # -- from intent to end ------------------------------------------------------------------

    async def _start(self, entry: Entry, fan: Fan, row: Row, submission: Submission) -> Ending:
        """Write the intent, send, and write the id; then wait."""
        again = row.state != "new" and is_uncertain(row)
        try:
            if self.preflight is not None:
                await self.check(entry, submission, self.preflight)
            async with self._turn(row, submission):
                handle = await self._send(entry, fan, row, submission, again=again)
                handle.possible_duplicate = handle.possible_duplicate or row.possible_duplicate
                fan.acknowledged(entry, handle)
                row.attempts += handle.attempts
                row.execution_id = handle.execution_id
                row.possible_duplicate = handle.possible_duplicate
                row.state = "started"
                self.recovery.started(row)
                await self._keep(fan, row)
        except (UnsentError, RefoldError) as error:
            return await self._not_started(entry, fan, row, error, again=again)
        fan.started()
        return await self._finish(entry, fan, row)

    async def _send(
        self, entry: Entry, fan: Fan, row: Row, submission: Submission, *, again: bool
    ) -> ExecutionHandle[Any]:
        """Send it; the intent is written once it has a slot, so that a crash leaves few of them."""
        intended = False

        async def intend() -> None:
            nonlocal intended
            if not intended:
                intended = True
                self._intend(row, submission, again=again)
                await self.journal.write(row)

        try:
            return await fan.send(entry, submission, intend)
        except JournalError as error:
            fan.stop(str(error))
            raise UnsentError(error) from None
        except ExecutionOutcomeUnknownError:
            if fan.patience.is_over and submission.has_left:
                self._await_answer(row, submission)
            raise
        except asyncio.CancelledError:
            if intended and submission.has_left:
                self._await_answer(row, submission)
            elif intended and not again:
                if row.failed is None:
                    row.state, row.outcome = "settled", BatchOutcome.UNSENT
                self.journal.note(_as_it_failed(row) or row)
            raise

    def _await_answer(self, row: Row, submission: Submission) -> None:
        """Have the id of a run written down that comes after its item has ended."""
        self._missing += 1
        submission.later(lambda handle: self._told(row, handle))

    def _told(self, row: Row, handle: ExecutionHandle[Any] | None) -> None:
        """Note the id that came after the batch was cancelled, if the journal is still open."""
        if handle is not None and handle.execution_id is not None and not self.journal.closed:
            row.execution_id = handle.execution_id
            _goes_on(row)
            row.attempts += max(handle.attempts, 1)
            row.possible_duplicate = row.possible_duplicate or handle.possible_duplicate
            self.journal.note(row)
        self._missing -= 1
        if not self._missing and self._all_told is not None and not self._all_told.done():
            self._all_told.set_result(None)

    async def collect(self) -> None:
        """Wait a moment for the answers to what had left when the batch was cancelled."""
        if self._missing:
            self._all_told = asyncio.get_running_loop().create_future()
            with waiting(self.recovery.clock, "the last answers, before the journal is closed"):
                await done_within(self.recovery.clock, self._all_told, _LAST_ANSWERS)

    async def _not_started(
        self, entry: Entry, fan: Fan, row: Row, error: UnsentError | RefoldError, *, again: bool
    ) -> Ending:
        """Say what it means that a start failed; one that was uncertain before stays so."""
        if again:
            return await self._unknown(fan, row, f"sent again it came to: {error}")
        if isinstance(error, UnsentError):
            ending: Ending = BatchOutcome.UNSENT, None, error.error
        else:
            row.attempts += getattr(error, "attempts", 0)
            ending = outcome_of_start(error), None, error
        if row.failed is not None and (row.state == "new" or ending[0] is BatchOutcome.UNSENT):
            return await self._stays_failed(entry, fan, row, ending[2])
        return ending if row.state == "new" else await self._settled(fan, row, ending)

    @asynccontextmanager
    async def _turn(self, row: Row, submission: Submission) -> AsyncIterator[None]:
        """Let the first start of a journal go alone, unless it takes long.

        After a crash it shows whether lists show tags: were the first hundred to leave together, a
        crash in that moment might leave nothing to prove things by. A sync run may take hours.
        """
        await self.recovery.meet(row.account)
        if submission.request.sync or self.has_runs:
            yield
        elif self._led is not None:
            await done_within(self.recovery.clock, self._led, PATIENCE)
            yield
        else:
            self._led = asyncio.get_running_loop().create_future()
            try:
                yield
            finally:
                if not self._led.done():
                    self._led.set_result(None)

    def _intend(self, row: Row, submission: Submission, *, again: bool) -> None:
        if again:
            # The time of the first intent stays: should both have run, both are found.
            row.attempts = max(row.attempts, 1)
            row.possible_duplicate = row.possible_duplicate or submission.policy.mode != "safe"
            logger.warning(
                "item %s is sent again: its run is proven not to be in the list"
                " (workflow_id=%s, instance_tag=%s)%s",
                clip(row.key.removeprefix("#"), 80),
                row.workflow_id,
                row.tag,
                ": possible duplicate" if row.possible_duplicate else "",
                extra=_about_item(row),
            )
        else:
            row.since, row.intended_at = (
                self.recovery.reconciler.lists.service_now(),
                self.recovery.clock.time(),
            )
        row.state, row.outcome, row.result, row.error = "intended", None, None, None

    async def _finish(self, entry: Entry, fan: Fan, row: Row) -> Ending:
        ending = await self.end(entry, fan)
        if fan.patience.is_over and ending[0] is BatchOutcome.UNKNOWN:
            if row.state != "started":  # in the journal it runs, and is waited for another time
                _goes_on(row)
                await self._keep(fan, row)
            return ending
        return await self._settled(fan, row, ending)

    async def _settled(self, fan: Fan, row: Row, ending: Ending) -> Ending:
        outcome, result, error = ending
        row.state, row.outcome, row.settled_at = "settled", outcome, self.recovery.clock.time()
        row.result = dump_result(result)
        # Of a success it is why the output was not read, which another run may put right.
        row.error = None if outcome is BatchOutcome.SUCCEEDED else dump_error(error)
        await self._keep(fan, row)
        return ending

    async def _keep(self, fan: Fan, row: Row) -> None:
        """Write a row; if that fails the item goes on, and nothing further is sent."""
        try:
            await self.journal.write(row)
        except JournalError as error:
            fan.stop(str(error))

    def _handle(self, row: Row, *, slug: str | None) -> ExecutionHandle[Any]:
        handle = self.reattach(
            ExecutionRef(
                execution_id=row.execution_id,
                workflow_id=row.workflow_id,
                slug=slug,
                linked_account_id=row.account,
                instance_tag=row.tag,
            )
        )
        handle.attempts, handle.possible_duplicate = row.attempts, row.possible_duplicate
        return handle


def _known(row: Row) -> Ending | None:
    """Give the ending that an earlier process wrote, if it did."""
    if row.outcome not in {BatchOutcome.SUCCEEDED, BatchOutcome.FAILED}:
        return None
    result = load_result(row.result, row.execution_id)
    error = None if result is None else load_failure(result, row.error)
    return BatchOutcome(row.outcome), result, error


def _goes_on(row: Row) -> None:
    """Note that the run of an item is known, and its end is not."""
    row.state = "started"
    row.outcome = row.result = row.error = row.settled_at = None


def _as_it_failed(row: Row) -> Row | None:
    """Give the row that an item has if it is not started anew, to be written in place of this."""
    if row.failed is not None:
        row.failed.weight = row.weight
    return row.failed


def _about_item(row: Row) -> dict[str, object]:
    """Give the `extra` of a line that tells of an item."""
    return about(
        key=row.key.removeprefix("#"),
        execution_id=row.execution_id,
        workflow_id=row.workflow_id,
        linked_account_id=row.account,
        instance_tag=row.tag,
    )
