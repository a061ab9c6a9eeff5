"""What medssl keeps of a DICOM header: small, picklable, without pixels."""

from __future__ import annotations

import errno
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pydicom
from pydicom.config import disable_value_validation
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from medssl.archive.dicom import elements
from medssl.archive.dicom.deflated import inflated_if_deflated
from medssl.archive.dicom.facts import facts_of
from medssl.archive.dicom.frames import Frame, classic_frame, enhanced_frames, mosaic_frames
from medssl.archive.dicom.ignored import PHILIPS_TAGS, ignored_of
from medssl.archive.dicom.kinds import (
    ENHANCED_CLASSES,
    is_mosaic,
    modality_of,
    reason_not_an_image,
)
from medssl.archive.dicom.label_reference import (
    LABEL_CLASSES,
    LabelReference,
    label_reference,
)
from medssl.archive.dicom.mosaic import Mosaic, mosaic_of
from medssl.archive.dicom.padding import Padding, padding_of
from medssl.archive.dicom.parse import Wanted, parse_header
from medssl.archive.dicom.pet import PetHeader, pet_header
from medssl.archive.dicom.unreadable import Unreadable as Unreadable
from medssl.archive.reasons import Reason
from medssl.archive.scan import Facts

_MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
_PIXEL_TAGS = frozenset({(0x7FE0, 0x0008), (0x7FE0, 0x0009), (0x7FE0, 0x0010)})


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """How the pixels lie in the file (PS3.3 C.7.6.3).

    `offset` is where the PixelData element begins, None where it cannot be pointed at (deflated);
    `present` whether the file reaches that far; `signed` is None where PixelRepresentation is
    absent or neither 0 nor 1.
    """

    rows: int
    columns: int
    frames: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool | None
    photometric: str
    transfer_syntax: str
    offset: int | None
    present: bool

    @property
    def num_voxels(self) -> int:
        return self.rows * self.columns * self.frames

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the decoded pixels."""
        return np.dtype(f"{'i' if self.signed else 'u'}{self.bits_allocated // 8}")

    @property
    def num_bytes(self) -> int:
        """Size of the decoded pixels, all frames."""
        bits = self.rows * self.columns * self.frames * self.samples * self.bits_allocated
        return (bits + 7) // 8


@dataclass(frozen=True, slots=True)
class Header:
    """One file: who, which series, which kind, how its pixels lie, and its frames.

    `label` says which series a SEG or RTSTRUCT belongs to; None for all other objects.
    """

    path: Path
    patient: tuple[str, str]
    study: str
    series: str
    instance: str
    sop_class: str
    frame_of_reference: str
    instance_number: int | None
    burned_in: bool
    pixels: PixelFormat
    frames: tuple[Frame, ...]
    facts: Facts
    declared_slices: int | None = None
    mosaic: Mosaic | None = None
    pet: PetHeader | None = None
    padding: Padding | None = None
    notes: tuple[Reason, ...] = ()
    study_date: str = ""  # DA, or empty
    declared_images: int | None = None  # ImagesInAcquisition
    label: LabelReference | None = None


def read_header(path: Path) -> Header:
    """Read the header of one DICOM file, whatever its name, with or without preamble.

    A data set without preamble and meta header counts as DICOM where it has SOP class, rows and
    pixels. The pixels are not read.

    Raises:
        Unreadable: the file is empty, not DICOM, a DICOMDIR, cut off within its header, or lacks
            the UIDs that place it in a series.
    """
    try:
        with disable_value_validation(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom quotes the value it warns of
            parsed = parse_header(path, _WANTED)
            if parsed is not None:
                return _read(
                    path, parsed.ds, parsed.offset, parsed.pixels, cut_off=not parsed.pixels
                )
            with path.open("rb") as file:
                ds, stream = open_data_set(file)
                offset = stream.tell()
                begin = stream.read(4)
                present = _is_pixel_tag(begin, _transfer_syntax(ds))
                place = offset if stream is file else None
                return _read(path, ds, place, present, cut_off=not begin)
    except OSError as error:
        raise Unreadable(Reason.UNREADABLE_FILE, type(error).__name__) from error


def open_data_set(file: BinaryIO) -> tuple[Dataset, BinaryIO]:
    """The header as a data set, and the stream standing where it ended, at the pixels.

    A deflated data set is inflated as far as it is read.
    """
    start = file.read(132)
    if not start:
        raise Unreadable(Reason.EMPTY_FILE)
    bare = start[128:] != b"DICM"
    if bare and not _may_be_bare(start):
        raise Unreadable(Reason.UNKNOWN_FORMAT)
    file.seek(0)
    try:
        if not bare:
            file = inflated_if_deflated(file)
        ds = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=_TAGS)
    except Unreadable:
        raise
    except Exception as error:  # pydicom raises many kinds for bytes that are no data set
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # of the disk; a seek to nowhere is of the file
        reason = Reason.UNKNOWN_FORMAT if bare else Reason.DICOM_HEADER_DAMAGED
        raise Unreadable(reason, type(error).__name__) from error
    return ds, file


def _read(path: Path, ds: Dataset, offset: int | None, present: bool, cut_off: bool) -> Header:
    """`cut_off`: whether nothing follows the data set, not even pixels."""
    stored_as = elements.text(ds.file_meta, "MediaStorageSOPClassUID")
    sop_class = elements.text(ds, "SOPClassUID") or stored_as
    if sop_class == _MEDIA_DIRECTORY:
        raise Unreadable(Reason.DICOMDIR)
    if not sop_class and len(ds) < 3:
        raise Unreadable(Reason.UNKNOWN_FORMAT)
    instance, study, series = (
        elements.text(ds, k) for k in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
    )
    _check_identified((sop_class, instance, study, series), cut_off)
    modality = modality_of(sop_class)
    unknown = modality is None and reason_not_an_image(sop_class) is Reason.OTHER_DICOM_OBJECT
    if unknown and modality_of(stored_as) is not None:
        raise Unreadable(Reason.DICOM_HEADER_DAMAGED, "stored as an image, but of another class")
    frames: tuple[Frame, ...] = ()
    mosaic = None
    if sop_class in ENHANCED_CLASSES:
        frames = enhanced_frames(ds)
    elif modality is not None:
        whole = classic_frame(ds)
        mosaic = mosaic_of(ds) if is_mosaic(whole.image_type) else None
        frames = mosaic_frames(whole, mosaic) if is_mosaic(whole.image_type) else (whole,)
    pixels = _pixel_format(ds, offset, present)
    return Header(
        path=path,
        patient=(elements.text(ds, "PatientID"), elements.text(ds, "IssuerOfPatientID")),
        study=study,
        series=series,
        instance=instance,
        sop_class=sop_class,
        frame_of_reference=elements.text(ds, "FrameOfReferenceUID"),
        instance_number=elements.integer(ds, "InstanceNumber"),
        burned_in=elements.text(ds, "BurnedInAnnotation").upper() == "YES",
        pixels=pixels,
        frames=frames,
        facts=facts_of(ds, modality),
        declared_slices=elements.integer(ds, "NumberOfSlices") if modality == "PT" else None,
        mosaic=mosaic,
        pet=pet_header(ds) if modality == "PT" else None,
        padding=padding_of(ds, pixels.bits_stored, bool(pixels.signed)) if modality else None,
        notes=ignored_of(ds) if modality else (),
        study_date=elements.study_date(ds),
        declared_images=elements.integer(ds, "ImagesInAcquisition"),
        label=label_reference(path) if sop_class in LABEL_CLASSES else None,
    )


def _check_identified(uids: tuple[str, ...], cut_off: bool) -> None:
    """Raise Unreadable where a file does not say what it is and which series it belongs to."""
    if not all(uids):
        raise Unreadable(Reason.DICOM_HEADER_DAMAGED if cut_off else Reason.DICOM_UID_MISSING)
    if not all(uid.isprintable() for uid in uids):
        raise Unreadable(Reason.DICOM_HEADER_DAMAGED, "UID")  # another element's bytes in it


def _is_pixel_tag(begin: bytes, transfer_syntax: str) -> bool:
    order = ">HH" if transfer_syntax == ExplicitVRBigEndian else "<HH"
    return len(begin) == 4 and struct.unpack(order, begin) in _PIXEL_TAGS


def _pixel_format(ds: Dataset, offset: int | None, present: bool) -> PixelFormat:
    def whole(key: str, default: int = 0) -> int:
        value = elements.integer(ds, key)
        return default if value is None else value

    return PixelFormat(
        rows=whole("Rows"),
        columns=whole("Columns"),
        frames=whole("NumberOfFrames", 1),
        samples=whole("SamplesPerPixel", 1),
        bits_allocated=whole("BitsAllocated"),
        bits_stored=whole("BitsStored"),
        high_bit=whole("HighBit", whole("BitsStored") - 1),
        signed={0: False, 1: True}.get(whole("PixelRepresentation", -1)),
        photometric=elements.text(ds, "PhotometricInterpretation").upper(),
        transfer_syntax=_transfer_syntax(ds),
        offset=offset,
        present=present,
    )


def _transfer_syntax(ds: Dataset) -> str:
    """The stated one, else the encoding that pydicom found in the data set itself."""
    stated = elements.text(ds.file_meta, "TransferSyntaxUID")
    if stated:
        return stated
    implicit, little = ds.original_encoding
    if implicit:
        return str(ImplicitVRLittleEndian)
    return str(ExplicitVRLittleEndian if little else ExplicitVRBigEndian)


def _may_be_bare(start: bytes) -> bool:
    """Whether the first bytes could be a data set without preamble: a tag of group 2 or 8."""
    return start[:2] in (b"\x02\x00", b"\x08\x00") or start[:2] == b"\x00\x08"


_KEYWORDS = (
    "SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID", "StudyDate",
    "SeriesDate", "AcquisitionDate", "SeriesTime", "AcquisitionTime", "Manufacturer",
    "SeriesDescription", "ManufacturerModelName", "PatientID", "IssuerOfPatientID",
    "PatientBirthDate", "PatientSex", "PatientAge", "PatientWeight", "ContrastBolusAgent",
    "BodyPartExamined", "ScanningSequence", "SequenceName", "RepetitionTime", "EchoTime",
    "InversionTime", "MagneticFieldStrength", "ProtocolName", "TriggerTime", "FlipAngle",
    "ConvolutionKernel", "ActualFrameDuration", "DiffusionBValue", "DiffusionGradientOrientation",
    "AcquisitionContrast", "VolumeBasedCalculationTechnique", "StudyInstanceUID",
    "SeriesInstanceUID", "AcquisitionNumber", "InstanceNumber", "ImagePositionPatient",
    "ImageOrientationPatient", "FrameOfReferenceUID", "TemporalPositionIdentifier",
    "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns",
    "PixelSpacing", "CorrectedImage", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "BurnedInAnnotation", "RescaleIntercept", "RescaleSlope",
    "RescaleType", "ModalityLUTSequence", "RadiopharmaceuticalInformationSequence",
    "NumberOfSlices", "Units", "SUVType", "DecayCorrection", "FrameReferenceTime",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    "PixelPaddingValue", "PixelPaddingRangeLimit", "PresentationLUTShape", "VOILUTSequence",
    "PresentationLUTSequence", "RealWorldValueMappingSequence", "ImagesInAcquisition",
)  # fmt: skip
_PRIVATE = (
    *((0x0009, e) for e in (0x0010, 0x100D)),  # GE, date and time of the PET scan
    *((0x0019, e) for e in (0x0010, 0x100A, 0x100C, 0x100E)),  # Siemens, mosaic and diffusion
    *((0x0029, e) for e in (0x0010, 0x0011, 0x1010, 0x1020)),  # Siemens, CSA headers
    *((0x0043, e) for e in (0x0010, 0x1039)),  # GE, diffusion
    *((0x2001, e) for e in (0x0010, 0x1003)),  # Philips, diffusion
    *((0x7053, e) for e in (0x0010, 0x1000, 0x1009)),  # Philips, PET factors
    *PHILIPS_TAGS,  # Philips, MR scale slope
)
_WANTED: Wanted = {
    **{int(elements.tag_of(k)): (elements.tag_of(k), dictionary_VR(k)) for k in _KEYWORDS},
    **{int(elements.tag_of(t)): (elements.tag_of(t), None) for t in _PRIVATE},
}
_TAGS: list[BaseTag] = [*(Tag(k) for k in _KEYWORDS), *(Tag(t) for t in _PRIVATE)]
