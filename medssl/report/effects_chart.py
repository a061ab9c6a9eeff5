"""Differences to scratch, fraction by fraction, with what could have been detected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from medssl.report.arm_styles import arm_style
from medssl.report.study_words import arm_name, percent, signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 3
_GREY, _BAR = "#5b6675", "#dfe3e8"


def effects_chart(
    effects: Sequence[Mapping[str, Any]], points: Sequence[Mapping[str, Any]], margin: float
) -> Figure:
    """A panel for each arm: its difference to scratch over the share of labels.

    Args:
        effects, points: `effects` and `curve` of analysis.json.
        margin: the largest difference that counts as equal.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    arms = list(dict.fromkeys(effect["arm"] for effect in effects))
    columns = min(_COLUMNS, len(arms))
    rows = -(-len(arms) // columns)
    width = 8.2 if columns > 1 else 5.6
    drawn, grid = plt.subplots(
        rows,
        columns,
        figsize=(width, 2.9 * rows),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    panels = list(grid.flat)
    for axes in panels[len(arms) :]:
        axes.set_axis_off()
    for place, (axes, arm) in enumerate(zip(panels, arms, strict=False)):
        _panel(axes, [e for e in effects if e["arm"] == arm], points, margin)
        if place % columns == 0:
            axes.set_ylabel("minus from scratch")
        if place + columns >= len(arms):
            axes.set_xlabel("share of the labels")
            axes.tick_params(labelbottom=True)
    return drawn


def effects_alt(effects: Sequence[Mapping[str, Any]]) -> str:
    """The figure in words."""
    told = [
        f"{arm_name(e['arm'])} at {percent(e['fraction'])}: {signed(e['delta'])} "
        f"({signed(e['lo'])} to {signed(e['hi'])})"
        for e in effects
        if e["delta"] is not None
    ]
    return f"Differences to training from scratch with their intervals. {'; '.join(told)}."


def _panel(
    axes: Axes,
    effects: Sequence[Mapping[str, Any]],
    points: Sequence[Mapping[str, Any]],
    margin: float,
) -> None:
    arm, versus = effects[0]["arm"], effects[0]["versus"]
    style = arm_style(arm)
    draws = {(p["arm"], p["fraction"]): p["draws"] for p in points}
    axes.axhline(0, color="black", linewidth=0.9)
    for bound in (-margin, margin):
        axes.axhline(bound, color=_GREY, linewidth=0.9, linestyle=(0, (1, 2)))
    for place, effect in enumerate(effects):
        if effect["delta"] is None:
            continue
        if effect["mdd"] is not None:
            axes.bar(place, 2 * effect["mdd"], 0.46, -effect["mdd"], color=_BAR, zorder=0)
        pairs = zip(draws[arm, effect["fraction"]], draws[versus, effect["fraction"]], strict=True)
        single = [a - b for a, b in pairs if a is not None and b is not None]
        axes.scatter(
            [place + 0.14] * len(single),
            single,
            s=13,
            marker=style.marker,
            facecolor="white",
            edgecolor=style.colour,
            linewidth=0.9,
            zorder=3,
        )
        if effect["lo"] is not None and effect["hi"] is not None:
            axes.plot([place] * 2, [effect["lo"], effect["hi"]], color=style.colour, linewidth=2.4)
        axes.plot(place, effect["delta"], style.marker, color=style.colour, markersize=7)
    axes.set_xticks(range(len(effects)), [percent(e["fraction"]) for e in effects])
    axes.set_xlim(-0.5, len(effects) - 0.5)
    axes.set_title(arm_name(arm), fontsize=9.5, loc="left", color=style.ink, fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e3e7ec", linewidth=0.8)
    axes.set_axisbelow(True)
