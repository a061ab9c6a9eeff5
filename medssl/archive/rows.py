"""The manifest row of a scan."""

from __future__ import annotations

import math
from typing import Any

from medssl.archive.cases import Case
from medssl.archive.identities import Identity
from medssl.archive.scan import Scan
from medssl.store.describe import describe_values, geometry_columns
from medssl.store.writer import volume_path
from medssl.volume import Volume


def manifest_row(
    scan: Scan, identity: Identity, case: Case | None, study_day: float = math.nan
) -> dict[str, Any]:
    """All columns of the manifest; what the cases file states goes before the header's facts."""
    stated = case or Case()
    facts = scan.facts
    rescale = scan.rescale
    volume = Volume(scan.stored, scan.affine, scan.modality, scan.units)
    age = stated.age if math.isfinite(stated.age) else facts.age_years
    return {
        "volume_uid": identity.volume_uid,
        "patient_key": identity.patient_key,
        "group_quality": identity.group_quality,
        "study_key": identity.study_key,
        "series_key": identity.series_key,
        "site": identity.site,
        "modality": scan.modality,
        "contrast": stated.contrast or facts.contrast,
        "body_part": stated.body_part or facts.body_part,
        "manufacturer": facts.manufacturer,
        "model": facts.model,
        "field_strength_t": facts.field_strength_t,
        "sex": stated.sex or facts.sex,
        "age_band": age_band(age),
        "dtype": str(scan.stored.dtype),
        "slope": math.nan if rescale.by_slice else float(rescale.slope),
        "intercept": math.nan if rescale.by_slice else float(rescale.intercept),
        "units": scan.units,
        "outcome": "CORRECTED" if scan.corrections else "EXACT",
        "corrections": "+".join(reason.value for reason in scan.corrections),
        "notes": "+".join(reason.value for reason in scan.notes),
        "masked_voxels": scan.masked_voxels,
        "padding_low": float(scan.padding[0]) if scan.padding else math.nan,
        "padding_high": float(scan.padding[1]) if scan.padding else math.nan,
        "private_slope": scan.private_slope,
        "study_day": study_day,
        "source_format": scan.source_format,
        "n_files": len(scan.source.files),
        "path": volume_path(identity.volume_uid),
        **geometry_columns(volume),
        **describe_values(volume, rescale, scan.padding),
    }


def age_band(years: float) -> str:
    """Five years wide ("40-44"), one band from 90 up, empty where the age is not known."""
    if not math.isfinite(years) or years < 0 or years > 150:
        return ""
    if years >= 90:
        return "90+"
    first = int(years // 5) * 5
    return f"{first}-{first + 4}"
