"""The keys of a volume: whose it is, and which, without saying who or where.

A NIfTI is known by its place in the archive together with its content, so that two archives with
the same names in them never meet; its patient is that of its row in the cases file, else the BIDS
subject (a data set's sub-<label> folder states it), else the file itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from medssl.archive.config import IngestConfig
from medssl.archive.identity import Key
from medssl.archive.scan import Source

if TYPE_CHECKING:
    from medssl.archive.worker import Unit


@dataclass(frozen=True)
class Identity:
    """Keyed hashes that stand for a volume's patient, study, series and files.

    `instances` holds (instance key, SHA-256) of each source file.
    """

    volume_uid: str
    patient_key: str
    group_quality: str
    study_key: str
    series_key: str
    source_key: str
    site: str
    instances: tuple[tuple[str, str], ...]

    def is_among(self, withdrawn: frozenset[str]) -> bool:
        """Whether the patient was withdrawn, or a file of this volume with one, by its content."""
        if not withdrawn:
            return False
        return self.patient_key in withdrawn or any(k in withdrawn for k, _ in self.instances)


def identify(key: Key, config: IngestConfig, unit: Unit, source: Source) -> Identity:
    """The keys of one volume of a unit."""
    case = unit.case
    site = (case.site if case else "") or config.site
    patient_key, quality = _patient(key, config, unit, source, site)
    if case is not None and case.group_quality:
        quality = case.group_quality
    series: tuple[str, ...]
    if source.patient is not None:
        series = ("dicom", site, source.patient[0], source.study, source.series)
    else:
        series = ("nifti", site, source.series, *source.sha256)
    return Identity(
        volume_uid=key.hmac("volume", *series, source.part),
        patient_key=patient_key,
        group_quality=quality,
        study_key=key.hmac("study", site, source.study) if source.study else "",
        series_key=key.hmac("series", *series),
        source_key=key.hmac("source", unit.source_key, source.part),
        site=site,
        instances=_instances(key, source),
    )


def bids_subject(relative: str) -> tuple[str, str] | None:
    """(folder of the BIDS data set, "sub-<label>") of a file that lies where BIDS says."""
    path = PurePosixPath(relative)
    for at, folder in enumerate(path.parts[:-1]):
        if (
            folder.startswith("sub-")
            and folder[4:].isalnum()
            and path.name.startswith(f"{folder}_")
        ):
            above = list(path.parts[:at])
            if "derivatives" in above:
                above = above[: above.index("derivatives")]
            while above and above[-1] in ("rawdata", "sourcedata"):
                above.pop()
            return "/".join(above), folder
    return None


def _patient(
    key: Key,
    config: IngestConfig,
    unit: Unit,
    source: Source,
    site: str,
) -> tuple[str, str]:
    """(patient key, group quality)."""
    if unit.case is not None and unit.case.patient:
        return key.hmac("patient", site, "", unit.case.patient), "patient"
    if source.patient is not None:
        patient, issuer = (text.strip() for text in source.patient)
        if patient:
            known = issuer if config.use_issuer else ""
            return key.hmac("patient", site, known, patient), "patient"
        return key.hmac("patient of study", site, source.study), "none"
    if unit.subject is not None:
        return key.hmac("bids subject", site, *unit.subject), "patient"
    return key.hmac("patient of scan", site, source.series, *source.sha256), "scan"


def _instances(key: Key, source: Source) -> tuple[tuple[str, str], ...]:
    """DICOM instances by their UID; files without one by their content."""
    files = source.sha256 or ("",) * len(source.files)
    if source.instances and len(source.instances) == len(files):
        return tuple(
            (key.hmac("instance", uid), sha)
            for uid, sha in zip(source.instances, files, strict=True)
        )
    if source.instances:
        return tuple((key.hmac("instance", uid), "") for uid in source.instances)
    return tuple((key.hmac("file content", sha), sha) for sha in files)
