"""Curves of a pretraining run: its loss, what the method logs besides, and its looks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from medssl.report.figures import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Line = Mapping[str, float]

_COLUMNS = 3
_HEIGHT = 2.3
_NOT_SHOWN = ("loss", "skipped_steps")
_TITLES = {
    "lr": ("Learning rate", ""),
    "grad_norm": ("Norm of the gradient", ""),
    "alignment": ("Alignment of two views", "squared distance"),
    "uniformity": ("Uniformity", "log of mean exp(−2 d²)"),
    "feature_std": ("Feature deviation", "1: isotropic"),
    "accuracy": ("Accuracy", "share"),
    "masked": ("Reconstruction, unweighted", "Huber's loss"),
    "dense": ("Dense alignment, unweighted", "2 − 2 cos"),
    "contrast": ("Contrast, unweighted", "NT-Xent"),
    "dense_std": ("Deviation of the teacher's places", "1: isotropic"),
    "matched": ("Places in both crops", "share"),
    "explained": ("Explained variance", "share"),
    "counted": ("Counted by the loss", "share of hidden voxels"),
    "rank": ("Effective rank", "RankMe, directions"),
    "deviation": ("Feature deviation", "1: isotropic"),
}
_KINDS = {"modality": "modality", "body_part": "body part"}


def loss_chart(rows: Sequence[Line]) -> Figure:
    """The training loss, and a guess's where the loss is a contrastive one."""
    drawn, panels = _grid(1, 1, width=7.0, height=3.3)
    _plot(panels[0], rows, "train/loss", "training loss", 0)
    _guess(panels[0], rows, "loss", _logged(rows))
    panels[0].set_ylabel("loss")
    return drawn


def method_charts(rows: Sequence[Line]) -> Figure:
    """A small panel for each further figure that the method and the optimiser log."""
    names = _logged(rows)
    shown = [n for n in names if n not in _NOT_SHOWN and n.rpartition("/")[2] != "chance"]
    drawn, panels = _grid(len(shown))
    for axes, name in zip(panels, shown, strict=True):
        _plot(axes, rows, f"train/{name}", name, 0)
        _guess(axes, rows, name, names)
        _title(axes, name)
    return drawn


def health_charts(rows: Sequence[Line], alarm_step: int | None) -> Figure:
    """What the looks say, panel by panel; a dashed line where an alarm was certain."""
    looks = ["rank", "deviation", "alignment", "uniformity"]
    shown = [name for name in looks if any(f"health/{name}" in row for row in rows)]
    kinds = [kind for kind in _KINDS if any(f"health/knn_{kind}" in row for row in rows)]
    count = len(shown) + len(kinds)
    drawn, panels = _grid(count, columns=2 if count == 4 else _COLUMNS)
    for axes, name in zip(panels, shown, strict=False):
        _plot(axes, rows, f"health/{name}", name, 0, marked=True)
        _title(axes, name)
    for axes, kind in zip(panels[len(shown) :], kinds, strict=True):
        _knn(axes, rows, kind)
    if alarm_step is not None:
        for axes in panels:
            axes.axvline(alarm_step, color="black", linestyle=(0, (4, 3)), linewidth=1.2)
    return drawn


def _logged(rows: Sequence[Line]) -> list[str]:
    """What is logged of training, without the prefix."""
    names = dict.fromkeys(name for row in rows for name in row if name.startswith("train/"))
    return [name.removeprefix("train/") for name in names]


def _guess(axes: Axes, rows: Sequence[Line], name: str, names: Sequence[str]) -> None:
    """Draw the level of chance into the panel of the term that it belongs to."""
    task, slash, last = name.rpartition("/")
    term = "contrast" if f"{task}{slash}contrast" in names else "loss"
    if last == term and _plot(axes, rows, f"train/{task}{slash}chance", "a guess", 1):
        axes.legend(frameon=False, fontsize=8)
        axes.set_ylim(bottom=0)


def _knn(axes: Axes, rows: Sequence[Line], kind: str) -> None:
    _plot(axes, rows, f"health/knn_{kind}", "5 nearest", 0, marked=True)
    _plot(axes, rows, f"health/majority_{kind}", "always the commonest", 1)
    axes.set_title(f"Nearest neighbours tell the {_KINDS[kind]}", fontsize=9, loc="left")
    axes.set_ylabel("share of volumes")
    axes.set_ylim(-0.03, 1.03)
    axes.legend(frameon=False, fontsize=8)


def _title(axes: Axes, name: str) -> None:
    title, unit = _TITLES.get(name, (name, ""))
    axes.set_title(title, fontsize=9, loc="left")
    axes.set_ylabel(unit)


def _plot(
    axes: Axes, rows: Sequence[Line], name: str, label: str, number: int, marked: bool = False
) -> bool:
    """Draw a metric over steps; whether it is there."""
    points = [(row["step"], row[name]) for row in rows if name in row]
    if points:
        steps, values = zip(*points, strict=True)
        axes.plot(
            steps,
            values,
            color=COLOURS[number],
            linestyle=("-", (0, (2, 1.5)))[number],
            marker="o" if marked or len(points) == 1 else None,
            markersize=3.5,
            linewidth=1.6,
            label=label,
        )
    return bool(points)


def _grid(
    count: int, columns: int = _COLUMNS, width: float = 10.0, height: float = _HEIGHT
) -> tuple[Figure, list[Axes]]:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    lines = math.ceil(count / columns)
    drawn, grid = plt.subplots(
        lines, columns, figsize=(width, height * lines), squeeze=False, layout="constrained"
    )
    panels = list(grid.flat)
    for axes in panels[count:]:
        axes.set_axis_off()
    for axes in panels[:count]:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#e3e7ec", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.set_xlabel("step")
        axes.margins(x=0.02)
    return drawn, panels[:count]
