"""Pictures of volumes: three planes through the middle of the tissue, small and true to scale.

Shown as radiologists look at them: the patient's right on the left of the picture, front and head
at the top, the face to the left in the sagittal plane. Only the three planes are read.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image, ImageDraw

from medssl.errors import StoreError
from medssl.report.quality_facts import KIND, Facts, kind_codes
from medssl.store.store import affine_of
from medssl.store.voxels import read_values
from medssl.volume import Box, ras_order, spacing_of

COLUMNS = (
    "path",
    *(f"affine_{r}{c}" for r in range(3) for c in range(4)),
    *(f"shape_{a}" for a in range(3)),
    *(f"spacing_{a}" for a in range(3)),
    *(f"foreground_{a}_{end}" for a in range(3) for end in ("start", "stop")),
    "p00_5",
    "p99_5",
)
CT_WINDOW_HU = (-160.0, 240.0)  # width 400, level 40
SUV_WINDOW = (0.0, 7.0)
CT_RANGE_HU = (-1024.0, 3071.0)

_CELL = 132  # pixels that the longest edge of the volume gets
_GAP = 3
_QUALITY = 76
_A_ROW = 3  # pictures side by side; a kind has two rows at most
_VALUES = 20_000

Plane = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Picture:
    """A volume as it is shown.

    Attributes:
        jpeg: base64, or empty where the voxels could not be read.
        bar_mm: what the bar at the lower left stands for.
        values: of the tissue in the three planes, a part of them, for histograms.
        outside_ct: share of the planes' voxels outside -1024 to 3071.
    """

    volume_uid: str
    jpeg: str
    bar_mm: int
    values: npt.NDArray[np.float32]
    outside_ct: float


def pick_examples(facts: Facts, most: int) -> pd.DataFrame:
    """Rows of the sample to show, of every kind some, with their `kind` number; `most` in all.

    Of each kind at most one volume of a series, and other patients before other series.
    """
    kinds = min(len(facts.kinds), most)
    if not kinds:
        return facts.sample.assign(kind=[])
    rows = facts.sample.assign(kind=kind_codes(facts.sample, facts.kinds))
    rows = rows[rows["kind"] < kinds].drop_duplicates(["kind", "series_key"])
    again = rows.groupby(["kind", "patient_key"]).cumcount()
    rows = rows.assign(_again=again).sort_values(["kind", "_again", "volume_uid"])
    rows = rows.assign(_place=rows.groupby("kind").cumcount())
    each = min(_A_ROW, most // kinds)
    first, further = rows[rows["_place"] < each], rows[rows["_place"] >= each]
    further = further[further["_place"] < 2 * _A_ROW] if each == _A_ROW else further[:0]
    chosen = pd.concat([first, further.head(most - len(first))])
    return chosen.sort_values(["kind", "_place"]).drop(columns=["_again", "_place"])


def largest_mm(row: pd.Series[Any]) -> float:
    """The longest edge of a manifest row's volume."""
    spacing = spacing_of(affine_of(row))
    return float(max(int(row[f"shape_{a}"]) * spacing[a] for a in range(3)))


def draw(root: Path, row: pd.Series[Any], widest_mm: float | None = None) -> Picture:
    """The picture of a manifest row's volume; reads three planes of it.

    Args:
        widest_mm: millimetres that a plane's cell is wide; the volume's longest edge where not
            given. Volumes drawn with one value have one scale.
    """
    try:
        planes, extents = _planes(root, row)
    except (StoreError, OSError):
        return Picture(row["volume_uid"], "", 0, np.zeros(0, np.float32), 0.0)
    low, high = window_of(row)
    inverted = row["modality"] == "PT"
    scale = _CELL / (widest_mm or max(max(extent) for extent in extents))
    sheet = Image.new("L", (3 * _CELL + 2 * _GAP, _CELL), 255 if inverted else 0)
    for number, (plane, (height_mm, width_mm)) in enumerate(zip(planes, extents, strict=True)):
        grey = np.clip((plane - low) / max(high - low, 1e-12), 0, 1) * 255
        grey = np.nan_to_num(255 - grey if inverted else grey)
        size = (max(2, round(width_mm * scale)), max(2, round(height_mm * scale)))
        panel = Image.fromarray(grey.astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
        left = number * (_CELL + _GAP)
        sheet.paste(panel, (left + (_CELL - size[0]) // 2, (_CELL - size[1]) // 2))
    bar_mm = 50 if scale * 50 < 0.6 * _CELL else 10
    _mark(sheet, inverted, round(bar_mm * scale))
    everything = np.concatenate([plane.ravel() for plane in planes])
    everything = everything[np.isfinite(everything)]
    inside = everything[everything >= row["p00_5"]]
    outside = (everything < CT_RANGE_HU[0]) | (everything > CT_RANGE_HU[1])
    return Picture(
        row["volume_uid"],
        _jpeg(sheet),
        bar_mm,
        inside[:: max(1, len(inside) // _VALUES)],
        float(outside.mean()) if len(everything) else 0.0,
    )


def window_of(row: pd.Series[Any]) -> tuple[float, float]:
    """The values shown as black and as white (PET: the other way round)."""
    if row["units"] == "HU":
        return CT_WINDOW_HU
    if row["units"] == "SUV":
        return SUV_WINDOW
    if row["modality"] == "PT":
        return 0.0, float(row["p99_5"])
    return float(row["p00_5"]), float(row["p99_5"])


def kind_name(kind: Iterable[str]) -> str:
    """The kind in words: "MR · T1 · BRAIN · SIEMENS · arbitrary units"."""
    modality, contrast, body_part, manufacturer, units = kind
    words = [modality, contrast, body_part, vendor_name(manufacturer) if manufacturer else ""]
    unit = "arbitrary units" if units == "arbitrary" else units
    return " · ".join([*(word for word in words if word), unit])


def vendor_name(manufacturer: str) -> str:
    """A manufacturer's column as it is written: GE, Siemens."""
    if not manufacturer:
        return "vendor not stated"
    if manufacturer == "OTHER":
        return "other vendor"
    return manufacturer.title() if len(manufacturer) > 3 else manufacturer


def kind_of(row: pd.Series[Any]) -> str:
    """The kind of a manifest row in words."""
    return kind_name(str(row[name]) for name in KIND)


def _planes(root: Path, row: pd.Series[Any]) -> tuple[list[Plane], list[tuple[float, float]]]:
    """Axial, coronal and sagittal plane, top row first, and their height and width in mm."""
    affine = affine_of(row)
    order, flips = ras_order(affine)
    shape = [int(row[f"shape_{a}"]) for a in range(3)]
    spacing = spacing_of(affine)
    planes, extents = [], []
    for across, (down, right) in ((2, (1, 0)), (1, (2, 0)), (0, (2, 1))):
        axis = order[across]
        start, stop = int(row[f"foreground_{axis}_start"]), int(row[f"foreground_{axis}_stop"])
        middle = min(max((start + stop) // 2, 0), shape[axis] - 1)
        ranges = [(0, n) for n in shape]
        ranges[axis] = (middle, middle + 1)
        box: Box = (ranges[0], ranges[1], ranges[2])
        values = read_values(root / str(row["path"]), box)
        plane = np.transpose(values, (axis, order[down], order[right]))[0]
        for dimension, world in enumerate((down, right)):
            if not flips[world]:  # rightwards, to the back and downwards: all against RAS
                plane = np.flip(plane, axis=dimension)
        planes.append(plane)
        edges = [shape[order[world]] * float(spacing[order[world]]) for world in (down, right)]
        extents.append((edges[0], edges[1]))
    return planes, extents


def _mark(sheet: Image.Image, inverted: bool, bar: int) -> None:
    pen = ImageDraw.Draw(sheet)
    ink, shade = (0, 255) if inverted else (255, 0)
    for number, letter in enumerate("RRA"):
        at = (number * (_CELL + _GAP) + 3, _CELL // 2 - 6)
        pen.text((at[0] + 1, at[1] + 1), letter, fill=shade)
        pen.text(at, letter, fill=ink)
        if number:
            edge = number * (_CELL + _GAP) - _GAP
            pen.rectangle((edge, 0, edge + _GAP - 1, _CELL), fill=128)
    pen.rectangle((3, _CELL - 7, 4 + bar, _CELL - 3), fill=shade)
    pen.rectangle((4, _CELL - 6, 3 + bar, _CELL - 4), fill=ink)


def _jpeg(sheet: Image.Image) -> str:
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()
