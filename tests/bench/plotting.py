"""A line chart as SVG, without a library: axes, grid, legend."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

WIDTH, HEIGHT = 760, 380
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 40, 84
COLOURS = ("#0b6e4f", "#c8553d", "#2c6fbb", "#b8860b", "#7a4fa3", "#555555")
"""Told apart on white and on dark grey, and by people who do not see red and green alike."""
_STYLE = "font-family:system-ui,sans-serif;font-size:12px;fill:#444"


@attrs.frozen
class Line:
    """One line of a chart.

    Attributes:
        name: for the legend.
        points: x and y, in the order in which they are joined.
        dashed: for what is not measured, as a limit.
    """

    name: str
    points: Sequence[tuple[float, float]]
    dashed: bool = False


def line_chart(title: str, x_label: str, y_label: str, lines: Sequence[Line]) -> str:
    """Draw lines over common axes that begin at 0; give the SVG's text."""
    x_ticks = ticks(max(x for line in lines for x, _ in line.points))
    y_ticks = ticks(max(y for line in lines for _, y in line.points))
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        return LEFT + x / x_ticks[-1] * wide, TOP + high - y / y_ticks[-1] * high

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(LEFT, 22, title, size=15),
        _text(LEFT + wide / 2, TOP + high + 36, x_label, anchor="middle"),
        f'<g transform="rotate(-90 16 {TOP + high / 2})">'
        + _text(16, TOP + high / 2, y_label, anchor="middle")
        + "</g>",
    ]
    for tick in x_ticks:
        x, y = place(tick, 0)
        parts += [_rule(x, TOP, x, y), _text(x, y + 17, f"{tick:g}", anchor="middle")]
    for tick in y_ticks:
        x, y = place(0, tick)
        parts += [_rule(x, y, x + wide, y), _text(x - 7, y + 4, f"{tick:g}", anchor="end")]
    for line, colour in zip(lines, itertools.cycle(COLOURS), strict=False):
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in itertools.starmap(place, line.points))
        parts.append(f'<polyline points="{joined}" {_pen(line, colour)}/>')
    return "\n".join([*parts, *_legend(lines), "</svg>", ""])


def ticks(highest: float, count: int = 6) -> list[float]:
    """Give round numbers from 0 to the first that is not below the highest value."""
    rough = max(highest, 1e-9) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough)
    return [step * number for number in range(math.ceil(highest / step - 1e-9) + 1)]


def _legend(lines: Iterable[Line]) -> Iterator[str]:
    x, y = float(LEFT), HEIGHT - 26.0
    for line, colour in zip(lines, itertools.cycle(COLOURS), strict=False):
        length = 40 + 6.6 * len(line.name)
        if x + length > WIDTH:
            x, y = float(LEFT), y + 18
        yield f'<path d="M{x:.1f} {y - 4:.1f}h22" {_pen(line, colour)}/>'
        yield _text(x + 28, y, line.name)
        x += length


def _pen(line: Line, colour: str) -> str:
    dashes = ' stroke-dasharray="5 4"' if line.dashed else ""
    return f'fill="none" stroke="{colour}" stroke-width="1.8" stroke-linejoin="round"{dashes}'


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="#ddd" stroke-width="1"/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12) -> str:
    style = _STYLE.replace("12px", f"{size}px")
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} style="{style}">{escape(text)}</text>'
