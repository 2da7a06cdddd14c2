"""`refold demo` as a person runs it: a child process, piped and on a terminal."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import COMMAND, ROOT

if TYPE_CHECKING:
    from pathlib import Path

SCENES = (
    "An async run, awaited",
    "A sync run",
    "50 runs while the service sheds load",
    "A run that fails",
    "A wait that times out, picked up again",
)


@pytest.fixture(scope="module")
def piped(environ: dict[str, str]) -> str:
    """What the demo prints into a pipe."""
    ended = subprocess.run(  # noqa: S603 - our own command
        [*COMMAND, "demo"], env=environ, capture_output=True, check=False
    )
    assert (ended.returncode, ended.stderr.decode()) == (0, "")
    return ended.stdout.decode()


def cells(output: str) -> str:
    """The text of the table's second column, its line breaks undone."""
    rows = [line.split("│") for line in output.splitlines() if line.startswith("│")]
    return " ".join(" ".join(row[2] for row in rows).split())


def test_every_scene_is_announced_in_order(piped: str) -> None:
    """Without a terminal each scene is a plain line before the table."""
    announced = [line[4:] for line in piped.splitlines() if line.startswith("... ")]

    assert announced == list(SCENES)
    assert "\x1b" not in piped


def test_fan_out_starts_each_run_once_despite_503(piped: str) -> None:
    """All fifty end well, and the emulator itself counted fifty starts for them."""
    told = cells(piped)

    assert "50 of 50 runs from one asyncio.gather ended well" in told
    assert "with 0 possible duplicates" in told
    assert "Runs the emulator itself counted for them: 50." in told
    retries = re.search(r"after (\d+) retries", told)
    assert retries is not None
    assert int(retries[1]) > 0


def test_other_scenes_tell_what_happened(piped: str) -> None:
    """The failing node has its name, the sync run its status, the wait its id."""
    told = cells(piped)

    assert "failed node 'Update deal'" in told
    assert "COMPLETED, Response node 200" in told
    assert "WaitTimeoutError after 0.7 s" in told
    assert re.search(r"knew only the id [0-9a-f]{24} and awaited it: COMPLETED", told)


def test_pace_is_explained(piped: str) -> None:
    """The default rate is named, and that the fan-out was allowed more."""
    told = " ".join(piped.split())

    assert "keeps to 20 requests/s with bursts of 5" in told
    assert "Here they were allowed 60/s" in told
    assert "Paced at 60 requests/s at most" in cells(piped)


def test_summary_agrees_with_the_emulator(piped: str) -> None:
    """The client's own figures are those of the emulator, in the last two lines."""
    stats, counted = piped.splitlines()[-2:]
    ours = re.match(r"stats: (\d+) requests \((\d+) execute", stats)
    theirs = re.match(r"The emulator counted (\d+) requests and (\d+) runs started", counted)

    assert ours is not None
    assert theirs is not None
    assert ours[1] == theirs[1]
    assert theirs[2] == "54"
    assert "0 possible duplicates" in stats


def skeleton(output: str) -> list[str]:
    """Everything but figures, ids, and what timing may change: the scenes' words, which reads."""
    lines = []
    for line in output.strip().splitlines():
        shown = line.split("│")[1] if line.startswith("│") else line
        if shown.startswith("stats: "):
            shown = re.sub(r"\(.*\)", "(...)", shown)
        lines.append(re.sub(r"\d+", "#", shown).strip())
    return [line for line in lines if line and "─" not in line]


def test_readme_shows_this_output(piped: str) -> None:
    """The output in the README is the demo's, figures aside."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = readme.split("```text\n")[1].split("```")[0]

    assert skeleton(shown) == skeleton(piped)


def test_terminal_shows_progress_and_one_table(environ: dict[str, str]) -> None:
    """On a terminal a spinner turns, the fan-out counts up, and a table ends it."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    terminal = {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "60"}
    child = subprocess.Popen(  # noqa: S603
        [*COMMAND, "demo"], env={**environ, **terminal}, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:  # how Linux says that the other end is closed
        pass
    finally:
        os.close(ours)

    assert child.wait() == 0
    text = shown.decode()
    assert "⠋ A sync run" in text
    assert len(set(re.findall(r"(\d+) of 50 runs have ended well", text))) > 1
    assert "... A sync run" not in text
    assert text.count("┏") == 1
    last = text[text.index("┏") :]
    assert all(scene.split()[0] in last for scene in SCENES)
    assert "stats: " in last


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT can't be sent to a child there")
def test_interrupt_ends_with_a_sentence(environ: dict[str, str]) -> None:
    """Ctrl-C gives exit code 130 and no traceback."""
    with subprocess.Popen(  # noqa: S603
        [*COMMAND, "demo"],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if line.startswith("... 50 runs"):
                break
        child.send_signal(signal.SIGINT)
        _, err = child.communicate()

    assert child.returncode == 130
    assert err == "refold: interrupted; runs that were started go on\n"


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_missing_extra_is_named(missing: str, environ: dict[str, str], tmp_path: Path) -> None:
    """Without the extra the command says what to install, in one line."""
    blocker = f"import sys\nsys.modules[{missing!r}] = None\n"
    (tmp_path / "sitecustomize.py").write_text(blocker, encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), environ["PYTHONPATH"]])
    ended = subprocess.run(  # noqa: S603
        [*COMMAND, "demo"],
        env={**environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 2
    assert ended.stderr == "The refold command needs: pip install 'refold-async[cli]'\n"
