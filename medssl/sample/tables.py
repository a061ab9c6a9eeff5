"""The CSV files beside the archive."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from medssl.sample.patients import Patient


def write_cases(path: Path, everybody: Iterable[Patient]) -> None:
    """Facts by patient for DICOM, by name for NIfTI; the class of each CT by its series."""
    rows: list[dict[str, str | int]] = []
    columns = ("patient_id", "series", "image", "patient", "group_quality", "site", "modality",
               "units", "body_part", "sex", "age", "lesion")  # fmt: skip
    for patient in everybody:
        facts: dict[str, str | int] = {"site": patient.site, "sex": patient.sex, "age": patient.age}
        rows.append({"patient_id": patient.patient_id, **facts})
        rows.append({"series": patient.uid("series", "CT"), "lesion": int(patient.has_lesion)})
        if patient.has_nifti:
            rows.append(
                {
                    "image": patient.nifti_name,
                    "patient": patient.patient_id,
                    "group_quality": "patient",
                    "modality": "CT",
                    "units": "HU",
                    "body_part": "ABDOMEN",
                    **facts,
                }
            )
    write_csv(path, [{name: row.get(name, "") for name in columns} for row in rows])


def write_csv(path: Path, rows: Sequence[Mapping[str, str | int]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
