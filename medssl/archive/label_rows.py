"""The rows of masks, and of the label objects that gave none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medssl.archive.identities import Identity
from medssl.archive.label_objects import Refusal
from medssl.archive.labels import Mask
from medssl.archive.linkage import LinkageRow
from medssl.archive.reasons import Reason


def codes_of(corrections: Sequence[Reason]) -> str:
    """Reason codes as the store has them, joined by "+"."""
    return "+".join(reason.value for reason in corrections)


def mask_row(mask: Mask, path: str, corrections: Sequence[Reason], of: Identity) -> dict[str, Any]:
    """The row in labels/ of a mask on the grid of its volume."""
    return {
        "volume_uid": of.volume_uid,
        "patient_key": of.patient_key,
        "name": "mask",
        "kind": "mask",
        "value": mask.values(),
        "path": path,
        "corrections": codes_of(corrections),
    }


def mask_link(
    unit_key: str, source: str, source_key: str, corrections: Sequence[Reason], of: Identity
) -> LinkageRow:
    """The linkage row of a file that became a mask, or a part of one."""
    return LinkageRow(
        unit_key=unit_key,
        source=source,
        patient_key=of.patient_key,
        volume_uid=of.volume_uid,
        source_key=source_key,
        outcome="CORRECTED" if corrections else "EXACT",
        reason_code=codes_of(corrections),
    )


def refusal_row(refusal: Refusal, source_key: str) -> dict[str, Any]:
    """The row in rejected/ of a SEG or RTSTRUCT that was not taken."""
    return {
        "source_key": source_key,
        "kind": "label",
        "reason": refusal.reason.value,
        "detail": refusal.detail,
        "n_files": 1,
    }


def refusal_link(unit_key: str, source: str, refusal: Refusal, label: Identity) -> LinkageRow:
    """Its linkage row; `part` lists the names of its structures where none of them was mapped."""
    header = refusal.label
    return LinkageRow(
        unit_key=unit_key,
        source=source,
        patient_id=header.patient[0],
        issuer=header.patient[1],
        study_uid=header.study,
        series_uid=header.series,
        part="; ".join(refusal.names),
        patient_key=label.patient_key,
        source_key=label.source_key,
        outcome="REJECTED",
        reason_code=refusal.reason.value,
    )
