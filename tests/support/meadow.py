"""An account with runs in order of creation, and the lists it is shown."""

from __future__ import annotations

from datetime import UTC, datetime

import attrs

from refold_async import Execution, ExecutionStatus
from refold_async import Page as Reply
from refold_async._waiting.pool import Account, Lists, Page
from refold_async._waiting.watch import Watch

EPOCH = 1_781_615_700.0
NOW = EPOCH + 100_000.0
"""The service's time."""


def run(number: int, created: float | None = None) -> Watch:
    """Give a run created so many seconds after the epoch of these tests."""
    watch = Watch(f"run{number}", "acct_1", 0.0)
    watch.created = EPOCH + (number if created is None else created)
    return watch


def entry(number: int, status: str = "RUNNING", created: float | None = None) -> Execution:
    """Give the row of a run, or of a stranger's."""
    at = EPOCH + (number if created is None else created)
    return Execution(
        execution_id=f"run{number}",
        status=ExecutionStatus(status),
        created_at=datetime.fromtimestamp(at, UTC),
    )


@attrs.define
class Meadow:
    """An account whose pages hold so many runs each."""

    account: Account
    runs: list[Watch]

    @classmethod
    def of(cls, *created: float, size: int = 100) -> Meadow:
        """Place runs that were created so many seconds after the epoch, in this order."""
        account = Account("acct_1", Lists(size))
        runs = [run(number, at) for number, at in enumerate(created)]
        for watch in runs:
            account.place(watch, single=False)
        return cls(account, runs)

    @property
    def sizes(self) -> list[int]:
        """How many runs the pages have."""
        return [len(page.runs) for page in self.account.pages]

    def show(
        self, *rows: Execution, at: int = 0, more: bool = False
    ) -> tuple[bool, list[Watch], Page | None]:
        """Show a list that a page was asked for."""
        page = self.account.pages[at]
        reply = Reply(items=rows, has_next=more)
        return self.account.absorb(page, set(page.runs), reply, page.window()[0], NOW)
