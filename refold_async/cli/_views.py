"""How runs look on a terminal. Remote text goes through `Text`, cleaned: never as markup."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from refold_async import Execution, ExecutionResult, ExecutionStatus, NodeRun
from refold_async.cli._documents import workflow_name
from refold_async.cli._terminal import clean, clipped, duration, pretty

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from rich.console import Console, RenderableType

_BAR = 24
_NARROW = 60
_WIDE = 110
_AROUND = 8
"""Lines of a live view that are not nodes."""


def colour(status: ExecutionStatus) -> str:
    """Give the colour of a status."""
    if status is ExecutionStatus.COMPLETED:
        return "green"
    return "red" if status.is_terminal else "cyan"


# -- one run ---------------------------------------------------------------------------------


def run_view(
    run: Execution, console: Console, *, seconds: float | None = None, eta: float | None = None
) -> Group:
    """Draw a run: whose it is, its nodes, and where it stands.

    Args:
        run: its document.
        console: where it is shown; a run with many nodes shows those around the current one.
        seconds: how long it has been going on, if known.
        eta: seconds it will probably still take.
    """
    parts: list[RenderableType] = [_headline(run), Text("")]
    if run.nodes:
        parts += [_node_table(run, console), Text("")]
    parts.append(_standing(run, console, seconds, eta))
    failed = run.failed_node
    if failed is not None and failed.output is not None:
        parts.append(Text(f"{_name(failed)}: {clipped(reason(failed.output), 500)}", "red"))
    return Group(*parts)


def _headline(run: Execution) -> Text:
    words = Text(run.execution_id, "bold")
    name = workflow_name(run)
    called = [clipped(name, 60)] if name else []
    if run.workflow_id and run.workflow_id != name:
        called.append(clean(run.workflow_id) if not called else f"({clean(run.workflow_id)})")
    facts = [" ".join(called)] if called else []
    if run.linked_account_id:
        facts.append(f"account {clean(run.linked_account_id)}")
    if run.created_at:
        facts.append(f"started {local(run.created_at)}")
    return words.append("\n" + ", ".join(facts), "dim") if facts else words


def _node_table(run: Execution, console: Console) -> Table:
    narrow = console.width < _NARROW
    table = Table(box=None, pad_edge=False, show_header=not narrow, header_style="dim")
    table.add_column("")
    table.add_column("Node", overflow="ellipsis", no_wrap=True)
    table.add_column("Status", no_wrap=True)
    table.add_column("Took", justify="right", no_wrap=True)
    if not narrow:
        table.add_column("Tries", justify="right", no_wrap=True)
    current = run.current_node
    nodes = _window(run.nodes, current, console)
    before = run.nodes.index(nodes[0]) if nodes else 0
    after = len(run.nodes) - before - len(nodes)
    if before:
        table.add_row("", Text(f"... {before} before", "dim"))
    for node in nodes:
        table.add_row(*_node_row(node, console, here=node is current, narrow=narrow))
    if after > 0:
        table.add_row("", Text(f"... {after} after", "dim"))
    return table


def _window(
    nodes: Sequence[NodeRun], current: NodeRun | None, console: Console
) -> Sequence[NodeRun]:
    room = max(console.height - _AROUND, 3)
    if len(nodes) <= room or not console.is_terminal:
        return nodes
    at = next((i for i, node in enumerate(nodes) if node is current), 0)
    first = min(max(at - room // 2, 0), len(nodes) - room)
    return nodes[first : first + room]


def _node_row(node: NodeRun, console: Console, *, here: bool, narrow: bool) -> list[Text]:
    mark, style = _mark(node, here=here)
    if console.options.ascii_only:
        mark = {"✓": "+", "✗": "x", "▸": ">", "·": "."}.get(mark, mark)
    took = node.duration
    shown = took is not None and math.isfinite(took) and (took > 0 or node.ended)
    row = [
        Text(mark, style),
        Text(_name(node), "bold" if here else "" if node.begun else "dim"),
        Text(clipped(node.status or "", 24), style),
        Text(duration(took) if shown and took is not None else ""),
    ]
    return row if narrow else [*row, Text(_tries(node), "dim")]


def _mark(node: NodeRun, *, here: bool) -> tuple[str, str]:
    if node.failed:
        return "✗", "red"
    if node.ended:
        fine = (node.status or "").casefold() == "success"
        return ("✓", "green") if fine else ("-", "yellow")
    return ("▸", "cyan") if here or node.begun else ("·", "dim")


def _tries(node: NodeRun) -> str:
    if not node.attempts:
        return ""
    of = "" if node.max_attempts is None else f" of {node.max_attempts}"
    return f"{node.attempts}{of}"


def _name(node: NodeRun) -> str:
    return clipped(node.name or node.node_id or "(no name)", 60)


def reason(output: Any) -> str:
    """Give what a failed node or run says of itself, in one line."""
    if isinstance(output, dict) and len(output) == 1:
        output = output.get("error", output)
    return output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)


def _standing(
    run: Execution, console: Console, seconds: float | None, eta: float | None
) -> RenderableType:
    done = run.completion_percentage
    words = Text(clipped(run.status, 40), f"bold {colour(run.status)}")
    tail = [] if done is None or not math.isfinite(done) else [f"{done:3.0f} %"]
    if seconds is not None:
        tail.append(duration(seconds))
    if eta is not None and not run.status.is_terminal:
        tail.append(f"about {duration(eta)} left")
    if run.status.is_terminal or not tail or done is None or console.width < _NARROW:
        return words.append(", ".join(["", *(part.strip() for part in tail)]), "dim")
    bar = ProgressBar(total=100, completed=min(max(done, 0), 100), width=_BAR)
    grid = Table.grid(padding=(0, 2))
    grid.add_row(words, bar, Text(tail[0]), Text(", ".join(tail[1:]), "dim"))
    return grid


def result_view(result: ExecutionResult[Any], *, seconds: float | None = None) -> Group:
    """Draw how a run ended, and its output."""
    words = Text(clipped(result.status, 40), f"bold {colour(result.status)}")
    facts = [] if result.execution_id is None else [result.execution_id]
    if seconds is not None:
        facts.append(f"after {duration(seconds)}")
    if result.status_code is not None:
        facts.append(f"its Response node set {result.status_code}")
    words.append(", ".join(["", *facts]), "dim")
    parts: list[RenderableType] = [words]
    node = None if result.execution is None else result.execution.failed_node
    if node is not None:
        parts.append(Text(f"failed at node '{_name(node)}'", "red"))
    if result.error is not None:
        parts.append(Text(clipped(reason(result.error), 1000), "red"))
    if result.output is not None:
        parts.append(Text(pretty(result.output), overflow="fold"))
    return Group(*parts)


# -- many runs -------------------------------------------------------------------------------


def runs_table(runs: Sequence[Execution], console: Console) -> Table:
    """Draw a list of runs; ids are never cut, the rest is as the width allows."""
    narrow, wide = console.width < _NARROW + 20, console.width >= _WIDE
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("Execution", no_wrap=True, overflow="fold", min_width=24)
    table.add_column("Status", no_wrap=True)
    table.add_column("Workflow", overflow="ellipsis", no_wrap=True)
    if not narrow:
        table.add_column("Started", no_wrap=True)
        table.add_column("Took", justify="right", no_wrap=True)
    if wide:
        table.add_column("Tag", overflow="ellipsis", no_wrap=True)
    for run in runs:
        row = [
            Text(clean(run.execution_id)),
            Text(clipped(run.status, 24), colour(run.status)),
            Text(clipped(workflow_name(run) or run.workflow_id or "", 60)),
        ]
        if not narrow:
            took = "" if run.completed_at is None else _took(run)
            row += [Text(local(run.created_at) if run.created_at else ""), Text(took)]
        if wide:
            row.append(Text(clipped(run.instance_tag or "", 60), "dim"))
        table.add_row(*row)
    return table


def _took(run: Execution) -> str:
    if run.created_at is None or run.completed_at is None:
        return ""
    return duration(max((run.completed_at - run.created_at).total_seconds(), 0))


def local(moment: datetime) -> str:
    """Give a time on this machine's clock."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")
