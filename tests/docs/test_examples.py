"""Every example in the documentation runs, and prints what the pages say."""

from __future__ import annotations

import asyncio
import json
import re
import runpy
import socket
import subprocess
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import RefoldClient
from refold_async.emulator import Emulator
from tests.docs.conftest import EXAMPLES, PYTHON, environment, running_emulator

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.long

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
    "typed_workflows": (
        r"made Contact\(id=1, email='jane@example.com'\)",
        "COMPLETED joe@example.com",
        "succeeded ann@example.com",
        "succeeded bob@example.com",
        r"it ran all the same, and returned \{'id': 1, 'email': 'eve@example.com'\}",
    ),
    "uncertain": (r"COMPLETED \{'amount': 100\}",),
    "emulator_in_tests": (r"\{'n': 42\} after 3 attempts", "runs started: 1"),
}
WITH_TESTS_OF_THEIR_OWN = {
    "watch",
    "events",
    "reattach",
    "web_service",
    "fan_out_service",
    "nightly_batch",
    "resume_batch",
    "dask_batch",
    "webhooks_aiohttp",
    "webhooks_fastapi",
    "aiohttp_service",
    "worker_taskiq",
    "observed",
}


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


async def asked_of(
    service_name: str, body: bytes, base_url: str, **variables: str
) -> tuple[int, bytes]:
    """Run a web service, and ask it for contacts of an account."""
    service = await asyncio.create_subprocess_exec(
        *PYTHON,
        EXAMPLES / f"{service_name}.py",
        env={**environment(base_url), "PORT": "0", **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert service.stdout is not None
    try:
        where, said = None, ""
        while where is None:
            said += (line := (await service.stdout.readline()).decode())
            assert line, said
            where = re.search(r"http://[\d.:]+\d", line)
        return await asyncio.to_thread(post, f"{where[0]}/accounts/acct_7/contacts", body)
    finally:
        service.terminate()
        await service.communicate()


async def test_web_service_runs_workflows_for_its_customers(base_url: str) -> None:
    """A request to the service becomes a run for the customer's account."""
    answer = await asked_of("web_service", b'{"email": "jim@example.com"}', base_url)

    assert answer == (201, b'{"id": 1, "email": "jim@example.com"}')


async def test_fan_out_service_answers_as_runs_settle(base_url: str) -> None:
    """A request with many contacts becomes many runs, and a line for each."""
    contacts = [{"email": f"person{n}@example.com"} for n in range(3)]
    body = json.dumps(contacts).encode()
    status, text = await asked_of("fan_out_service", body, base_url)

    lines = [json.loads(line) for line in text.splitlines()]
    assert (status, [line["outcome"] for line in lines]) == (200, ["succeeded"] * 3)
    assert sorted(line["contact"] for line in lines) == [each["email"] for each in contacts]


@pytest.mark.parametrize("name", ["webhooks_aiohttp", "webhooks_fastapi"])
async def test_a_service_is_told_by_its_webhook(name: str) -> None:
    """The emulator delivers to the route, by the URL the service subscribed, and takes 200."""
    async with Emulator() as emulator:
        port = free_port()
        public = {"PORT": str(port), "PUBLIC_URL": f"http://127.0.0.1:{port}"}

        @emulator.workflow("wf_contact", slug="demo", duration=0.3)
        def create(payload: dict[str, Any]) -> Any:
            return {"id": 1} | payload

        status, text = await asked_of(
            name, b'{"email": "jim@example.com"}', emulator.base_url, **public
        )
        assert (status, json.loads(text)) == (201, {"id": 1, "email": "jim@example.com"})
        assert emulator.counts["create_webhook"] == 1
        [delivery] = emulator.pushes.deliveries
        assert (delivery.event, delivery.attempt, delivery.status) == ("Workflow Completed", 1, 200)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_nightly_batch_reports_and_runs_nothing_twice(base_url: str, tmp_path: Path) -> None:
    """The second run of the night finds everything done."""
    first = run("nightly_batch", str(tmp_path), base_url=base_url).splitlines()
    again = run("nightly_batch", str(tmp_path), base_url=base_url).splitlines()

    assert first[0].startswith("10 done, 0 failed")
    assert re.fullmatch(r"30 items in [\d.]+ s, [\d.]+ per second", first[3])
    assert "  resumed           30" in again
    (report,) = tmp_path.glob("*.jsonl")
    items = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
    assert [item["key"] for item in items] == [f"invoice-{n}" for n in range(30)]


async def test_resume_batch_goes_on_after_a_kill(base_url: str, tmp_path: Path) -> None:
    """The same command again: every contact is there once."""
    journal = tmp_path / "contacts.sqlite"
    before = await started(base_url)
    child = await asyncio.create_subprocess_exec(
        *PYTHON, EXAMPLES / "resume_batch.py", journal, env=environment(base_url)
    )
    async with asyncio.timeout(120):
        while await started(base_url) < before + 10:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    child.kill()
    await child.wait()
    printed = await asyncio.to_thread(run, "resume_batch", str(journal), base_url=base_url)

    found = re.fullmatch(r"40 succeeded, (\d+) of them resumed\n", printed)
    assert found is not None, printed
    assert int(found[1]) > 0


def test_observed_tells_of_a_run_in_logs_and_spans(base_url: str) -> None:
    """Each line names the run it is about; the spans stand below the service's own."""
    *lines, traceparent = run("observed", base_url=base_url).splitlines()
    logged = [json.loads(line) for line in lines if line.startswith("{")]
    (given,) = [line for line in logged if "gave execution" in line["said"]]
    (ended,) = [line for line in logged if "is COMPLETED" in line["said"]]

    assert given["execution_id"] == ended["execution_id"]
    assert given["instance_tag"].startswith("rfa-")
    assert [line for line in lines if line.startswith("span")] == [
        "span POST /api/v2/public/workflow/{workflow_id}/execute",
        "span refold.execute",
        "span refold.wait COMPLETED",
        "span new customer",
    ]
    assert re.fullmatch(r"to wait elsewhere: 00-[0-9a-f]{32}-[0-9a-f]{16}-\d\d", traceparent)


async def started(base_url: str) -> int:
    """How many contacts the emulator has been asked for so far."""
    async with RefoldClient(
        base_url=base_url, api_key="tk_emulator", linked_account_id="acct_1"
    ) as refold:
        return len([run async for run in refold.executions.list(workflow_id="wf_contact")])


def test_services_are_tested_as_the_pages_show() -> None:
    """The tests of the pages' services pass: hours, a lost answer, a shed start, webhooks."""
    suites = [EXAMPLES / "testing", EXAMPLES / "fastapi_service"]
    others = ("-pno:cacheprovider", "-pno:faker", "-pno:schemathesis")  # of our own environment
    ended = subprocess.run(  # noqa: S603 - our own files
        [*PYTHON, "-m", "pytest", "-q", *others, "-c", "pytest.ini", *suites],
        env=environment(),
        cwd=EXAMPLES / "testing",
        capture_output=True,
        text=True,
        check=False,
    )
    assert re.search(r"^27 passed in ", ended.stdout, re.MULTILINE), ended.stdout + ended.stderr


async def test_a_service_is_tried_by_hand_with_workflows_of_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script listens, and what it prints is what a client takes from the environment."""
    monkeypatch.setenv("PORT", "0")
    main = runpy.run_path(str(EXAMPLES / "testing" / "by_hand.py"))["main"]
    serving = asyncio.create_task(main())
    said = ""
    async with asyncio.timeout(10):
        while "\n#" not in said:
            await asyncio.sleep(0.01)
            said += capsys.readouterr().out
    for name, value in re.findall(r"^export (\w+)=(\S+)$", said, re.MULTILINE):
        monkeypatch.setenv(name, value)
    async with RefoldClient() as refold:
        started = await refold.execute("wf_contact", slug="crm", payload={"email": "j@example.com"})
        assert await started.status() == "RUNNING"
    serving.cancel()
    await asyncio.wait([serving])


def post(url: str, body: bytes) -> tuple[int, bytes]:
    """Send a request by other means than ours."""
    request = urllib.request.Request(  # noqa: S310 - loopback
        url, body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        return answer.status, answer.read()


def test_dask_batch_is_started_by_workers(base_url: str, tmp_path: Path) -> None:
    """A cluster of two processes starts what the journal does not have yet."""
    pytest.importorskip("distributed", reason="pip install 'refold-async[dask]'")
    journal = str(tmp_path / "contacts.sqlite")
    lines = run("dask_batch", journal, base_url=base_url).splitlines()

    assert re.fullmatch(r"40 done, 0 running", lines[-2])
    assert lines[-1] == "40 succeeded, 0 of them resumed"
