"""The damage that a real archive has: what no reader may take for a scan, or take silently."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from medssl.archive.reasons import Reason
from medssl.sample.dicom import Series, add_identity, shared_attributes, write_series, write_slice
from medssl.sample.draws import Stream, generator
from medssl.sample.expected import Expected, ends
from medssl.sample.patients import Patient


def duplicate_slice(series: Series, paths: list[Path]) -> Reason:
    """The middle slice once more under another name, as a second export leaves it."""
    source = paths[len(paths) // 2]
    shutil.copyfile(source, source.with_name(f"{source.name}_1"))
    return Reason.DUPLICATE_DROPPED


def write_broken_series(archive: Path, series: Series) -> list[Expected]:
    """Two follow-ups of a CT: one that lacks a slice, one of which a file was cut off."""
    count = 16
    short = replace(series, values=series.values[:count])
    rows = []
    for kind, folder in (("gap", "incoming/CT_0007"), ("cut", "incoming/CT_0008")):
        follow_up = replace(short, kind=kind, number=11, description="CT follow-up")
        paths = [archive / folder / f"I{k:04d}" for k in range(count)]
        write_series(follow_up, paths, skip=frozenset({7}) if kind == "gap" else frozenset())
        if kind == "cut":
            whole = paths[7].read_bytes()
            paths[7].write_bytes(whole[: int(len(whole) * 0.8)])
            code = Reason.PIXEL_DATA_DAMAGED
            rows.append(_file(archive, paths[7], code, "CT", follow_up.patient.patient_id))
        gap = Reason.MISSING_SLICE
        rows.append(
            Expected("series", folder, follow_up.uid, follow_up.patient.patient_id, "CT",
                     ends(gap), gap, count - (kind == "gap"), "")
        )  # fmt: skip
    return rows


def write_localizer(archive: Path, series: Series) -> list[Expected]:
    """A scout view: the sum through the patient from front to back, as one CT image."""
    flat = series.values.astype(np.float32).mean(axis=1)[::-1]
    rows = np.repeat(flat, 2, axis=0).astype(np.int16)[None]
    scout = replace(
        series,
        values=rows,
        kind="scout",
        number=1,
        description="Topogram",
        image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"),
    )
    path = archive / "incoming" / "CT_0001" / "I0000"
    shared = shared_attributes(scout)
    shared.ImageOrientationPatient = ["1", "0", "0", "0", "0", "-1"]
    write_slice(scout, shared, 0, path)
    return [_file(archive, path, Reason.LOCALIZER, "CT", series.patient.patient_id)]


def write_screen_save(archive: Path, patient: Patient) -> list[Expected]:
    """A secondary capture in colour: a dose sheet with the patient's name burnt in."""
    rng = generator(patient.seed, patient.number, Stream.HAZARD)
    pixels = np.full((96, 128, 3), 24, np.uint8)
    for line in range(8, 88, 10):
        ink = rng.random((6, 100)) < 0.5
        pixels[line : line + 6, 8:108][ink] = (230, 230, 180)
    ds = Dataset()
    ds.SOPClassUID = SecondaryCaptureImageStorage
    ds.SOPInstanceUID = patient.uid("instance", "screen")
    ds.SeriesInstanceUID = patient.uid("series", "screen")
    add_identity(ds, patient, "CT")
    ds.Modality, ds.ConversionType, ds.SeriesNumber, ds.InstanceNumber = "OT", "WSD", 99, 1
    ds.ImageType = ["DERIVED", "SECONDARY", "SCREEN SAVE"]
    ds.SeriesDescription, ds.BurnedInAnnotation = f"Dose of {patient.name}", "YES"
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.PixelData = pixels.tobytes()
    ds["PixelData"].VR = "OB"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = archive / "incoming" / "screens" / "capture.dcm"
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    code = Reason.SECONDARY_CAPTURE
    return [_file(archive, path, code, "", patient.patient_id)]


def write_junk(archive: Path) -> list[Expected]:
    """What gathers in folders: a thumbnail cache, a note, an empty file, a header and no more."""
    incoming = archive / "incoming"
    incoming.mkdir(parents=True, exist_ok=True)
    noise = generator(0, 0, Stream.HAZARD).bytes(700)
    meta = b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\x00"
    class_uid = b"\x08\x00\x16\x00UI\x1a\x00" + str(CTImageStorage).encode() + b"\x00"
    contents = {
        "Thumbs.db": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504), None),
        "readme.txt": (b"Exported by the archive. Ask the desk.\n", None),
        "IM000000": (b"", Reason.EMPTY_FILE),
        "damaged.dcm": (
            bytes(128) + b"DICM" + meta + class_uid + noise,
            Reason.DICOM_HEADER_DAMAGED,
        ),
    }
    for name, (content, _) in contents.items():
        (incoming / name).write_bytes(content)
    return [_file(archive, incoming / name, code, "") for name, (_, code) in contents.items()]


def _file(
    archive: Path, path: Path, code: Reason | None, modality: str, patient: str = ""
) -> Expected:
    where = path.relative_to(archive).as_posix()
    end = ends(code) if code else "IGNORED"
    return Expected("file", where, "", patient, modality, end, code or "", 1, "")
