"""Figures, legible in grey and by the colour-blind (Okabe and Ito's palette)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def new_figure(width: float = 7.0, height: float = 3.6) -> tuple[Figure, Axes]:
    """A figure of one panel, drawn without a display."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    drawn, axes = plt.subplots(figsize=(width, height), layout="constrained")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e3e7ec", linewidth=0.8)
    axes.set_axisbelow(True)
    return drawn, axes


def loss_curve(
    rows: Sequence[Mapping[str, float]], names: Sequence[str], quantity: str = "value"
) -> Figure:
    """Metrics over steps; `rows` are the lines of a run's metrics.jsonl.

    Args:
        quantity: what several names have in common, for the axis.
    """
    drawn, axes = new_figure()
    for number, name in enumerate(names):
        points = [(row["step"], row[name]) for row in rows if name in row]
        steps, values = zip(*points, strict=True) if points else ((), ())
        axes.plot(steps, values, color=COLOURS[number % len(COLOURS)], linewidth=1.8, label=name)
    axes.set_xlabel("step")
    axes.set_ylabel(names[0] if len(names) == 1 else quantity)
    if len(names) > 1:
        axes.legend(frameon=False)
    return drawn
