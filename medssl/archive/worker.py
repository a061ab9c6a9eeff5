"""What a reading process does: one unit of the archive into voxels in the store and rows.

A unit is a DICOM series or a NIfTI file with its mask. Voxels and masks are written here; the rows
go back to the parent, which alone writes the manifest.
"""

from __future__ import annotations

import errno
import os
import pickle
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medssl.archive.bids import bids_contrast
from medssl.archive.cases import Case
from medssl.archive.config import IngestConfig
from medssl.archive.dates import study_day
from medssl.archive.find import Found, stamp_of
from medssl.archive.identities import Identity, identify
from medssl.archive.identity import Key
from medssl.archive.journal import UnitRows
from medssl.archive.judge import judge_values
from medssl.archive.label_objects import Labelled, Refusal, Target, label_volumes
from medssl.archive.label_rows import mask_link, mask_row, refusal_link, refusal_row
from medssl.archive.labels import Mask, fit_mask, read_mask
from medssl.archive.linkage import LinkageRow
from medssl.archive.lost import LostFile
from medssl.archive.nifti import NiftiFault, load_nifti, looks_like_labels, read_nifti
from medssl.archive.reasons import Reason
from medssl.archive.rows import manifest_row
from medssl.archive.scan import Judged, Rejection, Scan, Source
from medssl.archive.whole import still_lost
from medssl.store.body import BodyMask
from medssl.store.find_body import find_body
from medssl.store.voxels import Rescale, write_voxels
from medssl.store.writer import volume_path
from medssl.volume import Array, Volume

if TYPE_CHECKING:
    from medssl.archive.dicom import Header


@dataclass(frozen=True)
class Context:
    """What every unit of a run has in common."""

    root: Path
    key: Key
    config: IngestConfig
    withdrawn: frozenset[str] = frozenset()  # keys of patients and instances not to be taken


@dataclass(frozen=True)
class Unit:
    """What is read together, and what is known of it beforehand."""

    unit_key: str
    signature: str
    source_key: str
    files: tuple[Found, ...]
    dicom: bool = False
    headers: tuple[bytes | None, ...] = ()  # of the DICOM files, where they were read just now
    subject: tuple[str, str] | None = None  # BIDS: folder of the data set, subject
    case: Case | None = None
    label: Found | None = None
    label_key: str = ""
    lost: tuple[LostFile, ...] = ()  # damaged files that may belong to a series
    notes: tuple[Reason, ...] = ()  # on its labels, known from names


@dataclass
class UnitResult:
    """The rows of a unit for the store, for the linkage file, and what the summary counts."""

    store: UnitRows
    linkage: list[LinkageRow] = field(default_factory=list)
    failed: bool = False
    masked_voxels: int = 0


def is_label_map(max_voxels: int, found: Found) -> bool:
    """Whether the voxels of a NIfTI look like labels; False where it cannot be read."""
    try:
        file = load_nifti(found.path, max_voxels)
    except NiftiFault:
        return False
    return file.raw.shape[3] == 1 and looks_like_labels(file.raw[..., 0])


def ingest_unit(context: Context, unit: Unit) -> UnitResult:
    """Read, judge and store one unit."""
    result = UnitResult(UnitRows(unit.unit_key, unit.signature))
    judged, labels, images = _read(context, unit)
    changed = any(_changed(found) for found in unit.files)
    if changed:
        judged = [Rejection(item.source, "series", Reason.CHANGED_WHILE_READ) for item in judged]
    mask, mask_fault = _read_label(context, unit)
    taken: list[tuple[Scan, Identity]] = []
    withdrawn = False
    notes: list[Reason] = []
    for item in judged:
        identity = identify(context.key, context.config, unit, item.source)
        if identity.is_among(context.withdrawn):
            withdrawn = True
            item = Rejection(item.source, "series", Reason.PATIENT_WITHDRAWN)
        else:
            result.store.patients.add(identity.patient_key)
        if isinstance(item, Scan):
            item = judge_values(_stated(item, context.config, unit.case))
        if isinstance(item, Rejection):
            _add_rejection(result, unit, item, identity)
            continue
        taken.append((item, identity))
        if not unit.dicom and unit.case is None and looks_like_labels(item.stored):
            notes.append(Reason.IMAGE_LOOKS_LIKE_LABEL)
        _add_scan(context, unit, item, identity, result)
        if mask is not None:
            mask_fault = _add_mask(context, unit, item, identity, mask, result)
    if labels and not withdrawn:
        found = Labelled(refused=[Refusal(x, Reason.CHANGED_WHILE_READ) for x in labels])
        if not changed:
            found = _label_volumes(context, labels, images, [scan for scan, _ in taken])
        _add_labelled(context, unit, found, taken, result)
    if unit.label is not None and not withdrawn:
        fault = mask_fault if taken else NiftiFault(Reason.LABEL_WITHOUT_IMAGE)
        if fault is not None:
            _add_label_note(result, unit.label_key, unit.label, fault.reason, fault.detail)
    source_key = context.key.hmac("source", unit.source_key, "")
    for reason in dict.fromkeys([*unit.notes, *notes]) if taken else ():
        _add_label_note(result, source_key, unit.files[0], reason, "")
    return result


def _read(context: Context, unit: Unit) -> tuple[list[Judged], list[Header], list[Header]]:
    """Judged scans; of a DICOM unit also the headers of its label files and of all others."""
    if not unit.dicom:
        found = unit.files[0]
        return read_nifti(found.path, found.place, context.config.max_voxels), [], []
    from medssl.archive.dicom import (
        Policy,
        Unreadable,
        group_by_series,
        read_header,
        read_series,
    )

    headers: list[Header] = []
    refused: list[Judged] = []
    for found, packed in zip(unit.files, unit.headers, strict=True):
        try:
            header = pickle.loads(packed) if packed is not None else read_header(found.path)
            headers.append(header)
        except Unreadable as fault:
            source = Source((found.path,), None, "", found.place)
            refused.append(Rejection(source, "file", fault.reason, fault.detail))
    labels = [header for header in headers if header.label is not None]
    images = [header for header in headers if header.label is None]
    policy = Policy(context.config.irregular_spacing, context.config.max_voxels)
    lost = still_lost(unit.lost, images, context.key)
    judged = [j for group in group_by_series(images) for j in read_series(group, policy, lost)]
    return refused + judged, labels, images


def _label_volumes(
    context: Context, labels: list[Header], images: list[Header], scans: list[Scan]
) -> Labelled:
    from medssl.archive.dicom.structures import Grid

    frames = {header.path: header.frame_of_reference for header in images}
    targets = []
    for scan in scans:
        d, h, w = scan.stored.shape
        as_drawn_on = Reason.SPACING_RESAMPLED not in scan.corrections
        source = scan.source
        targets.append(
            Target(
                Grid(scan.affine, (d, h, w), as_drawn_on),
                frames[source.files[0]],
                frozenset(source.instances),
            )
        )
    known = frozenset(header.instance for header in images)
    ordered = sorted(labels, key=lambda header: (header.instance, str(header.path)))
    return label_volumes(ordered, targets, known, context.config.structures)


def _stated(scan: Scan, config: IngestConfig, case: Case | None) -> Scan:
    """A NIfTI with what is stated of it elsewhere: by the cases, the settings or its BIDS name."""
    if scan.source_format == "NIFTI":
        stated = case or Case()
        modality: Any = stated.modality or config.modality or scan.modality
        units: Any = stated.units or scan.units
        facts = replace(scan.facts, contrast=bids_contrast(scan.source.series))
        scan = replace(scan, modality=modality, units=units, facts=facts)
    return scan


def _read_label(context: Context, unit: Unit) -> tuple[Mask | None, NiftiFault | None]:
    if unit.label is None:
        return None, None
    try:
        mask = read_mask(unit.label.path, context.config.max_voxels)
        if _changed(unit.label):
            raise NiftiFault(Reason.CHANGED_WHILE_READ)
        return mask, None
    except NiftiFault as fault:
        return None, fault
    except OSError:
        return None, NiftiFault(Reason.UNREADABLE_FILE)


def _add_scan(
    context: Context,
    unit: Unit,
    scan: Scan,
    identity: Identity,
    result: UnitResult,
) -> None:
    uid = identity.volume_uid
    rows = result.store.rows
    day = study_day(context.key, identity.patient_key, scan.study_date)
    rows["manifest"].append(manifest_row(scan, identity, unit.case, day))
    for instance_key, sha256 in identity.instances:
        rows["instances"].append(
            {"volume_uid": uid, "instance_key": instance_key, "file_sha256": sha256}
        )
    about = {"volume_uid": uid, "patient_key": identity.patient_key, "path": "", "corrections": ""}
    case = unit.case or Case()
    for name, value in case.labels:
        rows["labels"].append({**about, "name": name, "kind": "class", "value": value})
    if case.split:
        rows["labels"].append({**about, "name": "split", "kind": "split", "value": case.split})
    volume = Volume(scan.stored, scan.affine, scan.modality, scan.units)
    body = find_body(volume, scan.rescale, scan.padding)
    _write(context.root, volume_path(uid), scan.stored, scan.rescale, body)
    result.masked_voxels += scan.masked_voxels
    outcome = "CORRECTED" if scan.corrections else "EXACT"
    codes = "+".join(reason.value for reason in scan.corrections)
    result.linkage.append(_linkage_row(unit, scan.source, identity, outcome, codes))


def _add_mask(
    context: Context, unit: Unit, scan: Scan, identity: Identity, mask: Mask, result: UnitResult
) -> NiftiFault | None:
    d, h, w = scan.stored.shape
    try:
        fitted, corrections = fit_mask(mask, scan.affine, (d, h, w))
    except NiftiFault as fault:
        return fault
    assert unit.label is not None
    _keep_mask(context, identity, fitted, corrections, result)
    link = mask_link(unit.unit_key, unit.label.source, unit.label_key, corrections, identity)
    result.linkage.append(link)
    return None


def _keep_mask(
    context: Context,
    identity: Identity,
    mask: Mask,
    corrections: Sequence[Reason],
    result: UnitResult,
) -> None:
    """Write a mask that lies on its volume's grid, with its row."""
    path = volume_path(identity.volume_uid, "labels")
    _write(context.root, path, mask.classes, Rescale())
    result.store.rows["labels"].append(mask_row(mask, path, corrections, identity))


def _add_labelled(
    context: Context,
    unit: Unit,
    labelled: Labelled,
    taken: Sequence[tuple[Scan, Identity]],
    result: UnitResult,
) -> None:
    """The maps that SEG and RTSTRUCT gave, and a row for each of those files that gave none."""

    def identity_of(label: Header) -> Identity:
        part = f"label {label.instance}"
        source = Source((label.path,), label.patient, label.study, label.series, part)
        identity = identify(context.key, context.config, unit, source)
        if not identity.is_among(context.withdrawn):
            result.store.patients.add(identity.patient_key)
        return identity

    shown = _members(unit)
    for at, found in labelled.maps.items():
        volume = taken[at][1]
        _keep_mask(context, volume, found.mask, found.corrections, result)
        result.linkage += [
            mask_link(
                unit.unit_key,
                shown.get(x.path, str(x.path)),
                identity_of(x).source_key,
                found.corrections,
                volume,
            )
            for x in found.sources
        ]
    for refusal in labelled.refused:
        identity = identity_of(refusal.label)
        result.failed |= refusal.reason.group == "failed"
        result.store.rows["rejected"].append(refusal_row(refusal, identity.source_key))
        path = refusal.label.path
        name = shown.get(path, str(path))
        result.linkage.append(refusal_link(unit.unit_key, name, refusal, identity))


def _add_rejection(
    result: UnitResult, unit: Unit, rejection: Rejection, identity: Identity
) -> None:
    kind = "file" if rejection.kind == "file" else rejection.kind
    result.store.rows["rejected"].append(
        {
            "source_key": identity.source_key,
            "kind": kind,
            "reason": rejection.reason.value,
            "detail": rejection.detail,
            "n_files": len(rejection.source.files),
        }
    )
    result.failed |= rejection.reason.group == "failed"
    result.linkage.append(
        _linkage_row(unit, rejection.source, identity, "REJECTED", rejection.reason.value)
    )


def _add_label_note(
    result: UnitResult, source_key: str, found: Found, reason: Reason, detail: str
) -> None:
    result.store.rows["rejected"].append(
        {
            "source_key": source_key,
            "kind": "label",
            "reason": reason.value,
            "detail": detail,
            "n_files": 1,
        }
    )
    result.linkage.append(
        LinkageRow(
            unit_key=result.store.unit_key,
            source=found.source,
            source_key=source_key,
            outcome="REJECTED",
            reason_code=reason.value,
        )
    )


def _members(unit: Unit) -> dict[Path, str]:
    """Members of packed files: where they were unpacked, and how the linkage file names them."""
    return {found.path: found.source for found in unit.files if found.packed}


def _linkage_row(
    unit: Unit, source: Source, identity: Identity, outcome: str, codes: str
) -> LinkageRow:
    patient_id, issuer = source.patient or ("", "")
    shown = _members(unit)
    paths = [shown.get(path, str(path)) for path in source.files]
    place = paths[0] if len(paths) == 1 else os.path.commonpath(paths) if paths else ""
    return LinkageRow(
        unit_key=unit.unit_key,
        source=place,
        patient_id=patient_id,
        issuer=issuer,
        study_uid=source.study,
        series_uid=source.series if source.patient else "",
        part=source.part,
        patient_key=identity.patient_key,
        series_key=identity.series_key,
        volume_uid=identity.volume_uid if outcome != "REJECTED" else "",
        source_key=identity.source_key,
        outcome=outcome,
        reason_code=codes,
    )


def _write(
    root: Path, relative: str, stored: Array, rescale: Rescale, body: BodyMask | None = None
) -> None:
    """Write voxels; a full disk is told as such, whatever the library calls it."""
    try:
        write_voxels(root / relative, stored, rescale, body)
    except RuntimeError as error:
        if shutil.disk_usage(root).free < 2 * stored.nbytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise


def _changed(found: Found) -> bool:
    try:
        about = os.stat(found.path)
        if found.packed:  # nobody else writes there; the stamp is that of the packed file
            return about.st_size != found.size
        return stamp_of(about) != found.stamp
    except OSError:
        return True
