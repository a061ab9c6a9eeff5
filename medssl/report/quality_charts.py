"""Bands and histograms as inline SVG: crisp at any size, light, in the page's own colours."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt

from medssl.report.figures import COLOURS

_WIDTH = 520
_FOOT = 40  # for the ticks and the unit
_DASHES = ("", "6 3", "2 3", "8 3 2 3", "12 4", "1 2")
MOST_LINES = len(_DASHES)


@dataclass(frozen=True)
class Axis:
    """Where values lie, from 0 (left) to 1; `compressed` above and below zero by asinh."""

    low: float
    high: float
    compressed: bool = False

    def place(self, value: float) -> float:
        bend = self._bend
        low, high = bend(self.low), bend(self.high)
        return min(max((bend(value) - low) / ((high - low) or 1.0), 0.0), 1.0)

    def ticks(self) -> list[float]:
        if not self.compressed:
            return _round_ticks(self.low, self.high)
        powers = [10.0**p for p in range(1, 13)]
        ticks = [*(-p for p in reversed(powers)), 0.0, *powers]
        inside = [t for t in ticks if self.low <= t <= self.high]
        return inside[:: math.ceil(len(inside) / 7) or 1] or [self.low, self.high]

    @property
    def _bend(self) -> Callable[[float], float]:
        return (lambda v: math.asinh(v / 10)) if self.compressed else (lambda v: v)


def axis_for(lowest: npt.ArrayLike, highest: npt.ArrayLike, units: str) -> Axis:
    """An axis over most of the values; arbitrary units that span decades are compressed."""
    low = float(np.min(np.asarray(lowest, np.float64)))
    high = float(np.max(np.asarray(highest, np.float64)))
    if not high > low:
        low, high = low - 1.0, high + 1.0
    smallest = float(np.min(np.asarray(highest, np.float64)))
    decades = units in ("arbitrary", "BQML") and high > 20 * max(smallest, 1.0)
    return Axis(low, high, compressed=decades)


def bands(rows: Sequence[tuple[str, Sequence[float]]], axis: Axis, label: str, alt: str) -> str:
    """One line for each row: the seven percentiles as whisker, bar, box and dot."""
    step, top = 34, 4
    height = top + step * len(rows) + _FOOT
    parts = [_grid(axis, top, height - _FOOT, label)]
    for number, (name, levels) in enumerate(rows):
        x = [_x(axis, level) for level in levels]
        y = top + step * number + 24
        parts.append(f'<text x="10" y="{y - 10}">{escape(name)}</text>')
        parts.append(f'<path class="thin" d="M{x[0]:.1f} {y}H{x[6]:.1f}"/>')
        parts.append(f'<path class="bar" d="M{x[1]:.1f} {y}H{max(x[5], x[1] + 0.5):.1f}"/>')
        parts.append(
            f'<rect class="box" x="{x[2]:.1f}" y="{y - 5}" '
            f'width="{max(x[4] - x[2], 1):.1f}" height="10"/>'
        )
        parts.append(f'<circle class="dot" cx="{x[3]:.1f}" cy="{y}" r="3.5"/>')
    return _svg(height, alt, parts)


def histogram(
    lines: Sequence[tuple[str, npt.NDArray[np.float32]]], axis: Axis, label: str, alt: str
) -> str:
    """The distribution of each line's values over the axis, each to the same area."""
    legend = 18 * len(lines) if len(lines) > 1 else 0
    top, bottom = 6, 170
    edges = np.linspace(axis.low, axis.high, 81)
    counts = [np.histogram(values, edges)[0] / max(len(values), 1) for _, values in lines]
    highest = max((float(c.max()) for c in counts), default=0.0) or 1.0
    parts = [_grid(axis, top, bottom, label)]
    for number, ((name, _), count) in enumerate(zip(lines, counts, strict=True)):
        colour = _colour(number)
        points = [f"M{_x(axis, float(edges[0])):.1f} {bottom}"]
        for right, share in zip(edges[1:], count, strict=True):
            y = bottom - share / highest * (bottom - top)
            points.append(f"V{y:.1f}H{_x(axis, float(right)):.1f}")
        dash = f' stroke-dasharray="{_DASHES[number]}"' if _DASHES[number] else ""
        parts.append(
            f'<path fill="none" stroke-width="1.8" stroke="{colour}"{dash} '
            f'd="{"".join(points)}V{bottom}"/>'
        )
        if legend:
            y = bottom + _FOOT + 12 + 18 * number
            parts.append(f'<path stroke-width="2.5" stroke="{colour}"{dash} d="M10 {y - 4}h34"/>')
            parts.append(f'<text x="52" y="{y}">{escape(name)}</text>')
    return _svg(bottom + _FOOT + 2 + legend, alt, parts)


def _svg(height: int, alt: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(alt, quote=True)}">'
        f"{''.join(parts)}</svg>"
    )


def _grid(axis: Axis, top: int, bottom: int, label: str) -> str:
    parts = []
    for tick in axis.ticks():
        x = _x(axis, tick)
        anchor = "start" if x < 30 else "end" if x > _WIDTH - 30 else "middle"
        parts.append(f'<path class="grid" d="M{x:.1f} {top}V{bottom}"/>')
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{bottom + 16}" text-anchor="{anchor}">'
            f"{_tick(tick)}</text>"
        )
    parts.append(
        f'<text class="tick" x="{_WIDTH / 2:.0f}" y="{bottom + 36}" '
        f'text-anchor="middle">{escape(label)}</text>'
    )
    return "".join(parts)


def _x(axis: Axis, value: float) -> float:
    return 10 + axis.place(value) * (_WIDTH - 20)


def _colour(number: int) -> str:
    return COLOURS[number % (len(COLOURS) - 1)]  # the last is black, which a dark page swallows


def _round_ticks(low: float, high: float) -> list[float]:
    rough = (high - low) / 5
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * m for m in (1, 2, 5, 10) if unit * m >= rough)
    first = math.ceil(low / step)
    return [n * step for n in range(first, math.floor(high / step) + 1)]


def _tick(value: float) -> str:
    if abs(value) >= 1e5:
        return f"{value:.0e}".replace("e+0", "e").replace("e+", "e")
    return f"{value:g}".replace("-", "−")
