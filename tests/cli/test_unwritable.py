"""Disks that are full and streams that are closed: what was started is told all the same."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import COMMAND, FAST, PATIENCE, PAYLOADS, documents, lines_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from refold_async.emulator import Emulator
    from tests.cli.conftest import Ended

    Refold = Callable[..., Awaitable[Ended]]
    Settings = dict[str, str]

FULL = "/dev/full"

pytestmark = pytest.mark.skipif(not Path(FULL).exists(), reason="no /dev/full")


async def shell(
    line: str, *arguments: str, environ: dict[str, str], **variables: str
) -> tuple[int | None, str, str]:
    """Run the command with redirections; give its exit code, and what it said."""
    child = await asyncio.create_subprocess_exec(
        "sh",
        "-c",
        f'"$@" {line}',
        "sh",
        *COMMAND,
        *arguments,
        env={**environ, **variables},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(child.communicate(), PATIENCE)
    return child.returncode, out.decode(), err.decode()


@pytest.mark.parametrize("as_json", [(), ("--json",)], ids=["people", "machines"])
async def test_results_that_out_has_no_room_for_are_on_standard_output(
    as_json: tuple[str, ...], here: Refold, service: Settings, tmp_path: Path
) -> None:
    """The runs have begun: without their ids they would be started again."""
    file = lines_of(tmp_path / "in.jsonl", [{"n": 1}, {"n": 2}])

    ended = await here("batch", file, *PAYLOADS, *FAST, *as_json, "--out", FULL, **service)

    assert ended.code == 3
    assert f"can't write {FULL}: No space left on device" in ended.err
    found = documents("\n".join(x for x in ended.out.splitlines() if x.startswith('{"index"')))
    assert [item["outcome"] for item in found] == ["succeeded", "succeeded"]


@pytest.mark.parametrize("as_json", [(), ("--json",)], ids=["people", "machines"])
async def test_a_run_that_was_started_is_named_though_nothing_can_be_written(
    as_json: tuple[str, ...], environ: dict[str, str], emulator: Emulator, service: Settings
) -> None:
    """Not exit code 1, which says that a run has failed."""
    call = ("execute", "wf_echo", "--slug", "crm", *as_json)
    code, _, err = await shell(f"> {FULL}", *call, environ=environ, **service)

    assert code == 3, err
    assert f"{emulator.runs[0].execution_id} was started" in err
    assert "Traceback" not in err


async def test_a_full_standard_error_changes_no_exit_code(
    environ: dict[str, str], service: Settings
) -> None:
    """What people are told is lost, and nothing else."""
    call = ("run", "wf_endless", "--slug", "crm", "--timeout", "0.5")
    code, out, _ = await shell(f"2> {FULL}", *call, environ=environ, **service)

    assert (code, out) == (124, "")


@pytest.mark.parametrize("call", [("batch", "-"), ("execute", "w", "--payload", "-")])
async def test_standard_input_that_is_closed_is_empty(
    call: tuple[str, ...], environ: dict[str, str], service: Settings
) -> None:
    """As with `<&-`, or under a supervisor."""
    slug = ("--slug", "crm") if call[0] == "execute" else PAYLOADS
    code, _, err = await shell("<&-", *call, *slug, environ=environ, **service)

    assert code == (2 if call[0] == "execute" else 0)
    assert "Traceback" not in err
