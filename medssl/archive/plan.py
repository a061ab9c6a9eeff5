"""From the catalogue to the units that have to be read: those that are new or have changed.

A unit's signature is a keyed hash of everything that goes into it: its files with their times, its
mask, its row of the cases file, and the settings that change what comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from medssl.archive.cases import Case, Cases
from medssl.archive.catalogue import Catalogue, Entry, is_label
from medssl.archive.config import IngestConfig
from medssl.archive.find import FileKind, Found, stem_of
from medssl.archive.identities import bids_subject
from medssl.archive.identity import Key, RecordingKey
from medssl.archive.journal import FileRecord, Journal, UnitRows
from medssl.archive.linkage import Linkage, LinkageRow
from medssl.archive.lost import LostFiles
from medssl.archive.pairing import Pairing
from medssl.archive.reasons import Reason
from medssl.archive.spool import Spool
from medssl.archive.worker import Unit, UnitResult

_FORMAT = "4"  # of what the readers give: raise it, and every unit is read again
SIGNED_FILES = "signed files"
_LABEL_MAP = {True: "label map", False: "image"}


@dataclass
class Plan:
    """What to do: series and NIfTI units to read, rows that need no reading, units to drop."""

    nifti_units: Spool[Unit] = field(default_factory=Spool)
    num_dicom_units: int = 0
    settled: Spool[UnitResult] = field(default_factory=Spool)
    outdated: list[str] = field(default_factory=list)
    unchanged: int = 0

    @property
    def num_units(self) -> int:
        return len(self.nifti_units) + self.num_dicom_units

    def close(self) -> None:
        self.nifti_units.close()
        self.settled.close()


@dataclass
class Planner:
    """Builds a plan; `judge_label_maps` looks at the voxels of files, in guarded processes."""

    config: IngestConfig
    key: Key
    cases: Cases
    journal: Journal
    linkage: Linkage | None
    judge_label_maps: Callable[[Iterator[Found]], Iterator[tuple[Found, bool]]]
    plan: Plan = field(default_factory=Plan)
    _gone: set[str] = field(default_factory=set)
    _lost: LostFiles = field(default_factory=LostFiles)

    def build(self, catalogue: Catalogue) -> Plan:
        self._gone.update(catalogue.left_units())
        self._lost.find(catalogue)
        self._plan_refused(catalogue)
        self._plan_nifti(catalogue)
        self._plan_dicom(catalogue)
        stale = [u for u in sorted(self._gone) if self.journal.signature(u) is not None]
        self.plan.outdated += stale
        return self.plan

    def dicom_units(self, catalogue: Catalogue) -> Iterator[Unit]:
        """The planned series with their files and the headers that were read."""
        for unit_key, signature in catalogue.planned():
            entries = catalogue.of_unit(unit_key)
            case = self._case_of_series([(e.found.relative, e.tags) for e in entries])
            yield Unit(
                unit_key,
                signature,
                source_key=unit_key,
                files=tuple(e.found for e in entries),
                headers=tuple(e.header for e in entries),
                dicom=True,
                case=case,
                lost=tuple(self._lost.of_unit(unit_key)[0]),
            )

    def records(self, catalogue: Catalogue) -> Iterator[FileRecord]:
        """What the journal is to remember of the files of this walk; faults are tried again."""
        for entry in catalogue.fresh():
            failed = bool(entry.reason) and Reason[entry.reason].group == "failed"
            yield FileRecord(
                entry.file_key,
                "" if failed else entry.found.stamp,
                entry.kind.value,
                entry.reason,
                entry.unit_key,
                entry.tags,
            )

    # --- each kind ------------------------------------------------------------------------------

    def _plan_refused(self, catalogue: Catalogue) -> None:
        for entry in catalogue.of_kind(FileKind.REFUSED):
            signature = self._sign("refused", entry.reason, files=[entry.found.stamp])
            if self._is_new(entry.unit_key, signature):
                reason = Reason[entry.reason]
                self._settle(entry, signature, "file", reason, entry.detail)

    def _plan_nifti(self, catalogue: Catalogue) -> None:
        with closing(Pairing()) as pairing:
            pairing.add(catalogue.nifti_names())
            pairing.index()
            self._judge(catalogue, pairing)
            pairing.pair(
                relative
                for relative, entry in self._candidates(catalogue, pairing)
                if entry.tags == _LABEL_MAP[True]
            )
            self.cases.count_names(relative for relative, _, _ in pairing.images())
            for relative, label, unlabelled in pairing.images():
                subject = bids_subject(relative)
                self._plan_image(
                    [_entry(catalogue, relative), *_voxel_file(catalogue, relative)],
                    _entry(catalogue, label) if label else None,
                    self.cases.for_image(relative, (subject or ("", ""))[1]),
                    subject,
                    (Reason.IMAGE_WITHOUT_LABEL,) if unlabelled else (),
                )
            for relative, reason in pairing.unpaired_labels():
                entry = _entry(catalogue, relative)
                signature = self._sign("unpaired", reason.value, files=[entry.found.stamp])
                if self._is_new(entry.unit_key, signature):
                    self._settle(entry, signature, "label", reason, "")
            for relative in pairing.paired_labels():
                unit_key = _entry(catalogue, relative).unit_key
                if self.journal.signature(unit_key) is not None:
                    self._gone.add(unit_key)

    def _plan_image(
        self,
        files: list[Entry],
        label: Entry | None,
        case: Case | None,
        subject: tuple[str, str] | None,
        notes: tuple[Reason, ...],
    ) -> None:
        entry = files[0]
        signature = self._sign(
            "nifti",
            self.config.modality or "",
            repr(case),
            *notes,
            *(subject if subject and entry.found.packed else ()),  # the names of others decide it
            files=[
                *(text for e in files for text in (e.file_key, e.found.stamp)),
                *((label.file_key, label.found.stamp) if label else ("", "")),
            ],
        )
        if self._is_new(entry.unit_key, signature):
            self.plan.nifti_units.append(
                Unit(
                    entry.unit_key,
                    signature,
                    source_key=entry.file_key,
                    files=tuple(e.found for e in files),
                    subject=subject,
                    case=case,
                    label=label.found if label else None,
                    label_key=self._source_key(label) if label else "",
                    notes=notes,
                )
            )

    def _plan_dicom(self, catalogue: Catalogue) -> None:
        for unit_key, files in catalogue.dicom_units():
            case = self._case_of_series([(name, tags) for _, _, name, tags, _ in files])
            fields = [text for key, stamp, *_ in files for text in (key, stamp)]
            lost = sorted((sign.split(" ") for sign in self._lost.of_unit(unit_key)[1]), key=_stamp)
            words = [word for sign in lost for word in sign]
            if any(is_label(tags) for _, _, _, tags, _ in files):
                words.append(repr(list(self.config.structures.items())))
            settings = (str(self.config.use_issuer), self.config.irregular_spacing, repr(case))
            signature = self._sign("dicom", *settings, *words, files=fields, recorded=False)
            if self._is_new(unit_key, signature):
                catalogue.plan(unit_key, signature)
                self.plan.num_dicom_units += 1

    def _case_of_series(self, files: list[tuple[str, str]]) -> Case | None:
        """By (relative, tags) of its files; names of label files count where there is no image."""
        images = [name for name, tags in files if not is_label(tags)]
        series, patient, *_ = f"{files[-1][1]}  ".split(" ")
        return self.cases.for_series(series, patient, min(images or [name for name, _ in files]))

    def _judge(self, catalogue: Catalogue, pairing: Pairing) -> None:
        """Look at the voxels of files that may be label maps by their names, once for all runs."""
        unknown = (e.found for _, e in self._candidates(catalogue, pairing) if not e.tags)
        for found, is_map in self.judge_label_maps(unknown):
            catalogue.tag(found.relative, _LABEL_MAP[is_map])

    def _candidates(self, catalogue: Catalogue, pairing: Pairing) -> Iterator[tuple[str, Entry]]:
        """Files that may be label maps by their names, and of which no row says an image."""
        for relative, _ in pairing.extended_names():
            if not self.cases.names(relative):
                yield relative, _entry(catalogue, relative)

    # --- parts ----------------------------------------------------------------------------------

    def _is_new(self, unit_key: str, signature: str) -> bool:
        self._gone.discard(unit_key)
        before = self.journal.signature(unit_key)
        linked = self.linkage is None or self.linkage.knows(unit_key)
        if before == signature and linked:
            self.plan.unchanged += 1
            if isinstance(self.key, RecordingKey):
                self.key.forget(signature.rpartition(".")[2])
            return False
        if before is not None:
            self.plan.outdated.append(unit_key)
        return True

    def _settle(self, entry: Entry, signature: str, kind: str, reason: Reason, detail: str) -> None:
        result = UnitResult(UnitRows(entry.unit_key, signature), failed=reason.group == "failed")
        source_key = self._source_key(entry)
        result.store.rows["rejected"].append(
            {
                "source_key": source_key,
                "kind": kind,
                "reason": reason.value,
                "detail": detail,
                "n_files": 1,
            }
        )
        result.linkage.append(
            LinkageRow(
                unit_key=entry.unit_key,
                source=entry.found.source,
                source_key=source_key,
                outcome="REJECTED",
                reason_code=reason.value,
            )
        )
        self.plan.settled.append(result)

    def _source_key(self, entry: Entry) -> str:
        return self.key.hmac("source", entry.file_key, "")

    def _sign(self, *fields: str, files: Sequence[str], recorded: bool = True) -> str:
        """Over settings and over files apart, so that another key can sign without reading.

        Of a series the files are not recorded: they may be many, and the journal knows them.
        """
        config, key = self.config, self.key
        settings = key.hmac("signature", _FORMAT, config.site, str(config.max_voxels), *fields)
        signs_files = key if recorded else Key(key.secret)
        return f"{settings}.{signs_files.hmac(SIGNED_FILES, *files)}"


def _stamp(sign: list[str]) -> str:
    """Of a lost file: an order that is the same under every key."""
    return sign[-1]


def _entry(catalogue: Catalogue, relative: str) -> Entry:
    entry = catalogue.by_relative(relative)
    assert entry is not None  # names come out of the catalogue
    return entry


def _voxel_file(catalogue: Catalogue, relative: str) -> list[Entry]:
    """The .img of a .hdr, or nothing."""
    if not relative.endswith(".hdr"):
        return []
    base = _pair_name(relative)
    same = [e for e in catalogue.pair_data(base) if _pair_name(e.found.relative) == base]
    return same[-1:]


def _pair_name(relative: str) -> str:
    path = PurePosixPath(relative)
    return str(path.parent / stem_of(path.name))
