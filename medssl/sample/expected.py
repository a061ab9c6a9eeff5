"""The end that each thing in the sample archive must come to, as rows of expected.csv."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from medssl.archive.reasons import Reason


@dataclass(frozen=True)
class Expected:
    """One row.

    Attributes:
        kind: series, file, image or label; images and labels are NIfTI.
        where: the folder (series) or file, relative to the archive.
        key: SeriesInstanceUID, or the name of a NIfTI without its extension.
        patient: PatientID, or empty.
        modality: CT, MR or empty.
        end: EXACT or CORRECTED; IGNORED for a file of which no scan is expected; else what the
            reason's group is called, in capitals.
        reason: the code; empty where EXACT or IGNORED.
        n_files: files that it consists of.
        truth: NIfTI with the true voxels, relative to the sample's folder, or empty.
    """

    kind: str
    where: str
    key: str
    patient: str
    modality: str
    end: str
    reason: str
    n_files: int
    truth: str

    def cells(self) -> dict[str, str | int]:
        """The row as CSV has it, with the reason in words."""
        if self.reason:
            plain = {str(reason): reason.text for reason in Reason}[self.reason]
        else:
            plain = "Read exactly." if self.end == "EXACT" else "No scan, nor meant to be one."
        return {**asdict(self), "plain": plain}


def ends(reason: Reason) -> str:
    """QUARANTINED, CORRECTED, NOT AN IMAGE or FAILED."""
    return reason.group.upper()
