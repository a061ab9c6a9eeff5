"""Charts of subgroups and of calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from medssl.report.arm_styles import arm_style, name_lines
from medssl.report.figures import new_figure
from medssl.report.learning_curve import label_axis, names_begin
from medssl.report.study_words import METRICS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def subgroup_chart(
    groups: Sequence[Mapping[str, Any]], ours: str, theirs: str, arm: str, versus: str
) -> Figure:
    """A row for each group, from its metric without pretraining to that with it."""
    drawn, axes = new_figure(7.6, 0.9 + 0.3 * len(groups))
    with_it, without = arm_style(arm), arm_style(versus)
    rows = range(len(groups) - 1, -1, -1)
    for row, group in zip(rows, groups, strict=True):
        ends = [v for v in (group["versus_value"], group["value"]) if v is not None]
        axes.plot(ends, [row] * len(ends), color="#9aa3ad", linewidth=1.4, zorder=1)
    for style, key, name, filled in (
        (without, "versus_value", theirs, False),
        (with_it, "value", ours, True),
    ):
        known = [(g[key], row) for row, g in zip(rows, groups, strict=True) if g[key] is not None]
        axes.scatter(
            [value for value, _ in known],
            [row for _, row in known],
            s=46,
            marker=style.marker,
            facecolor=style.colour if filled else "white",
            edgecolor=style.colour,
            linewidth=1.5,
            zorder=3,
            label=name,
        )
    names = [f"{g['column'].replace('_band', '')}: {g['group']} ({g['patients']})" for g in groups]
    axes.set_yticks(list(rows), names)
    axes.set_ylim(-0.6, len(groups) - 0.4)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color="#e3e7ec", linewidth=0.8)
    axes.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    axes.set_xlabel("metric of the group's test patients (their number in brackets)")
    return drawn


def calibration_chart(
    rows: Sequence[Mapping[str, Any]], points: Sequence[Mapping[str, Any]]
) -> Figure:
    """Brier score and adaptive ECE over the number of labels, one line an arm.

    Args:
        rows, points: `calibration` and `curve` of analysis.json.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    labels = {p["fraction"]: p["labels"] for p in points}
    measures = list(dict.fromkeys(row["measure"] for row in rows))
    drawn, panels = plt.subplots(
        len(measures), 1, figsize=(8.2, 3.3 * len(measures)), squeeze=False, layout="constrained"
    )
    for axes, measure in zip(panels[:, 0], measures, strict=True):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#e3e7ec", linewidth=0.8)
        axes.set_axisbelow(True)
        label_axis(axes, points)
        ends = []
        arms = list(dict.fromkeys(row["arm"] for row in rows))
        for place, arm in enumerate(arms):
            style = arm_style(arm)
            of_arm = [
                row
                for row in rows
                if (row["arm"], row["measure"]) == (arm, measure) and row["value"] is not None
            ]
            if not of_arm:
                continue
            shift = 2 ** (0.04 * (place - (len(arms) - 1) / 2))
            x = [labels[row["fraction"]] * shift for row in of_arm]
            for at, row in zip(x, of_arm, strict=True):
                if row["lo"] is not None and row["hi"] is not None:
                    axes.plot([at] * 2, [row["lo"], row["hi"]], color=style.colour, linewidth=1.1)
            axes.plot(
                x,
                [row["value"] for row in of_arm],
                color=style.colour,
                linestyle=style.dash,
                marker=style.marker,
                markersize=5.5,
                linewidth=1.6,
            )
            ends.append((arm, x[-1], of_arm[-1]["value"]))
        axes.set_ylabel(METRICS[measure])
        axes.set_ylim(axes.get_ylim())
        drawn.canvas.draw()
        name_lines(axes, ends, names_begin(points))
    for axes in panels[:-1, 0]:
        axes.set_xlabel("")
    return drawn
