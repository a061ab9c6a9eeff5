"""b-value and direction of a diffusion image, standard or in the vendors' private elements."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset

from medssl.archive.dicom import elements

_GE_OFFSET = 1_000_000_000.0


@dataclass(frozen=True, slots=True)
class Diffusion:
    """b-value in s/mm²; direction empty where there is none, as in a trace image."""

    b_value: float | None = None
    direction: tuple[float, ...] = ()


def diffusion_of(ds: Dataset) -> Diffusion:
    """From DiffusionBValue, or Siemens (0019,100C), Philips (2001,1003) or GE (0043,1039)."""
    b_value = elements.number(ds, "DiffusionBValue")
    direction = elements.numbers(ds, "DiffusionGradientOrientation")
    if b_value is None and _creator(ds, 0x0019) == "SIEMENS MR HEADER":
        b_value = elements.number(ds, (0x0019, 0x100C))
        direction = elements.numbers(ds, (0x0019, 0x100E))
    if b_value is None and _creator(ds, 0x2001).startswith("PHILIPS IMAGING DD 001"):
        b_value = elements.number(ds, (0x2001, 0x1003))
    if b_value is None and _creator(ds, 0x0043) == "GEMS_PARM_01":
        b_value = elements.number(ds, (0x0043, 0x1039))
        if b_value is not None and b_value >= _GE_OFFSET:
            b_value %= _GE_OFFSET  # GE adds 1e9 to mark newer software
    return Diffusion(b_value, _direction(direction))


def diffusion_of_frame(group: Dataset) -> Diffusion:
    """From the MR Diffusion functional group (PS3.3 C.8.13.5.9)."""
    gradient = elements.first_item(group, "DiffusionGradientDirectionSequence")
    direction = (
        elements.numbers(gradient, "DiffusionGradientOrientation") if gradient is not None else ()
    )
    return Diffusion(elements.number(group, "DiffusionBValue"), _direction(direction))


def _creator(ds: Dataset, group: int) -> str:
    return elements.text(ds, (group, 0x0010)).upper()


def _direction(values: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(round(v, 4) for v in values) if len(values) == 3 else ()
