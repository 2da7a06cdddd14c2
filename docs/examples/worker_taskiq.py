"""Jobs from a queue that may deliver them twice, each of them one run: with taskiq and Redis.

taskiq worker worker_taskiq:broker            # as many as you like
python worker_taskiq.py acct_7 invoice-4711   # a job, given twice if you like
"""

import asyncio
import logging
import os
import sys

from taskiq import Context, SimpleRetryMiddleware, TaskiqDepends, TaskiqEvents, TaskiqState
from taskiq_redis import RedisStreamBroker

from refold_async import ConfigError, ExecutionError, RefoldClient, Shared

logger = logging.getLogger("taskiq.invoices")
SEND = "6a314c54d4616e99e7fa5a02"  # with `once`: a workflow's id, no alias
REDIS = os.environ["REDIS_URL"]

# A job whose worker was killed is delivered to another one when it has lain for `idle_timeout`
# milliseconds. So is one that only takes longer than that.
broker = RedisStreamBroker(
    REDIS,
    idle_timeout=int(os.environ.get("IDLE_TIMEOUT", "60000")),
    unacknowledged_lock_timeout=10,  # seconds; else a worker killed just then stops that for ever
    consumer_id="0",  # jobs that were given before the first worker came count too
).with_middlewares(SimpleRetryMiddleware(default_retry_count=5))


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def connect(state: TaskiqState) -> None:
    state.refold = RefoldClient(shared=Shared(REDIS, name="invoices"))


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def disconnect(state: TaskiqState) -> None:
    await state.refold.aclose(grace=10)


@broker.task("send_invoice", retry_on_error=True)
async def send_invoice(
    account: str,
    invoice: str,
    context: Context = TaskiqDepends(),  # noqa: B008 - as taskiq has it
) -> None:
    refold: RefoldClient = context.state.refold.for_account(account)
    payload = {"invoice": invoice}
    try:
        handle = await refold.execute(SEND, slug="billing", payload=payload, once=invoice)
        logger.info("%s is %s, attached: %s", invoice, handle.execution_id, handle.attached)
        result = await handle
    except (ExecutionError, ConfigError) as error:  # the same key would end the same way
        logger.error("%s: %s", invoice, error)  # noqa: TRY400
    else:  # whatever else is raised: the job is tried again, with the same key
        logger.info("%s ended: %s", invoice, result.output)


async def main(account: str, invoice: str) -> None:
    await broker.startup()
    await send_invoice.kiq(account, invoice)
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
