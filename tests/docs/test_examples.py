"""Every example in the documentation runs, and prints what the pages say."""

from __future__ import annotations

import asyncio
import re
import subprocess
import urllib.request

import pytest

from tests.docs.conftest import EXAMPLES, PYTHON, environment, running_emulator

# Regular expressions, one per line of output.
PRINTS = {
    "quickstart": (
        "started [0-9a-f]{24}",
        r"COMPLETED \{'id': 1, 'email': 'jane@example.com'\}",
    ),
    "results_and_errors": (
        r"wf_echo returned \{'email': 'j@example.com'\}",
        r"wf_fails failed at Work \{'error': 'the CRM said no'\}",
        "wf_slow was last seen RUNNING and goes on",
        "wf_nobody_published did not start: execute: HTTP 400, .*",
    ),
    "sync_run": (
        r"COMPLETED 200 \{'n': 1\}",
        "COMPLETED 422 not ok",
        r"raise_for_status: 422 \{'reason': 'email is taken'\}",
    ),
    "fan_out": (
        *(f"person{n}@example.com COMPLETED" for n in range(10)),
        r"2\d requests, 0 retries",
    ),
    "uncertain": (r"COMPLETED \{'amount': 100\}",),
    "emulator_in_tests": (r"\{'n': 42\} after 3 attempts", "runs started: 1"),
}
WITH_TESTS_OF_THEIR_OWN = {"watch", "events", "reattach", "web_service"}


def run(name: str, *arguments: str, base_url: str) -> str:
    """Run an example to its end, and give what it printed."""
    ended = subprocess.run(  # noqa: S603 - our own file
        [*PYTHON, EXAMPLES / f"{name}.py", *arguments],
        env=environment(base_url),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def test_every_example_is_run() -> None:
    """No example is left out of this file."""
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(PRINTS) | WITH_TESTS_OF_THEIR_OWN


@pytest.mark.parametrize("name", PRINTS)
def test_example_prints_what_it_says(name: str, base_url: str) -> None:
    """A whole program, over HTTP, against the emulator's sample workflows."""
    lines = run(name, base_url=base_url).splitlines()

    assert len(lines) == len(PRINTS[name])
    for line, expected in zip(lines, PRINTS[name], strict=True):
        assert re.fullmatch(expected, line), line


def test_watch_sees_the_run_go_on(base_url: str) -> None:
    """The snapshots lead from RUNNING to COMPLETED, and the result comes too."""
    *seen, output = run("watch", base_url=base_url).splitlines()

    assert seen[0].startswith("RUNNING")
    assert seen[-1] == "COMPLETED ['Start', 'Work', 'Response']"
    assert output.startswith("output {'id': 1")


def test_events_tell_what_happens(base_url: str) -> None:
    """Nodes begin and end, one fails, and the status is the last word."""
    lines = run("events", base_url=base_url).splitlines()

    assert [line for line in lines if line.startswith(("Start", "Work"))] == [
        "Start started",
        "Start finished",
        "Work started",
        "Work failed: {'error': 'the CRM said no'}",
    ]
    assert lines[-1] == "ERRORED"
    assert re.fullmatch(r"\d+\.0 %", next(line for line in lines if line.endswith(" %")))


def test_reattach_finds_the_run_in_another_process(base_url: str) -> None:
    """The second process needs what the first one printed, and no more."""
    first, again = run("reattach", base_url=base_url).splitlines()
    execution_id = again.removeprefix("python reattach.py ")
    second = run("reattach", execution_id, base_url=base_url)

    assert re.fullmatch(r"RUNNING after \d\.\d s", first)
    assert second.startswith(f"{execution_id} COMPLETED {{'id': 1")


def test_uncertain_start_is_found_by_its_tag() -> None:
    """A proxy answers 502 for a run that did start: nothing is sent again, and the run is found."""
    with running_emulator("--faulty", "1") as base_url:
        printed = run("uncertain", base_url=base_url)

    assert printed.splitlines() == ["COMPLETED {'amount': 100}"]


async def test_web_service_runs_workflows_for_its_customers(base_url: str) -> None:
    """A request to the service becomes a run for the customer's account."""
    service = await asyncio.create_subprocess_exec(
        *PYTHON,
        EXAMPLES / "web_service.py",
        env={**environment(base_url), "PORT": "0"},
        stdout=asyncio.subprocess.PIPE,
    )
    assert service.stdout is not None
    try:
        where = re.search(r"http://[\d.:]+", (await service.stdout.readline()).decode())
        assert where is not None
        answer = await asyncio.to_thread(
            post, f"{where[0]}/accounts/acct_7/contacts", b'{"email": "jim@example.com"}'
        )
    finally:
        service.terminate()
        await service.communicate()

    assert answer == (201, b'{"id": 1, "email": "jim@example.com"}')


def post(url: str, body: bytes) -> tuple[int, bytes]:
    """Send a request by other means than ours."""
    request = urllib.request.Request(  # noqa: S310 - loopback
        url, body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        return answer.status, answer.read()
