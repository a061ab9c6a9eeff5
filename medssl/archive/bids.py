"""What a BIDS name says of a scan: its contrast, by the suffix (BIDS 1.10, magnetic resonance)."""

from __future__ import annotations

from pathlib import PurePosixPath

from medssl.archive.find import stem_of
from medssl.archive.identities import bids_subject

OTHER = "OTHER"

_SUFFIXES = {
    "T1w": "T1", "inplaneT1": "T1", "MP2RAGE": "T1", "UNIT1": "T1", "T2w": "T2", "inplaneT2": "T2",
    "T2star": "T2STAR", "T2starw": "T2STAR", "FLAIR": "FLAIR", "PDw": "PD", "angio": "ANGIO",
    "bold": "BOLD", "cbv": "PERFUSION", "dwi": "DWI", "trace": "DWI", "ADC": "ADC", "asl": "ASL",
    "m0scan": "ASL", "swi": "SWI", "phasediff": "FIELDMAP", "phase1": "FIELDMAP",
    "phase2": "FIELDMAP", "magnitude": "FIELDMAP", "magnitude1": "FIELDMAP",
    "magnitude2": "FIELDMAP", "fieldmap": "FIELDMAP", "epi": "FIELDMAP", "PDT2": OTHER,
    "T1rho": OTHER, "T1map": OTHER, "T2map": OTHER, "T2starmap": OTHER, "R1map": OTHER,
    "R2map": OTHER, "R2starmap": OTHER, "MEGRE": OTHER, "MESE": OTHER, "VFA": OTHER, "sbref": OTHER,
}  # fmt: skip


def bids_contrast(relative: str) -> str:
    """The contrast by the suffix of a file that lies where BIDS says; empty where it says none."""
    if bids_subject(relative) is None:
        return ""
    suffix = stem_of(PurePosixPath(relative).name).rpartition("_")[2]
    return _SUFFIXES.get(suffix, "")
