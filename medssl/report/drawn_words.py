"""What was drawn for a view, in short lines that stand under a picture."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt

from medssl.augment.elastic import ControlLattice
from medssl.augment.intensity.base import Parameters, Transform

AXES = ("left-right", "front-back", "top-bottom")

_TIED = "\N{NO-BREAK SPACE}"
_UNITS = {"_voxels": f"{_TIED}voxels", "_hu": f"{_TIED}HU", "_deg": "°"}
_LISTED = 8


def pose_lines(parameters: Parameters) -> list[str]:
    """Lines for what `Pose.parameters` gives: "turned +4.2° −11.0° +0.3°", "scaled × 1.18"."""
    lines = []
    if "turn_deg" in parameters:
        lines.append("turned " + _degrees(parameters["turn_deg"]))
    if "shear_deg" in parameters:
        lines.append("sheared " + _degrees(parameters["shear_deg"]))
    if "scale" in parameters:
        lines.append(f"scaled × {parameters['scale']:.2f}")
    if "flip" in parameters:
        lines.append("mirrored " + ", ".join(AXES[axis] for axis in parameters["flip"]))
    return lines


def deformation_line(lattice: ControlLattice) -> str:
    """An elastic deformation: "bent by up to 3.2 mm, points 24 mm apart"."""
    apart = np.mean(lattice.spacing_mm)
    return (
        f"bent by up to{_TIED}{number(lattice.largest_mm.max())}{_TIED}mm, "
        f"points{_TIED}{apart:.0f}{_TIED}mm{_TIED}apart"
    )


def step_line(transform: Transform, parameters: Parameters) -> str:
    """A transform and its numbers: "Hounsfield calibration: slope 1.01, offset −12.3 HU".

    The seed of a noise field is left out; of a long list the lowest and the highest are told.
    """
    told = [_told(key, value) for key, value in parameters.items() if not key.endswith("_seed")]
    return f"{transform_name(type(transform))}: {', '.join(told)}"


def transform_name(transform: type) -> str:
    """The class in words: RicianNoise, "Rician noise"."""
    words = re.findall(r"[A-Z][a-z]*", transform.__name__)
    return " ".join([words[0], *(word.lower() for word in words[1:])])


def number(value: float) -> str:
    """Three figures, and a minus that can be seen."""
    return _real(f"{value:.3g}")


def _told(key: str, value: Any) -> str:
    unit = ""
    for ending, sign in _UNITS.items():
        if key.endswith(ending):
            key, unit = key.removesuffix(ending), sign
    name = key.replace("_", " ")
    if isinstance(value, bool):
        return name if value else f"not {name}"
    if key == "axis":
        return AXES[value]
    if key == "turned_about":
        return f"{name} {AXES[value]}"
    values = np.asarray(value)
    if key == "voxels":
        return f"{number(value)}{_TIED}voxels"
    if values.ndim == 0:
        return f"{name}{_TIED}{number(value)}{unit}"
    return f"{name} {_list_told(values)}{unit}"


def _list_told(values: npt.NDArray[np.float64]) -> str:
    if values.size <= _LISTED and values.ndim == 1:
        return " ".join(_real(f"{value:.2g}") for value in values)
    used = values[values != 0] if values.any() else values
    if used.min() == used.max():
        return number(used.min())
    return _TIED.join((_real(f"{used.min():.2g}"), "…", _real(f"{used.max():.2g}")))


def _degrees(angles: npt.NDArray[np.float64]) -> str:
    return _TIED.join(_real(f"{angle:+.1f}°") for angle in angles)


def _real(text: str) -> str:
    return text.replace("-", "−")
