"""From the catalogue to the units that have to be read: those that are new or have changed.

A unit's signature is a keyed hash of everything that goes into it: its files with their times, its
mask, its row of the cases file, and the settings that change what comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from medssl.archive.cases import Case, Cases
from medssl.archive.catalogue import Catalogue, Entry
from medssl.archive.config import IngestConfig
from medssl.archive.find import FileKind, Found, stem_of
from medssl.archive.identities import bids_subject
from medssl.archive.identity import Key, RecordingKey
from medssl.archive.journal import FileRecord, Journal, UnitRows
from medssl.archive.linkage import Linkage, LinkageRow
from medssl.archive.lost import LostFiles
from medssl.archive.pairing import Pairs, extended_names, pair_labels, parse_name
from medssl.archive.reasons import Reason
from medssl.archive.worker import Unit, UnitResult

_FORMAT = "4"  # of what the readers give: raise it, and every unit is read again
SIGNED_FILES = "signed files"
_LABEL_MAP = {True: "label map", False: "image"}


@dataclass
class Plan:
    """What to do: series and NIfTI units to read, rows that need no reading, units to drop."""

    nifti_units: list[Unit] = field(default_factory=list)
    num_dicom_units: int = 0
    settled: list[UnitResult] = field(default_factory=list)
    outdated: list[str] = field(default_factory=list)
    unchanged: int = 0
    label_maps: dict[str, bool] = field(default_factory=dict)

    @property
    def num_units(self) -> int:
        return len(self.nifti_units) + self.num_dicom_units


@dataclass
class Planner:
    """Builds a plan; `judge_label_maps` looks at the voxels of files, in guarded processes."""

    config: IngestConfig
    key: Key
    cases: Cases
    journal: Journal
    linkage: Linkage | None
    judge_label_maps: Callable[[list[Found]], dict[str, bool]]
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
            first = min(entry.found.relative for entry in entries)
            yield Unit(
                unit_key,
                signature,
                source_key=unit_key,
                files=tuple(e.found for e in entries),
                headers=tuple(e.header for e in entries),
                dicom=True,
                case=self._case_of_series(entries[-1].tags, first),
                lost=tuple(self._lost.of_unit(unit_key)[0]),
            )

    def records(self, catalogue: Catalogue) -> Iterator[FileRecord]:
        """What the journal is to remember of the files of this walk; faults are tried again."""
        for entry in catalogue.fresh():
            failed = bool(entry.reason) and Reason[entry.reason].group == "failed"
            tags = entry.tags
            if entry.found.relative in self.plan.label_maps and entry.kind is FileKind.NIFTI:
                tags = _LABEL_MAP[self.plan.label_maps[entry.found.relative]]
            yield FileRecord(
                entry.file_key,
                "" if failed else entry.found.stamp,
                entry.kind.value,
                entry.reason,
                entry.unit_key,
                tags,
            )

    # --- each kind ------------------------------------------------------------------------------

    def _plan_refused(self, catalogue: Catalogue) -> None:
        for entry in catalogue.of_kind(FileKind.REFUSED):
            signature = self._sign("refused", entry.reason, files=[entry.found.stamp])
            if self._is_new(entry.unit_key, signature):
                reason = Reason[entry.reason]
                self._settle(entry, signature, "file", reason, entry.detail)

    def _plan_nifti(self, catalogue: Catalogue) -> None:
        entries = {e.found.relative: e for e in catalogue.of_kind(FileKind.NIFTI)}
        if not entries:
            return
        pairs = self._pairs(entries)
        subjects = {r: bids_subject(r) for r in pairs.images}
        cases = self.cases.for_images((r, (subjects[r] or ("", ""))[1]) for r in pairs.images)
        images_data = {
            _pair_name(e.found.relative): e for e in catalogue.of_kind(FileKind.PAIR_DATA)
        }
        for relative, label in pairs.images.items():
            notes = (Reason.IMAGE_WITHOUT_LABEL,) if relative in pairs.unlabelled_images else ()
            data = images_data.get(_pair_name(relative)) if relative.endswith(".hdr") else None
            self._plan_image(
                [entries[relative], *([data] if data else [])],
                entries[label] if label else None,
                cases.get(relative),
                subjects[relative],
                notes,
            )
        for relative, reason in pairs.unpaired_labels.items():
            entry = entries[relative]
            signature = self._sign("unpaired", reason.value, files=[entry.found.stamp])
            if self._is_new(entry.unit_key, signature):
                self._settle(entry, signature, "label", reason, "")
        alone = {*pairs.images, *pairs.unpaired_labels}
        self._gone.update(e.unit_key for r, e in entries.items() if r not in alone)

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
            case = self._case_of_series(files[-1][3], min(name for _, _, name, _ in files))
            fields = [text for key, stamp, _, _ in files for text in (key, stamp)]
            lost = sorted((sign.split(" ") for sign in self._lost.of_unit(unit_key)[1]), key=_stamp)
            settings = (str(self.config.use_issuer), self.config.irregular_spacing, repr(case))
            words = [word for sign in lost for word in sign]
            signature = self._sign("dicom", *settings, *words, files=fields, recorded=False)
            if self._is_new(unit_key, signature):
                catalogue.plan(unit_key, signature)
                self.plan.num_dicom_units += 1

    def _case_of_series(self, tags: str, first_file: str) -> Case | None:
        series, _, patient = tags.partition(" ")
        return self.cases.for_series(series, patient, first_file)

    def _pairs(self, entries: dict[str, Entry]) -> Pairs:
        by_cases = frozenset(
            r for r in entries if not parse_name(r).is_label and self.cases.names(r)
        )
        candidates = sorted(set(extended_names(entries)) - by_cases)
        known = {r: entries[r].tags for r in candidates if entries[r].tags}
        unknown = [r for r in candidates if r not in known]
        judged = self.judge_label_maps([entries[r].found for r in unknown]) if unknown else {}
        self.plan.label_maps = judged
        maps = {r for r in known if known[r] == _LABEL_MAP[True]}
        maps |= {r for r, is_map in judged.items() if is_map}
        return pair_labels(entries, maps)

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
                source=str(entry.found.path),
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


def _pair_name(relative: str) -> str:
    path = PurePosixPath(relative)
    return str(path.parent / stem_of(path.name))
