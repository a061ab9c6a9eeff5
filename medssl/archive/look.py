"""One file of an archive, looked at in a guarded process: what it is, and its header if DICOM."""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from medssl.archive.cases import patient_tag, series_tag
from medssl.archive.catalogue import LABEL_TAG, PACKED_TAG
from medssl.archive.find import FileKind, Found, sniff
from medssl.archive.identity import Key
from medssl.archive.reasons import Reason
from medssl.archive.uids_in_bytes import tags_in_bytes


@dataclass(frozen=True)
class Archive:
    """A folder (or a single file) of scans, and the keys of its files."""

    root: Path
    key: Key

    @cached_property
    def place(self) -> str:
        """The folder's one true path, so that two archives never share a key."""
        return os.path.realpath(self.root)

    def file_key(self, found: Found) -> str:
        """Of a file; of the member of a packed file, wherever that is unpacked."""
        if found.packed:
            return self.key.hmac("file", self.place, found.packed, found.member)
        return self.key.hmac("file", self.place, found.relative)

    def unit_of_file(self, file_key: str) -> str:
        """The unit of a file that is read by itself."""
        return self.key.hmac("unit of file", file_key)

    def unit_alone(self, found: Found) -> str:
        return self.unit_of_file(self.file_key(found))

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
    path = found.path
    kind, reason = sniff(path, found.size)
    if kind is not FileKind.DICOM:
        tags = ""
        if reason is Reason.UNKNOWN_FORMAT:
            tags = tags_in_bytes(archive.key, path)
        elif reason is Reason.ARCHIVE_FILE and not found.packed:
            tags = PACKED_TAG
        alone = archive.unit_alone(found)
        return Looked(kind, reason.value if reason else "", unit_key=alone, tags=tags)
    from medssl.archive.dicom import Unreadable, read_header

    try:
        header = read_header(path)
    except Unreadable as fault:
        kind = FileKind.SIDE if fault.reason is Reason.DICOMDIR else FileKind.REFUSED
        tags = tags_in_bytes(archive.key, path)
        alone = archive.unit_alone(found)
        return Looked(kind, fault.reason.value, fault.detail, unit_key=alone, tags=tags)
    key, patient, series = archive.key, header.patient[0], header.series
    if header.label is not None:  # it goes where the one series goes that it was drawn on
        series = header.label.series[0] if len(header.label.series) == 1 else ""
    unit_key = archive.unit_of_series(patient, series) if series else archive.unit_alone(found)
    tags = f"{series_tag(key, series)} {patient_tag(key, patient)}"
    if header.label is not None:
        tags += f" {LABEL_TAG}"
    return Looked(kind, unit_key=unit_key, tags=tags, header=pickle.dumps(header, protocol=5))
