"""The few facts of a header that may enter the store, each one of a fixed list.

No text of a header is ever copied: a description or a model that is not on its list becomes OTHER.
"""

from __future__ import annotations

import re
from functools import lru_cache

from pydicom.dataset import Dataset

from medssl.archive.dicom import elements
from medssl.archive.scan import Facts
from medssl.volume import Modality

OTHER = "OTHER"

_MANUFACTURERS = (
    ("SIEMENS", "SIEMENS"),
    ("PHILIPS", "PHILIPS"),
    ("GE MEDICAL", "GE"),
    ("GENERAL ELECTRIC", "GE"),
    ("GE HEALTHCARE", "GE"),
    ("CANON", "CANON"),
    ("TOSHIBA", "CANON"),
    ("HITACHI", "FUJIFILM"),
    ("FUJI", "FUJIFILM"),
    ("UIH", "UNITED_IMAGING"),
    ("UNITED IMAGING", "UNITED_IMAGING"),
    ("CPS", "SIEMENS"),
    ("BRUKER", "BRUKER"),
    ("ELSCINT", "ELSCINT"),
    ("PICKER", "PICKER"),
    ("MARCONI", "PICKER"),
    ("HOLOGIC", "HOLOGIC"),
    ("ESAOTE", "ESAOTE"),
    ("NEUSOFT", "NEUSOFT"),
    ("SHIMADZU", "SHIMADZU"),
)

# Product families: the only words of ManufacturerModelName that pass.
_MODELS = (
    "ACHIEVA", "INGENIA", "INTERA", "GYROSCAN", "PANORAMA", "AVANTO", "SKYRA", "PRISMA", "TRIO",
    "VERIO", "AERA", "ESPREE", "SYMPHONY", "SONATA", "ALLEGRA", "MAGNETOM", "BIOGRAPH", "VIDA",
    "SOLA", "LUMINA", "SIGNA", "OPTIMA", "DISCOVERY", "LIGHTSPEED", "REVOLUTION", "BRIGHTSPEED",
    "HISPEED", "ADVANCE", "SOMATOM", "SENSATION", "EMOTION", "DEFINITION", "FORCE", "VOLUME ZOOM",
    "BRILLIANCE", "ICT", "GEMINI", "INGENUITY", "VEREOS", "MX8000", "AQUILION", "VANTAGE", "TITAN",
    "ASTEION", "ACTIVION", "GALAN", "ALLURA", "ELITION", "AMBITION", "TERRA", "NAEOTOM", "ARTIST",
    "PIONEER", "ARCHITECT", "CELESTEION", "SCENARIA", "ECHELON", "OASIS", "AIRIS",
)  # fmt: skip

_BODY_PARTS = (
    (("BRAIN",), "BRAIN"),
    (("HEAD", "SKULL"), "HEAD"),
    (("NECK", "THYROID", "LARYNX"), "NECK"),
    (("WHOLEBODY", "WHOLE BODY", "WB", "TOTALBODY", "SKULLBASETOMIDTHIGH"), "WHOLEBODY"),
    (("CHEST", "THORAX", "LUNG"), "CHEST"),
    (("HEART", "CARDIAC", "CORONARY"), "HEART"),
    (("BREAST",), "BREAST"),
    (("LIVER",), "LIVER"),
    (("KIDNEY", "RENAL"), "KIDNEY"),
    (("PANCREAS",), "PANCREAS"),
    (("ABDOMEN", "ABD"), "ABDOMEN"),
    (("PROSTATE",), "PROSTATE"),
    (("PELVIS", "BLADDER", "UTERUS", "HIP"), "PELVIS"),
    (("SPINE", "CSPINE", "TSPINE", "LSPINE", "SSPINE"), "SPINE"),
    (("SHOULDER", "ARM", "ELBOW", "WRIST", "HAND"), "UPPER_EXTREMITY"),
    (("LEG", "KNEE", "ANKLE", "FOOT", "THIGH", "CALF", "FEMUR"), "LOWER_EXTREMITY"),
    (("EXTREMITY",), "EXTREMITY"),
)

_MR_WORDS = (  # the first that is found in the description decides
    (r"LOCALI[SZ]ER|SCOUT|SURVEY", OTHER),
    (r"\bADC\b|APPARENT.?DIFF", "ADC"),
    (r"DWI|DTI|DIFF|TRACEW?|\bHARDI\b", "DWI"),
    (r"\bSWI\b|\bSWAN\b|SUSCEPT|VEN_?BOLD", "SWI"),
    (r"BOLD|FMRI|\bEPI\b|REST(ING)?[ _-]?STATE|\bRSFMRI\b", "BOLD"),
    (r"\bASL\b|\bPCASL\b|\bPASL\b", "ASL"),
    (r"PERF|\bDSC\b|\bDCE\b|\bPWI\b|DYNAMIC", "PERFUSION"),
    (r"\bTOF\b|\bMRA\b|ANGIO", "ANGIO"),
    (r"FLAIR|DARK.?FLUID", "FLAIR"),
    (r"\bSTIR\b|\bTIRM\b", "STIR"),
    (r"FIELD.?MAP|\bB0\b|GRE_FIELD", "FIELDMAP"),
    (r"(?<![A-Z])T2(\*|.?STAR)", "T2STAR"),
    (r"(?<![A-Z])T1|MP.?RAGE|SPGR|\bVIBE\b|\bLAVA\b|\bTHRIVE\b|\bFSPGR\b|\bBRAVO\b", "T1"),
    (r"(?<![A-Z])T2", "T2"),
    (r"\bPD\b|PROTON", "PD"),
)

_STATED = {  # AcquisitionContrast, PS3.3 C.8.13.3.1
    "T1": "T1",
    "T2": "T2",
    "T2_STAR": "T2STAR",
    "PROTON_DENSITY": "PD",
    "FLUID_ATTENUATED": "FLAIR",
    "STIR": "STIR",
    "DIFFUSION": "DWI",
    "PERFUSION": "PERFUSION",
    "TIME_OF_FLIGHT": "ANGIO",
}


def facts_of(ds: Dataset, modality: Modality | None) -> Facts:
    """Typed facts of one image."""
    field = elements.number(ds, "MagneticFieldStrength") if modality == "MR" else None
    sex = elements.text(ds, "PatientSex").upper()
    return Facts(
        contrast=_contrast(ds, modality),
        body_part=_body_part(elements.text(ds, "BodyPartExamined").upper()),
        manufacturer=_manufacturer(elements.text(ds, "Manufacturer").upper()),
        model=_model(elements.text(ds, "ManufacturerModelName").upper()),
        field_strength_t=_tesla(field),
        sex=sex if sex in ("F", "M", "O") else "",
        age_years=_age(ds),
    )


def _contrast(ds: Dataset, modality: Modality | None) -> str:
    if modality == "CT":
        agent = elements.text(ds, "ContrastBolusAgent").upper()
        return "" if agent in ("", "NO", "NONE", "N", "N/A", "UNKNOWN") else "CONTRAST"
    if modality != "MR":
        return ""
    words = " ".join(
        elements.text(ds, k) for k in ("SeriesDescription", "ProtocolName", "SequenceName")
    ).upper()
    stated = elements.text(ds, "AcquisitionContrast").upper()
    return _contrast_by_words(words) or _STATED.get(stated) or _contrast_by_times(ds)


@lru_cache
def _contrast_by_words(words: str) -> str:
    named = words.replace("_", " ")
    return next((contrast for pattern, contrast in _MR_WORDS if re.search(pattern, named)), "")


def _contrast_by_times(ds: Dataset) -> str:
    """By the usual limits of a spin echo or an inversion recovery; OTHER in between."""
    sequence = elements.tokens(ds, "ScanningSequence")
    repetition, echo = elements.number(ds, "RepetitionTime"), elements.number(ds, "EchoTime")
    inversion = elements.number(ds, "InversionTime")
    if repetition is None or echo is None:
        return OTHER
    if "IR" in sequence and "GR" in sequence and echo < 10:
        return "T1"
    if "IR" in sequence and inversion is not None and repetition > 2000:
        return "FLAIR" if inversion > 1500 and echo > 60 else "STIR" if inversion < 350 else OTHER
    if "SE" in sequence and "EP" not in sequence:
        if repetition < 1000 and echo < 30:
            return "T1"
        if repetition >= 2000:
            return "T2" if echo >= 60 else "PD" if echo < 40 else OTHER
    return OTHER


@lru_cache
def _body_part(stated: str) -> str:
    if not stated:
        return ""
    for words, part in _BODY_PARTS:
        if any(re.search(rf"(?<![A-Z]){word}(?![A-Z])", stated) for word in words):
            return part
    return OTHER


@lru_cache
def _manufacturer(stated: str) -> str:
    if not stated:
        return ""
    return next((name for word, name in _MANUFACTURERS if word in stated), OTHER)


@lru_cache
def _model(stated: str) -> str:
    if not stated:
        return ""
    found = (m for m in _MODELS if re.search(rf"(?<![A-Z]){re.escape(m)}(?![A-Z])", stated))
    return next(found, OTHER)


def _tesla(stated: float | None) -> float:
    """Some scanners write gauss; a field outside 0.01 to 25 T is not believed."""
    if stated is None:
        return float("nan")
    tesla = stated / 10000.0 if stated > 100 else stated
    return round(tesla, 2) if 0.01 <= tesla <= 25 else float("nan")


def _age(ds: Dataset) -> float:
    """Years by PatientAge, else between birth and study."""
    match = re.fullmatch(r"(\d{1,3})([DWMY])", elements.text(ds, "PatientAge").upper())
    if match and int(match[1]) > 0:  # 000Y is how some scanners write that they do not know
        return int(match[1]) / {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}[match[2]]
    born, studied = (
        elements.calendar_day(elements.text(ds, key)) for key in ("PatientBirthDate", "StudyDate")
    )
    if born is None or studied is None:
        return float("nan")
    years = (studied - born).days / 365.25
    return float(int(years)) if 0 <= years < 130 else float("nan")
