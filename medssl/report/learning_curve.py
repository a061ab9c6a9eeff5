"""The label-efficiency curve: a metric over the number of labels, one line an arm."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from medssl.report.arm_styles import arm_style, name_lines
from medssl.report.figures import new_figure
from medssl.report.study_words import METRICS, arm_name, in_order, number, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GREY = "#5b6675"
_BASELINE = "scratch"


def learning_curve(
    points: Sequence[Mapping[str, Any]],
    metric: str,
    savings: Mapping[str, Any] | None,
    studied: str | None = None,
) -> Figure:
    """Means with bands, every draw as a dot, and an arrow along which labels are saved.

    Args:
        points: the entries of `curve` in analysis.json.
        savings: `lsf` of analysis.json.
        studied: the arm that is compared with scratch; the bands of further arms are fainter.
            None: the second.
    """
    drawn, axes = new_figure(8.2, 5.0)
    arms = in_order(point["arm"] for point in points)
    studied = studied or next((arm for arm in arms if arm != _BASELINE), None)
    label_axis(axes, points)
    axes.set_ylabel(METRICS.get(metric, metric))
    ends = []
    for place, arm in enumerate(arms):
        of_arm = [p for p in points if p["arm"] == arm and p["mean"] is not None]
        if not of_arm:
            continue
        _draw_arm(axes, of_arm, arm in (_BASELINE, studied), place - (len(arms) - 1) / 2)
        ends.append((arm, of_arm[-1]["labels"], of_arm[-1]["mean"]))
    if savings is not None:
        _draw_savings(axes, savings)
    axes.set_ylim(axes.get_ylim())
    drawn.canvas.draw()
    name_lines(axes, ends, names_begin(points))
    return drawn


def curve_alt(points: Sequence[Mapping[str, Any]], metric: str) -> str:
    """The figure in words: where each line begins and ends."""
    told = []
    for arm in dict.fromkeys(point["arm"] for point in points):
        known = [p for p in points if p["arm"] == arm and p["mean"] is not None]
        if known:
            first, last = known[0], known[-1]
            told.append(
                f"{arm_name(arm)}: {number(first['mean'])} with {first['labels']:.0f} labels, "
                f"{number(last['mean'])} with {last['labels']:.0f}"
            )
    return f"{METRICS.get(metric, metric)} over labelled cases. {'; '.join(told)}."


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


def label_axis(axes: Axes, points: Sequence[Mapping[str, Any]]) -> None:
    """x is log2 of the labels, with the measured numbers and their shares as ticks."""
    from matplotlib.ticker import FixedLocator, NullLocator

    shares = sorted({(p["labels"], p["fraction"]) for p in points})
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator([labels for labels, _ in shares]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([f"{labels:.0f}\n{percent(share)}" for labels, share in shares])
    lowest, highest = shares[0][0], shares[-1][0]
    span = math.log2(highest / lowest) or 1.0
    longest = max(len(arm_name(p["arm"])) for p in points)
    # Room at the right for the names of the lines.
    axes.set_xlim(lowest * 2 ** (-0.05 * span), highest * 2 ** ((0.06 + 0.017 * longest) * span))
    axes.set_xlabel("labelled cases, and their share of the development patients")


def names_begin(points: Sequence[Mapping[str, Any]]) -> float:
    """Where on x the names of the lines begin."""
    lowest, highest = min(p["labels"] for p in points), max(p["labels"] for p in points)
    return float(highest * 2 ** (0.06 * (math.log2(highest / lowest) or 1.0)))


def _draw_arm(
    axes: Axes, points: Sequence[Mapping[str, Any]], foremost: bool, shift: float
) -> None:
    style = arm_style(points[0]["arm"])
    bounded = [p for p in points if p["lo"] is not None and p["hi"] is not None]
    labels = [p["labels"] for p in bounded]
    axes.fill_between(
        labels,
        [p["lo"] for p in bounded],
        [p["hi"] for p in bounded],
        color=style.colour,
        alpha=0.13 if foremost else 0.05,
        linewidth=0,
    )
    # Where bands lie over each other their colours mix: the edges keep them apart.
    for edge in ("lo", "hi") if foremost else ():
        axes.plot(
            labels,
            [p[edge] for p in bounded],
            color=style.colour,
            linestyle=style.dash,
            linewidth=0.9,
            alpha=0.7,
        )
    for point in points:
        values = [value for value in point["draws"] if value is not None]
        axes.scatter(
            [point["labels"] * 2 ** (0.05 * shift)] * len(values),
            values,
            s=13,
            marker=style.marker,
            facecolor="white",
            edgecolor=style.colour,
            linewidth=0.9,
            alpha=1.0 if foremost else 0.6,
            zorder=3,
        )
    axes.plot(
        [p["labels"] for p in points],
        [p["mean"] for p in points],
        color=style.colour,
        linestyle=style.dash,
        marker=style.marker,
        markersize=6.5 if foremost else 5,
        linewidth=2.2 if foremost else 1.4,
        zorder=4,
    )


def _draw_savings(axes: Axes, savings: Mapping[str, Any]) -> None:
    """An arrow at the target from scratch's number of labels to the pretrained arm's."""
    words = savings_text(savings)
    begin, end = savings["scratch_labels"], savings["pretrained_labels"]
    if not words or begin <= end:
        return
    target = savings["target"]
    measured = axes.dataLim.x0, axes.dataLim.x1  # no further: there the lines' names stand
    axes.hlines(target, *measured, color=_GREY, linewidth=0.8, linestyle=(0, (1, 3)), zorder=1)
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
