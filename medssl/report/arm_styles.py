"""How each arm of a study is drawn, the same in every figure: colour, marker and dash.

Colours are Okabe and Ito's; in grey print marker and dash tell the arms apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from medssl.report.figures import COLOURS, MARKERS
from medssl.report.study_words import ARMS, arm_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# (on, off) in line widths; scratch is dashed, the pretrained arm solid.
_DASHES: tuple[Any, ...] = (
    (0, (4, 1.6)),
    "-",
    (0, (4, 1.2, 1, 1.2)),
    (0, (1, 1.2)),
    (0, (7, 1.5)),
    (0, (2.5, 1.2)),
    (0, (4, 1.2, 1, 1.2, 1, 1.2)),
)
# Light and yellow tones last, black to the untrained probe.
_COLOUR = (0, 1, 2, 3, 6, 4, 5)
_DARKER = 0.72
_LINE_POINTS = 13.0


@dataclass(frozen=True)
class ArmStyle:
    """What tells an arm from the others."""

    colour: str
    marker: str
    dash: Any

    @property
    def ink(self) -> tuple[float, float, float]:
        """Its colour, darkened until words in it can be read on white."""
        from matplotlib.colors import to_rgb

        red, green, blue = (_DARKER * part for part in to_rgb(self.colour))
        return red, green, blue


def arm_style(arm: str) -> ArmStyle:
    """The style of an arm; one that is not known looks like the last."""
    known = list(ARMS)
    place = known.index(arm) if arm in known else len(known) - 1
    return ArmStyle(COLOURS[_COLOUR[place]], MARKERS[place], _DASHES[place])


def name_lines(axes: Axes, ends: Sequence[tuple[str, float, float]], right: float) -> None:
    """Write each arm's name right of its line, moved apart where they would lie on each other.

    Call it when the limits of the axes are final.

    Args:
        ends: (arm, x, y) of each line's last point.
        right: x at which the names begin.
    """
    if not ends:
        return
    ordered = sorted(ends, key=lambda end: end[2])
    pixels = [float(axes.transData.transform((right, y))[1]) for _, _, y in ordered]
    gap = _LINE_POINTS * axes.figure.dpi / 72
    places = moved_apart(pixels, gap)
    bottom = float(axes.transAxes.transform((0.0, 0.0))[1]) + gap / 2
    places = [max(place, bottom + row * gap) for row, place in enumerate(places)]
    for (arm, x, y), place in zip(ordered, places, strict=True):
        height = float(axes.transData.inverted().transform((0.0, place))[1])
        axes.annotate(
            arm_name(arm),
            (x, y),
            xytext=(right, height),
            color=arm_style(arm).ink,
            fontsize=9,
            fontweight="bold",
            va="center",
            arrowprops={
                "arrowstyle": "-",
                "color": "#9aa3ad",
                "linewidth": 0.7,
                "shrinkA": 2,
                "relpos": (0, 0.5),  # to where the name begins, not to its middle
            },
            annotation_clip=False,
        )


def moved_apart(ascending: Sequence[float], gap: float) -> list[float]:
    """The nearest places, in least squares, that are `gap` apart or more, in the same order."""
    from sklearn.isotonic import isotonic_regression

    steps = gap * np.arange(len(ascending))
    return [float(v) for v in isotonic_regression(np.asarray(ascending) - steps) + steps]
