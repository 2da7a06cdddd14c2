"""What the logs say: from which room, how loud, about which run, and nothing that hides it."""

from __future__ import annotations

import ast
import asyncio
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import refold_async
from refold_async import RetryPolicy
from refold_async.emulator import Emulator, Fault
from refold_async.webhooks import WorkflowEvent
from refold_async.webhooks._receiver import _pass_on
from tests.conftest import ACCOUNT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from refold_async import RefoldClient

ROOT = Path(refold_async.__file__).parent
PAGE = (ROOT.parent / "docs/how-to/observing.md").read_text(encoding="utf-8")
NAMES = {"Log": "refold_async.", "logging.getLogger": ""}
IDS = ("workflow_id", "slug", "linked_account_id", "instance_tag", "execution_id")


def loggers() -> Iterator[tuple[str, str]]:
    """Every logger of the package, by the module that asks for it."""
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in NAMES:
                prefix, name = NAMES[ast.unparse(node.func)], ast.unparse(node.args[0])
                yield path.relative_to(ROOT).as_posix(), prefix + name.strip("'")


def ids(record: logging.LogRecord) -> dict[str, Any]:
    """What a line says it is about."""
    return {name: vars(record)[name] for name in IDS if name in vars(record)}


def test_each_room_has_a_logger_of_its_own() -> None:
    """It is named after the room, and the page has a row for it."""
    found = {}
    for module, name in loggers():
        room = module.partition("/")[0].removesuffix(".py").strip("_")
        if room not in {"cli", "logs"}:  # the one listens to all of them, the other makes them
            found[name] = f"refold_async.{room}"
    assert {*found} == {*found.values()}
    assert {*found} == {*re.findall(r"^\| `(refold_async\.\w+)` \|", PAGE, re.MULTILINE)}


async def test_the_log_of_a_call_at_debug(
    connect: Callable[..., RefoldClient], emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """Each attempt, the run it gave and the end of it: what happened when, and whose it is."""
    caplog.set_level(logging.DEBUG, "refold_async")
    emulator.workflow("wf_1", slug="s")(dict)
    emulator.faults.script("execute", Fault(status=503))
    handle = await connect(emulator).execute("wf_1", slug="s")
    await handle
    first, retry, second, started, *looks, ended = caplog.records
    about = {
        "workflow_id": "wf_1",
        "slug": "s",
        "linked_account_id": ACCOUNT,
        "instance_tag": handle.instance_tag,
    }
    run = {**about, "execution_id": handle.execution_id}
    told = [(r.levelname, r.name.removeprefix("refold_async."), ids(r)) for r in caplog.records]
    assert told[:4] == [
        ("DEBUG", "transport", about),
        ("INFO", "transport", about),
        ("DEBUG", "transport", about),
        ("DEBUG", "transport", run),
    ]
    path = "execute: POST /api/v2/public/workflow/wf_1/execute came to HTTP"
    assert first.getMessage().startswith(f"{path} 503 after 0.")
    assert "try 2 follows in" in retry.getMessage()
    assert second.getMessage().startswith(f"{path} 200 after 0.")
    assert started.getMessage() == f"execute gave execution {handle.execution_id}, after 2 tries"
    assert [(r.filename, r.funcName) for r in (retry, started)] == [
        ("retry.py", "_log"),
        ("observed.py", "tell_started"),
    ]
    assert {look.name for look in looks} == {"refold_async.transport"}
    assert ended.getMessage().startswith(f"execution {handle.execution_id} is COMPLETED")
    assert (ended.name, ids(ended)["execution_id"]) == (
        "refold_async.waiting",
        handle.execution_id,
    )


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param((), id="all goes well"),
        pytest.param((Fault(status=503),), id="tried again"),
        pytest.param((Fault(drop="after"),), id="found by its tag"),
        pytest.param((Fault(status=502),), id="sent again"),
    ],
)
@pytest.mark.parametrize("error", [OSError("no space left on device"), asyncio.CancelledError()])
async def test_a_handler_that_raises_loses_no_run(
    connect: Callable[..., RefoldClient],
    emulator: Emulator,
    caplog: pytest.LogCaptureFixture,
    faults: tuple[Fault, ...],
    error: BaseException,
) -> None:
    """On its way from the answer to the handle nothing can stop it, though the handler should."""

    class Full(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise error

    caplog.set_level(logging.DEBUG, "refold_async")
    emulator.workflow("wf_1", slug="s")(dict)
    emulator.faults.script("execute", *faults)
    logger, handler = logging.getLogger("refold_async"), Full()
    logger.addHandler(handler)
    policy = RetryPolicy(wait=0.0, max_wait=0.0, settle=0.01)
    try:
        handle = await connect(emulator, retry=policy).execute("wf_1", slug="s")
        assert (await handle).ok
    finally:
        logger.removeHandler(handler)


async def test_no_web_page_gets_into_a_line(
    connect: Callable[..., RefoldClient], emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """A proxy's page is told by its title, at whatever level; and no line is long."""
    caplog.set_level(logging.DEBUG, "refold_async")
    emulator.workflow("wf_1", slug="s")(dict)
    page = "<html><head><title>502 Bad Gateway</title></head>" + "<p>sorry</p>" * 1_000
    emulator.faults.script("execute", Fault(status=502, body=page))
    await connect(emulator).execute("wf_1", slug="s")
    lines = [record.getMessage() for record in caplog.records]
    assert any("an HTML page, '502 Bad Gateway'" in line for line in lines)
    assert [line for line in lines if "<" in line or len(line) > 500] == []


async def test_a_start_that_may_be_a_second_one_is_a_warning(
    connect: Callable[..., RefoldClient], emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """It bears the tag by which both runs are found."""
    emulator.workflow("wf_1", slug="s")(dict)
    emulator.faults.script("execute", Fault(status=502, perform=True))
    emulator.faults.always("list_executions", Fault(status=500))
    policy = RetryPolicy(mode="transient", wait=0.0, max_wait=0.0, settle=0.01)
    handle = await connect(emulator, retry=policy).execute("wf_1", slug="s")
    (line,) = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert handle.possible_duplicate
    assert (line.name, line.levelname) == ("refold_async.transport", "WARNING")
    assert ids(line)["instance_tag"] == handle.instance_tag
    assert "possible duplicate" in line.getMessage()


async def test_what_the_service_delivered_is_not_in_the_line_of_a_failed_on_event(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Long names and line breaks of an event can't fill a log or forge a line of it."""
    event = WorkflowEvent(
        execution_id="run_1",
        linked_account_id=ACCOUNT,
        workflow_name="x\nERROR forged" + "y" * 5_000,
        raw={"response": "private"},
    )

    async def fail(_: object) -> None:
        raise ValueError("no")

    await _pass_on(fail, event)
    (line,) = caplog.records
    assert (line.name, line.levelname) == ("refold_async.webhooks", "ERROR")
    assert ids(line) == {"execution_id": "run_1", "linked_account_id": ACCOUNT}
    assert len(line.getMessage()) < 400
    assert "\n" not in line.getMessage()
    assert "private" not in line.getMessage()
