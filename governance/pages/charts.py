"""Numbers as points of a drawing: where a server-side SVG puts them.

Pure. Every chart has its numbers in a table beside it; nothing is told by colour or place alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

SIDE = 200
"""The side of a calibration chart, in its units."""

WIDTH, HEIGHT = 320, 90
"""The size of a trend, in its units."""

EDGE = 6


@dataclass(frozen=True)
class Dot:
    """One point: where its middle is, its radius, and what it says to who points at it."""

    x: float
    y: float
    r: float
    title: str
    kind: str = ""


@dataclass(frozen=True)
class Trend:
    """A line of measurements against a golden one: the polyline, its dots, and where golden lies (None: unknown)."""

    line: str
    dots: list[Dot]
    golden_y: float | None
    most: float


def calibration(rows: Sequence[tuple[float, float, int]]) -> list[Dot]:
    """Dots for (stated, came true, runs), both from 0 to 1; the more runs, the larger, at most 12 units."""
    most = max((runs for _, _, runs in rows), default=1)
    return [
        Dot(
            x=round(stated * SIDE, 1),
            y=round((1 - succeeded) * SIDE, 1),
            r=round(3 + 9 * sqrt(runs / most), 1),
            title=f"said {stated:.0%}, came true {succeeded:.0%}, of {runs}",
        )
        for stated, succeeded, runs in rows
    ]


def trend(values: Sequence[tuple[float, str, str]], golden: float | None) -> Trend:
    """A line through (value, title, kind), oldest first, from 0 at the bottom to a little above the highest value."""
    top = max([value for value, _, _ in values] + ([golden] if golden is not None else []), default=0.0) * 1.1 or 1.0
    step = (WIDTH - 2 * EDGE) / max(len(values) - 1, 1)

    def height(value: float) -> float:
        return round(HEIGHT - EDGE - value / top * (HEIGHT - 2 * EDGE), 1)

    dots = [
        Dot(round(EDGE + place * step, 1), height(value), 3.0, title, kind)
        for place, (value, title, kind) in enumerate(values)
    ]
    line = " ".join(f"{dot.x},{dot.y}" for dot in dots)
    return Trend(line, dots, None if golden is None else height(golden), top)
