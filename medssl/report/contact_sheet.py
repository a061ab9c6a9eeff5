"""A picture of scans and their augmented views, with what was drawn under each.

Shown as radiologists look at them: axial planes from the feet, the patient's right on the left;
front and head at the top; in the sagittal plane the face to the left. A mirrored view is shown
mirrored, as the network gets it: its letters say where the patient's sides are.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from PIL import Image

from medssl.report.augmented_views import ShownScan, View
from medssl.report.drawn_words import deformation_line, pose_lines, step_line
from medssl.volume import Modality

DPI = 120

_COLUMN, _GAP, _MARGIN = 1.9, 0.08, 0.2  # inches
_LINE, _TEXT, _TITLE = 0.133, 7.0, 9.5  # inches, points, points
_CAPTION, _TITLE_LINE, _NOTE_LINE = 0.19, 0.25, 0.145  # inches
_NOTES_PER_INCH = 16  # letters
_LETTERS = 36
_NOTE: dict[str, Any] = {"fontsize": _TEXT + 0.7, "color": "#444444", "va": "top"}
# Axes along a picture's rows, along its columns, and through it: axial, coronal, sagittal.
_PLANES = ((0, 1, 2), (0, 2, 1), (1, 2, 0))


@dataclass(frozen=True)
class Window:
    """The normalised values shown as black and as white, for PET the other way round.

    Attributes:
        unit: what 1 is in the normalised values.
    """

    low: float
    high: float
    inverted: bool
    told: str
    unit: str


def window_of(scan: ShownScan) -> Window:
    """One window for all views of a scan, so that a change of contrast shows.

    CT: 500 HU wide about 50. PET: SUV 0 to 10. Others: from air to the 99.5th percentile of the
    patch.
    """
    return window_by(scan.policy, scan.background, scan.plain.image[scan.valid])


def window_by(policy: Modality, background: float, values: npt.NDArray[Any]) -> Window:
    """The window of normalised `values` under an intensity policy, as `window_of`."""
    if policy == "CT":
        return Window(-0.2, 0.3, False, "−200 … 300 HU", "1000 HU")
    if policy == "PT":
        return Window(0.0, 10.0**0.5, True, "SUV 0 … 10, its square root", "the root of SUV 1")
    low = background
    high = float(np.percentile(values, 99.5)) if values.size else low
    high = high if high > low else low + 1.0
    told = f"normalised {low:.2f} … {high:.2f}".replace("-", "−")
    return Window(low, high, False, told, "a standard deviation of the foreground")


def contact_sheet(scans: Sequence[ShownScan], about: str) -> Figure:
    """A block a scan: a column without augmentation, then one a view, each with three planes.

    Args:
        about: the first line.
    """
    num_columns = 1 + max(len(scan.views) for scan in scans)
    width = 2 * _MARGIN + num_columns * (_COLUMN + _GAP) - _GAP
    fits = int((width - 2 * _MARGIN) * _NOTES_PER_INCH)
    heading = textwrap.wrap(about, fits)
    blocks = [
        _Block(
            scan,
            window,
            textwrap.wrap(f"shown: {window.told}; normalised 1 is {window.unit}", fits),
            [_lines(view) for view in scan.views],
        )
        for scan, window in ((scan, window_of(scan)) for scan in scans)
    ]
    height = 2 * _MARGIN + _NOTE_LINE * (len(heading) + 0.5) + sum(b.height for b in blocks)
    width, height = (round(inches * DPI) / DPI for inches in (width, height))  # whole pixels
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    paper = figure.add_axes((0, 0, 1, 1))  # in inches, from the top left
    paper.set_axis_off()
    paper.text(_MARGIN, _MARGIN, "\n".join(heading), **_NOTE)
    top = _MARGIN + _NOTE_LINE * (len(heading) + 0.5)
    for block in blocks:
        _draw_block(paper, block, top, width)
        top += block.height
    paper.set(xlim=(0, width), ylim=(height, 0), aspect="auto")
    return figure


def write_png(figure: Figure, path: Path) -> None:
    """In grey, without a word about where or when it was made: one figure makes the same bytes."""
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=DPI, format="rgba")
    width, height = (round(inches * DPI) for inches in figure.get_size_inches())
    picture = Image.frombytes("RGBA", (width, height), drawn.getvalue()).convert("L")
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, dpi=(DPI, DPI))


def letters_of(affine: npt.NDArray[np.float64]) -> list[tuple[str, str]]:
    """For each axis of a patch: the side of the patient where it begins, and where it ends."""
    sides = (("L", "R"), ("P", "A"), ("F", "H"))
    found = []
    for axis in range(3):
        direction = affine[:3, axis]
        along = int(np.abs(direction).argmax())
        first, last = sides[along]
        found.append((first, last) if direction[along] > 0 else (last, first))
    return found


def plane_of(image: npt.NDArray[Any], plane: int) -> npt.NDArray[Any]:
    """Axial, coronal or sagittal (0, 1, 2) through the middle; (rows, columns) as it is shown.

    All axes run against the patch's: to the patient's left, to the back and to the feet; in the
    sagittal plane columns run to the back.
    """
    cut = _PLANES[plane][2]
    middle: npt.NDArray[Any] = np.take(image, image.shape[cut] // 2, axis=cut)
    return middle.T[::-1, ::-1]


@dataclass(frozen=True)
class _Block:
    """What is shown of a scan: lines under its title, and lines under each view."""

    scan: ShownScan
    window: Window
    notes: list[str]
    told: list[list[str]]

    @property
    def head(self) -> float:
        return _TITLE_LINE + _NOTE_LINE * (len(self.notes) + 0.4)

    @property
    def height(self) -> float:
        lines = 1.5 + max(map(len, self.told), default=0)
        return self.head + _CAPTION + _planes_height(self.scan) + _LINE * lines


def _draw_block(paper: Axes, block: _Block, top: float, width: float) -> None:
    scan, window = block.scan, block.window
    paper.plot([_MARGIN, width - _MARGIN], [top, top], color="#BBBBBB", linewidth=0.6)
    title = f"{scan.policy} policy · volume {scan.volume_uid[:8]} · "
    title += " × ".join(f"{mm:.3g}" for mm in scan.spacing_mm) + " mm"
    paper.text(_MARGIN, top + 0.07, title, fontsize=_TITLE, weight="bold", va="top")
    paper.text(_MARGIN, top + _TITLE_LINE, "\n".join(block.notes), **_NOTE)
    top += block.head
    for column, view in enumerate([scan.plain, *scan.views]):
        left = _MARGIN + column * (_COLUMN + _GAP)
        caption = f"view {column}" if column else "without augmentation"
        paper.text(left, top, caption, fontsize=_TEXT + 0.8, va="top", weight="bold")
        bottom = _draw_planes(paper, scan, view, window, left, top + _CAPTION, bar=column == 0)
        if column:
            text = "\n".join(block.told[column - 1])
            paper.text(left, bottom + 0.04, text, fontsize=_TEXT, va="top", linespacing=1.25)


def _draw_planes(
    paper: Axes, scan: ShownScan, view: View, window: Window, left: float, top: float, bar: bool
) -> float:
    """Three planes below each other; where they end."""
    inch_per_mm = _inch_per_mm(scan)
    extent = np.asarray(view.image.shape) * scan.spacing_mm * inch_per_mm
    letters = letters_of(view.affine)
    ink = "black" if window.inverted else "white"
    for plane, (columns, rows, _) in enumerate(_PLANES):
        middle = left + _COLUMN / 2
        x, y = middle - extent[columns] / 2, top + extent[rows]
        paper.imshow(
            plane_of(view.image, plane),
            cmap="gray_r" if window.inverted else "gray",
            vmin=window.low,
            vmax=window.high,
            extent=(x, x + extent[columns], y, top),
        )
        _mark(paper, x + 0.03, (top + y) / 2, letters[columns][1], ink, ha="left", va="center")
        _mark(paper, middle, top + 0.03, letters[rows][1], ink, ha="center", va="top")
        if bar and plane == 0:
            _draw_bar(paper, x, y, inch_per_mm, extent[columns], ink)
        top = y + _GAP / 2
    return float(top)


def _draw_bar(paper: Axes, x: float, y: float, inch_per_mm: float, length: float, ink: str) -> None:
    mm = next((mm for mm in (100, 50, 20, 10, 5) if mm * inch_per_mm < length / 2), 2)
    start, line = x + 0.06, y - 0.07
    paper.plot([start, start + mm * inch_per_mm], [line, line], color=ink, linewidth=1.6)
    _mark(paper, start, line - 0.03, f"{mm} mm", ink, ha="left", va="bottom")


def _mark(paper: Axes, x: float, y: float, text: str, ink: str, **at: Any) -> None:
    outline = withStroke(linewidth=1.8, foreground="white" if ink == "black" else "black")
    paper.text(
        x, y, text, fontsize=_TEXT + 0.5, weight="bold", color=ink, path_effects=[outline], **at
    )


def _lines(view: View) -> list[str]:
    told = pose_lines(view.pose.parameters())
    told += [] if view.bent is None else [deformation_line(view.bent)]
    told += [step_line(*step) for step in view.steps]
    wrapped = [textwrap.wrap(line, _LETTERS, subsequent_indent="   ") for line in told]
    return [line for lines in wrapped for line in lines] or ["nothing drawn"]


def _inch_per_mm(scan: ShownScan) -> float:
    extent = np.asarray(scan.plain.image.shape) * scan.spacing_mm
    return float(_COLUMN / extent.max())


def _planes_height(scan: ShownScan) -> float:
    extent = np.asarray(scan.plain.image.shape) * scan.spacing_mm * _inch_per_mm(scan)
    return float(extent[1] + 2 * extent[2] + 1.5 * _GAP)
