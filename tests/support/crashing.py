"""A batch that kills its own process at a chosen instant: `python -m tests.support.crashing ...`.

The instant is `before STATE` or `after STATE`: the moment around which the victim's row is written
in that state; or `in a commit MICROSECONDS`: so long after SQLite began to commit the victim's run.
`never` lets the batch end.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from refold_async import ExecutionRequest, PollPolicy, RefoldClient, RetryPolicy
from refold_async._batch.journal import Journal
from refold_async._batch.journal_rows import READ, SUM, WRITE_META, total, weigh

if TYPE_CHECKING:
    from collections.abc import Iterator

    from refold_async import BatchReport
    from refold_async._batch.journal_rows import Row
    from refold_async._config import RetryMode

VICTIM = "#1"
ITEMS = 4


def requests(**options: Any) -> Iterator[ExecutionRequest]:
    """Give the batch's items."""
    for number in range(ITEMS):
        yield ExecutionRequest("wf_1", slug="s", payload={"n": number}, **options)


def client(base_url: str, mode: RetryMode = "safe", **settings: Any) -> RefoldClient:
    """Give a client that looks soon."""
    defaults: dict[str, Any] = {
        "api_key": "tk_emulator",
        "linked_account_id": "acct_1",
        "rate_limit": None,
        "polling": PollPolicy(first=0.02, max_interval=0.1),
        "retry": RetryPolicy(mode=mode, settle=0.05, wait=0, max_wait=0),
    }
    return RefoldClient(base_url=base_url, **(defaults | settings))


async def run(base_url: str, journal: str, mode: RetryMode = "safe", **options: Any) -> BatchReport:
    """Run the batch one item at a time, from wherever its journal says."""
    async with client(base_url, mode) as refold:
        return await refold.run_batch(requests(**options), journal=journal, concurrency=1)


def forget_the_run(journal: str, *, key: str = VICTIM, tag: str | None = None) -> None:
    """Set an item's row back to what a kill after its POST leaves."""
    connection = sqlite3.connect(journal)
    connection.execute(
        "UPDATE items SET state = 'intended', execution_id = NULL, outcome = NULL, result = NULL,"
        " tag = coalesce(?, tag) WHERE key = ?",
        (tag, key),
    )
    mend_the_sum(connection)
    connection.close()


def mend_the_sum(connection: sqlite3.Connection) -> None:
    """Write the sum anew, as whoever means to change a journal by hand has to."""
    named = connection.execute("SELECT name, value FROM meta WHERE name != ?", (SUM,))
    weights = map(weigh, [*named, *connection.execute(READ)])
    connection.execute(WRITE_META, (SUM, str(total(weights))))
    connection.commit()


def kill_at(instant: str) -> None:
    """Have the process killed around a write."""
    write, commit = Journal.write, Journal._commit
    *words, last = instant.split()
    if words == ["in", "a", "commit"]:

        async def cutting(journal: Journal, rows: list[Any], said: int) -> None:
            if any(row[0] == VICTIM and "started" in row for row in rows):
                threading.Thread(target=_kill_in, args=(int(last) / 1e6,)).start()
            await commit(journal, rows, said)

        setattr(Journal, "_commit", cutting)  # noqa: B010

    async def killing(journal: Journal, row: Row) -> None:
        if row.key == VICTIM and instant == f"before {row.state}":
            os.kill(os.getpid(), signal.SIGKILL)
        await write(journal, row)
        if row.key == VICTIM and instant == f"after {row.state}":
            os.kill(os.getpid(), signal.SIGKILL)

    setattr(Journal, "write", killing)  # noqa: B010 - mypy takes no method for another


def _kill_in(seconds: float) -> None:
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    kill_at(sys.argv[3])
    asyncio.run(run(sys.argv[1], sys.argv[2], mode=sys.argv[4]))  # type: ignore[arg-type]
