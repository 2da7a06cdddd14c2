"""The charts of the documentation."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from tests.bench.plotting import HEIGHT, LEFT, TOP, WIDTH, Line, line_chart, ticks

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    ("highest", "expected"),
    [
        pytest.param(8, [0, 2, 4, 6, 8], id="whole"),
        pytest.param(160, [0, 50, 100, 150, 200], id="tens"),
        pytest.param(0.9, [0, 0.2, 0.4, 0.6, 0.8, 1.0], id="fractions"),
    ],
)
def test_axes_have_round_numbers(highest: float, expected: list[float]) -> None:
    """From 0 to the first that is not below the highest value."""
    assert ticks(highest) == pytest.approx(expected)


def test_chart_holds_every_line_and_name() -> None:
    """It is XML, its lines lie within the axes, and what needs escaping is."""
    lines = [Line("a < b", [(0, 0), (10, 8)]), Line("limit", [(0, 5), (10, 5)], dashed=True)]
    chart = ET.fromstring(line_chart("title & more", "x", "y", lines))  # noqa: S314 - our own
    drawn = chart.findall(f"{SVG}polyline")
    points = [
        tuple(map(float, pair.split(",")))
        for each in drawn
        for pair in each.attrib["points"].split()
    ]
    assert len(drawn) == 2
    assert all(LEFT <= x <= WIDTH and TOP <= y <= HEIGHT for x, y in points)
    assert points[1][1] == TOP  # 8 is the last tick, at the top
    assert {"a < b", "limit", "title & more"} <= {text.text for text in chart.iter(f"{SVG}text")}
    assert ["stroke-dasharray" in each.attrib for each in drawn] == [False, True]
