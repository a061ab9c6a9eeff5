"""One file of an archive, looked at in a guarded process: what it is, and its header if DICOM."""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from medssl.archive.cases import patient_tag, series_tag
from medssl.archive.catalogue import LABEL_TAG
from medssl.archive.find import FileKind, Found, sniff
from medssl.archive.identity import Key
from medssl.archive.lost import tags_in_bytes
from medssl.archive.reasons import Reason


@dataclass(frozen=True)
class Archive:
    """A folder (or a single file) of scans, and the keys of its files."""

    root: Path
    key: Key

    @cached_property
    def place(self) -> str:
        """The folder's one true path, so that two archives never share a key."""
        return os.path.realpath(self.root)

    def file_key(self, relative: str) -> str:
        return self.key.hmac("file", self.place, relative)

    def unit_of_file(self, file_key: str) -> str:
        """The unit of a file that is read by itself."""
        return self.key.hmac("unit of file", file_key)

    def unit_of_series(self, patient: str, series: str) -> str:
        """The unit of a series and of the labels drawn on it, which may be of another study."""
        return self.key.hmac("unit of series", self.place, patient, series)


@dataclass(frozen=True, slots=True)
class Looked:
    """What a file is.

    Attributes:
        unit_key: what it is read together with.
        tags: keyed hashes of its series and its patient (DICOM), or of its series and instance
            (damaged).
        header: of a DICOM image, pickled: only the process that reads the series unpacks it.
    """

    kind: FileKind
    reason: str = ""
    detail: str = ""
    unit_key: str = ""
    tags: str = ""
    header: bytes | None = None


def look(archive: Archive, found: Found) -> Looked:
    """Sniff a file, and read its header where it is DICOM."""
    alone = archive.unit_of_file(archive.file_key(found.relative))
    if found.size < 0:
        return Looked(FileKind.REFUSED, Reason.UNREADABLE_FILE.value, unit_key=alone)
    kind, reason = sniff(found.path, found.size)
    if kind is not FileKind.DICOM:
        unknown = reason is Reason.UNKNOWN_FORMAT
        tags = tags_in_bytes(archive.key, found.path) if unknown else ""
        return Looked(kind, reason.value if reason else "", unit_key=alone, tags=tags)
    from medssl.archive.dicom import Unreadable, read_header

    try:
        header = read_header(found.path)
    except Unreadable as fault:
        kind = FileKind.SIDE if fault.reason is Reason.DICOMDIR else FileKind.REFUSED
        tags = tags_in_bytes(archive.key, found.path)
        return Looked(kind, fault.reason.value, fault.detail, unit_key=alone, tags=tags)
    key, patient, series = archive.key, header.patient[0], header.series
    if header.label is not None:  # it goes where the one series goes that it was drawn on
        series = header.label.series[0] if len(header.label.series) == 1 else ""
    unit_key = archive.unit_of_series(patient, series) if series else alone
    tags = f"{series_tag(key, series)} {patient_tag(key, patient)}"
    if header.label is not None:
        tags += f" {LABEL_TAG}"
    return Looked(kind, unit_key=unit_key, tags=tags, header=pickle.dumps(header, protocol=5))
