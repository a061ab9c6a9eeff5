"""The columns of a store's Parquet files.

Numbers and short enumerated strings alone: no list, no free text, no path of a source, no UID of a
source, so that a million rows stay small and none can name a patient.
"""

from __future__ import annotations

import pyarrow as pa

SCHEMA_VERSION = 2

_TEXT = pa.string()
_INT = pa.int64()
_REAL = pa.float64()

PERCENTILES = ("p00_5", "p05", "p25", "p50", "p75", "p95", "p99_5")

MANIFEST = pa.schema(
    [
        ("volume_uid", _TEXT),  # 32 hex digits, HMAC of the source's identity
        ("patient_key", _TEXT),
        ("group_quality", _TEXT),  # patient, inferred, scan or none
        ("study_key", _TEXT),
        ("series_key", _TEXT),
        ("site", _TEXT),  # a short name from the configuration, never from a header
        ("modality", _TEXT),  # CT, MR, PT, OT
        ("contrast", _TEXT),  # T1, T2, FLAIR, ... or OTHER
        ("body_part", _TEXT),
        ("manufacturer", _TEXT),
        ("model", _TEXT),
        ("field_strength_t", _REAL),
        ("sex", _TEXT),  # F, M, O or empty
        ("age_band", _TEXT),  # "40-44", "90+" or empty
        *((f"shape_{a}", _INT) for a in range(3)),
        *((f"spacing_{a}", _REAL) for a in range(3)),
        *((f"affine_{r}{c}", _REAL) for r in range(3) for c in range(4)),
        ("dtype", _TEXT),  # of the stored numbers
        ("slope", _REAL),  # value = stored * slope + intercept; NaN where it changes by slice
        ("intercept", _REAL),
        ("units", _TEXT),
        ("outcome", _TEXT),  # EXACT or CORRECTED
        ("corrections", _TEXT),  # reason codes joined by "+", empty where EXACT
        ("notes", _TEXT),  # reason codes joined by "+": facts of a volume that is as it was
        ("masked_voxels", _INT),  # NaN or infinite in the source
        ("padding_low", _REAL),  # stored numbers from low to high are padding; NaN: there is none
        ("padding_high", _REAL),
        ("private_slope", _REAL),  # of a vendor's private scaling, not applied; NaN: none
        ("study_day", _REAL),  # days from a keyed, hidden day of the patient's own; NaN: no date
        ("source_format", _TEXT),  # DICOM or NIFTI
        ("n_files", _INT),
        ("pixel_sha256", _TEXT),
        ("perceptual_hash", _TEXT),
        *((name, _REAL) for name in PERCENTILES),  # of the foreground, in `units`
        ("foreground_voxels", _INT),
        *((f"foreground_{a}_{end}", _INT) for a in range(3) for end in ("start", "stop")),
        ("path", _TEXT),  # inside the store
    ]
)

INSTANCES = pa.schema([("volume_uid", _TEXT), ("instance_key", _TEXT), ("file_sha256", _TEXT)])

REJECTED = pa.schema(
    [
        ("source_key", _TEXT),  # HMAC of what was refused
        ("kind", _TEXT),  # file, series or label
        ("reason", _TEXT),
        ("detail", _TEXT),  # numbers and enums, without PHI
        ("n_files", _INT),
    ]
)

LABELS = pa.schema(
    [
        ("volume_uid", _TEXT),
        ("patient_key", _TEXT),
        ("name", _TEXT),  # of the label: "malignant", "mask", "split"
        ("kind", _TEXT),  # class, mask or split
        ("value", _TEXT),  # the class; for a mask the values in it, "0,1,2"
        ("path", _TEXT),  # of a mask, inside the store
        ("corrections", _TEXT),  # of a mask: reason codes joined by "+", empty where it was exact
    ]
)
