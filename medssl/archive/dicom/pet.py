"""PET units: what the header needs to tell for SUVbw, and the factor where it does.

Body-weight SUV by the vendor-neutral rules of the QIBA SUV technical committee: corrected for
attenuation and decay, decayed to the start of the scan, in Bq/ml. Where one field is missing or
implausible there is no factor, and the numbers stay what they are: a wrong SUV is worse than none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log

from pydicom.dataset import Dataset

from medssl.archive.dicom import elements
from medssl.volume import Units

_DAY_S = 86400.0
_LEAST_DOSE_BQ = 1e5  # less is a dose written in MBq or kBq
_GE_CREATOR = "GEMS_PETD_01"
_PHILIPS_CREATOR = "PHILIPS PET PRIVATE GROUP"


@dataclass(frozen=True, slots=True)
class PetHeader:
    """The PET fields of one image; times in seconds since 1900, None where absent."""

    units: str
    suv_type: str
    corrected: tuple[str, ...]
    decay_correction: str
    weight_kg: float | None
    dose_bq: float | None
    half_life_s: float | None
    injected_s: float | None
    series_s: float | None
    acquired_s: float | None
    ge_scan_s: float | None
    reference_ms: float | None
    duration_ms: float | None
    philips_suv: float | None
    philips_activity: float | None


def pet_header(ds: Dataset) -> PetHeader:
    """Read the fields from a PET image; an enhanced one has Units in none of them."""
    tracer = elements.first_item(ds, "RadiopharmaceuticalInformationSequence") or Dataset()
    series_date = elements.text(ds, "SeriesDate")
    ge = elements.text(ds, (0x0009, 0x0010)) == _GE_CREATOR
    philips = elements.text(ds, (0x7053, 0x0010)).upper() == _PHILIPS_CREATOR
    return PetHeader(
        units=elements.text(ds, "Units").upper(),
        suv_type=elements.text(ds, "SUVType").upper(),
        corrected=elements.tokens(ds, "CorrectedImage"),
        decay_correction=elements.text(ds, "DecayCorrection").upper(),
        weight_kg=elements.number(ds, "PatientWeight"),
        dose_bq=elements.number(tracer, "RadionuclideTotalDose"),
        half_life_s=elements.number(tracer, "RadionuclideHalfLife"),
        injected_s=elements.moment(tracer, "RadiopharmaceuticalStartDateTime")
        or elements.seconds(series_date, elements.text(tracer, "RadiopharmaceuticalStartTime")),
        series_s=elements.seconds(series_date, elements.text(ds, "SeriesTime")),
        acquired_s=elements.seconds(
            elements.text(ds, "AcquisitionDate"), elements.text(ds, "AcquisitionTime")
        ),
        ge_scan_s=elements.moment(ds, (0x0009, 0x100D)) if ge else None,
        reference_ms=elements.number(ds, "FrameReferenceTime"),
        duration_ms=elements.number(ds, "ActualFrameDuration"),
        philips_suv=elements.number(ds, (0x7053, 0x1000)) if philips else None,
        philips_activity=elements.number(ds, (0x7053, 0x1009)) if philips else None,
    )


def pet_units(slices: Sequence[PetHeader]) -> tuple[Units, float]:
    """Units of a PET volume, and the factor that turns its rescaled numbers into them."""
    if len({(h.units, h.suv_type, h.decay_correction, h.corrected) for h in slices}) != 1:
        return "arbitrary", 1.0
    first = slices[0]
    if first.units == "GML":
        return ("SUV", 1.0) if first.suv_type in ("", "BW") else ("arbitrary", 1.0)
    if first.units == "BQML":
        factor = _suv_factor(slices)
        return ("BQML", 1.0) if factor is None else ("SUV", factor)
    if first.units == "CNTS":
        return _philips_units(slices)
    return "arbitrary", 1.0


def _philips_units(slices: Sequence[PetHeader]) -> tuple[Units, float]:
    """Counts by Philips' private factors: straight to SUV, or to Bq/ml and on from there."""
    to_suv = {h.philips_suv for h in slices}
    if not _decay_corrected(slices[0]):
        return "arbitrary", 1.0
    if len(to_suv) == 1 and (factor := to_suv.pop()):
        return "SUV", factor
    to_activity = {h.philips_activity for h in slices}
    if len(to_activity) == 1 and (activity := to_activity.pop()):
        factor = _suv_factor(slices)
        return ("BQML", activity) if factor is None else ("SUV", activity * factor)
    return "arbitrary", 1.0


def _decay_corrected(header: PetHeader) -> bool:
    corrected = {"ATTN"} <= set(header.corrected) and bool(
        {"DECY", "DECAY"} & set(header.corrected)
    )
    return corrected and header.decay_correction == "START"


def _suv_factor(slices: Sequence[PetHeader]) -> float | None:
    """Grams over the activity left at the start of the scan, or None where a field is missing."""
    first = slices[0]
    same = {(h.weight_kg, h.dose_bq, h.half_life_s, h.injected_s) for h in slices}
    if len(same) != 1 or not _decay_corrected(first):
        return None
    weight, dose, half_life, injected = same.pop()
    start = _scan_start(slices)
    if not weight or weight < 0 or not dose or dose < _LEAST_DOSE_BQ:
        return None
    if not half_life or half_life < 0 or injected is None or start is None:
        return None
    if not 0 < start - injected < _DAY_S:
        return None
    decayed = dose * float(2.0 ** (-(start - injected) / half_life))
    return weight * 1000.0 / decayed


def _scan_start(slices: Sequence[PetHeader]) -> float | None:
    """The moment that the decay correction refers to.

    The series' own time, unless an image was acquired before it: then the series was made later,
    and GE's private scan time counts, or the start computed back from each frame's reference time.
    """
    series = {h.series_s for h in slices}
    acquired = [h.acquired_s for h in slices if h.acquired_s is not None]
    if len(series) != 1 or len(acquired) != len(slices):
        return None
    start = series.pop()
    if start is not None and start <= min(acquired):
        return start
    private = {h.ge_scan_s for h in slices}
    if len(private) == 1 and (scan := private.pop()) is not None:
        return scan
    starts = [_start_by_frame(h) for h in slices]
    known = [s for s in starts if s is not None]
    if len(known) != len(slices) or max(known) - min(known) > 1.0:
        return None
    return sum(known) / len(known)


def _start_by_frame(header: PetHeader) -> float | None:
    """Acquisition time less the frame's reference time, counted from its mean count rate."""
    if None in (header.acquired_s, header.reference_ms, header.duration_ms, header.half_life_s):
        return None
    acquired, reference = header.acquired_s or 0.0, (header.reference_ms or 0.0) / 1000.0
    duration, half_life = (header.duration_ms or 0.0) / 1000.0, header.half_life_s or 0.0
    if duration <= 0 or half_life <= 0:
        return None
    decay = log(2.0) / half_life
    mean_rate_at = log(decay * duration / (1.0 - exp(-decay * duration))) / decay
    return acquired - reference + mean_rate_at
