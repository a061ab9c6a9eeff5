"""The label-efficiency curve: a metric over the number of labels, one line an arm."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from medssl.report.figures import COLOURS, MARKERS, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES = {
    "scratch": "from scratch",
    "ssl_ft": "pretrained",
    "auc_macro": "AUC on the test set",
    "dice_mean": "mean Dice on the test set",
}
# Arms differ in colour, marker and dash, so that grey print tells them apart.
_DASHES = ("--", "-", "-.", ":")
_GREY = "#5b6675"


def learning_curve(
    points: Sequence[Mapping[str, Any]], metric: str, savings: Mapping[str, Any] | None
) -> Figure:
    """Means with bands, every draw as a dot, and an arrow along which labels are saved.

    Args:
        points: the entries of `curve` in analysis.json.
        savings: `lsf` of analysis.json.
    """
    drawn, axes = new_figure(7.6, 4.6)
    arms = list(dict.fromkeys(point["arm"] for point in points))
    _label_axis(axes, points, metric)
    ends = []
    for number, arm in enumerate(arms):
        of_arm = [p for p in points if p["arm"] == arm and p["mean"] is not None]
        if not of_arm:
            continue
        style = number % len(_DASHES)
        _draw_arm(axes, of_arm, style, shift=number - (len(arms) - 1) / 2)
        ends.append((of_arm[-1]["mean"], NAMES.get(arm, arm), COLOURS[style]))
    _name_lines(axes, ends, max(p["labels"] for p in points))
    if savings is not None:
        _draw_savings(axes, savings)
    return drawn


def savings_text(savings: Mapping[str, Any]) -> str:
    """The factor in words, such as "≥ 2.1 × fewer labels"; empty where it is undefined.

    A factor under one is told as its inverse: so many times more labels.
    """
    factor, censored = savings["value"], savings["censored"]
    if factor is None or censored == "undefined":
        return ""
    signs = {"none": "", "at_least": "≥ ", "at_most": "≤ "}
    if factor >= 1:
        return f"{signs[censored]}{factor:.2g} × fewer labels"
    turned = {"at_least": "at_most", "at_most": "at_least"}.get(censored, censored)
    return f"{signs[turned]}{1 / factor:.2g} × more labels"


def percent(share: float) -> str:
    """A share as the pages write it, such as "7.5 %", with a space that does not break."""
    return f"{100 * share:.4g}\u00a0%"


def _draw_arm(axes: Axes, points: Sequence[Mapping[str, Any]], style: int, shift: float) -> None:
    labels = [p["labels"] for p in points]
    colour, marker = COLOURS[style], MARKERS[style]
    bounded = [p for p in points if p["lo"] is not None and p["hi"] is not None]
    axes.fill_between(
        [p["labels"] for p in bounded],
        [p["lo"] for p in bounded],
        [p["hi"] for p in bounded],
        color=colour,
        alpha=0.13,
        linewidth=0,
    )
    # Where bands lie over each other their colours mix: the edges keep them apart.
    for edge in ("lo", "hi"):
        axes.plot(
            [p["labels"] for p in bounded],
            [p[edge] for p in bounded],
            color=colour,
            linestyle=_DASHES[style],
            linewidth=0.9,
            alpha=0.7,
        )
    for point in points:
        values = [value for value in point["draws"] if value is not None]
        axes.scatter(
            [point["labels"] * 2 ** (0.07 * shift)] * len(values),
            values,
            s=13,
            marker=marker,
            facecolor="white",
            edgecolor=colour,
            linewidth=0.9,
            zorder=3,
        )
    axes.plot(
        labels,
        [p["mean"] for p in points],
        color=colour,
        linestyle=_DASHES[style],
        marker=marker,
        markersize=6.5,
        linewidth=2,
        zorder=4,
    )


def _label_axis(axes: Axes, points: Sequence[Mapping[str, Any]], metric: str) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator

    shares = sorted({(p["labels"], p["fraction"]) for p in points})
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator([labels for labels, _ in shares]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([f"{labels:.0f}\n{percent(share)}" for labels, share in shares])
    lowest, highest = shares[0][0], shares[-1][0]
    span = math.log2(highest / lowest) or 1.0
    # Room at the right for the names of the lines.
    axes.set_xlim(lowest * 2 ** (-0.05 * span), highest * 2 ** (0.24 * span))
    axes.set_xlabel("labelled cases, and their share of the development patients")
    axes.set_ylabel(NAMES.get(metric, metric))


def _name_lines(axes: Axes, ends: Sequence[tuple[float, str, str]], labels: float) -> None:
    """Write each arm's name at the end of its line, the higher line's name above."""
    ordered = sorted(ends)
    for number, (mean, name, colour) in enumerate(ordered):
        offset = 13 * (number - (len(ordered) - 1) / 2)
        axes.annotate(
            name,
            (labels, mean),
            xytext=(12, offset),
            textcoords="offset points",
            color=colour,
            fontweight="bold",
            va="center",
        )


def _draw_savings(axes: Axes, savings: Mapping[str, Any]) -> None:
    """An arrow at the target from scratch's number of labels to the pretrained arm's."""
    words = savings_text(savings)
    begin, end = savings["scratch_labels"], savings["pretrained_labels"]
    if not words or begin <= end:
        return
    target = savings["target"]
    axes.axhline(target, color=_GREY, linewidth=0.8, linestyle=(0, (1, 3)), zorder=1)
    axes.annotate(
        "",
        (end, target),
        xytext=(begin, target),
        arrowprops={"arrowstyle": "-|>", "color": "black", "linewidth": 1.6, "shrinkB": 3},
        zorder=6,
    )
    axes.annotate(
        words,
        (math.sqrt(begin * end), target),
        xytext=(0, 7),
        textcoords="offset points",
        ha="center",
        va="bottom",
        zorder=7,
        bbox={"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": "none"},
    )
