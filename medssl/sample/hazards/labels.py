"""Hazards of labels: NIfTI masks in the layouts of data sets, DICOM SEG and RTSTRUCT."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from medssl.archive.reasons import Reason
from medssl.sample.dicom import add_identity, decimals
from medssl.sample.hazards.clean import COLUMN_MM, ORIGIN, ROW_MM, STEP_MM, Clean, write_file
from medssl.sample.hazards.hazard import Hazard, exact, mask, refused
from medssl.sample.hazards.multiframe import item
from medssl.sample.hazards.nifti import (
    AFFINE,
    SHAPE,
    image,
    nifti_bytes,
    packed,
    write_scan,
)
from medssl.sample.hazards.place import Place
from medssl.volume import Affine, Array

MAPPED = "structures: {hazard lump: 1}"
MAPPED_BOTH = "structures: {hazard lump: 1, hazard core: 2}"
_NAME = "Hazard lump"
_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"

# --- NIfTI masks ----------------------------------------------------------------------------------


def _write_mask(place: Place, relative: str, classes: Array, affine: Affine = AFFINE) -> None:
    content = nifti_bytes(classes.astype(np.uint8), affine)
    place.put(relative, packed(content) if relative.endswith(".gz") else content)


def _pair(place: Place, scan: str, label: str, part: str = "") -> Array:
    """A scan, its mask in another file, and the truth of both; returns the mask."""
    values = write_scan(place, scan, part)
    classes = (values > 1200).astype(np.uint8) + (values > 1800)
    _write_mask(place, label, classes)
    place.true_mask(classes, AFFINE)
    return np.asarray(classes)


def bids(place: Place) -> None:
    """BIDS, with the masks among the derivatives."""
    place.put("dataset_description.json", b'{"Name": "hazard", "BIDSVersion": "1.8.0"}\n')
    place.put("participants.tsv", b"participant_id\nsub-701\nsub-702\n")
    for subject in ("sub-701", "sub-702"):
        _pair(
            place,
            f"{subject}/anat/{subject}_T1w.nii.gz",
            f"derivatives/lumps/{subject}/anat/{subject}_label-lump_dseg.nii.gz",
            subject,
        )


def decathlon(place: Place) -> None:
    cases = ["lump_711", "lump_712"]
    listed = [{"image": f"./imagesTr/{c}.nii.gz", "label": f"./labelsTr/{c}.nii.gz"} for c in cases]
    place.put("dataset.json", json.dumps({"name": "lump", "training": listed}).encode())
    for case in cases:
        _pair(place, f"imagesTr/{case}.nii.gz", f"labelsTr/{case}.nii.gz", case)
    write_scan(place, "imagesTs/lump_713.nii.gz", "test")


def nnunet(place: Place) -> None:
    place.put("dataset.json", b'{"channel_names": {"0": "CT"}, "labels": {"background": 0}}')
    for case in ("lump_721", "lump_722"):
        _pair(place, f"imagesTr/{case}_0000.nii.gz", f"labelsTr/{case}.nii.gz", case)


def plain(place: Place) -> None:
    """Masks beside their scans."""
    for case in ("case731", "case732"):
        _pair(place, f"data/{case}_image.nii.gz", f"data/{case}_mask.nii.gz", case)


def partners_missing(place: Place) -> None:
    """One pair, a scan without mask, a mask without scan."""
    classes = _pair(place, "images/case741.nii.gz", "labels/case741.nii.gz", "pair")
    write_scan(place, "images/case742.nii.gz", "alone")
    _write_mask(place, "labels/case743.nii.gz", classes)


def other_grid(place: Place) -> None:
    """A mask stored from right to left: the same places, another grid."""
    values = write_scan(place, "images/case751.nii.gz")
    classes = (values > 1200).astype(np.uint8)
    flipped = AFFINE.copy()
    flipped[0] = [-2.0, 0, 0, AFFINE[0, 3] + 2.0 * (SHAPE[0] - 1)]
    _write_mask(place, "labels/case751.nii.gz", classes[::-1], flipped)
    place.true_mask(classes, AFFINE)


def elsewhere(place: Place) -> None:
    """A mask half a metre away from its scan."""
    values = write_scan(place, "images/case761.nii.gz")
    away = AFFINE.copy()
    away[0, 3] += 500
    _write_mask(place, "labels/case761.nii.gz", values > 1200, away)


def fractions(place: Place) -> None:
    """A mask of probabilities."""
    values = write_scan(place, "images/case771.nii.gz")
    content = nifti_bytes((values / 4000).astype(np.float32))
    place.put("labels/case771.nii.gz", packed(content))


def two_masks(place: Place) -> None:
    """Two masks for one scan: neither is taken."""
    values = write_scan(place, "images/case781.nii.gz")
    for folder, threshold in (("labels", 1200), ("masks", 1800)):
        _write_mask(place, f"{folder}/case781.nii.gz", values > threshold)


def mask_among_images(place: Place) -> None:
    """A label map among the scans, under a name that does not say so."""
    write_scan(place, "scans/case791.nii.gz")
    classes = (image(place) > 1200).astype(np.uint8) * 3
    _write_mask(place, "scans/shape.nii.gz", classes)
    place.truth(classes, AFFINE)


# --- DICOM SEG and RTSTRUCT -----------------------------------------------------------------------


def segmentation(place: Place) -> None:
    """A SEG of one segment on a CT; its frames run from head to feet."""
    series = Clean(place).expect()
    classes = series.values > 400
    place.true_mask(classes, series.affine)
    _write_segmentation(series, classes)


def segmentation_alone(place: Place) -> None:
    """A SEG whose CT is not in the archive."""
    series = Clean(place)
    for path in _write_segmentation(series, series.values > 400):
        path.unlink()


def segmentation_fractional(place: Place) -> None:
    """A SEG of probabilities from 0.1 to 0.9: the segment is where they reach one half."""
    series = Clean(place).expect()
    shares = np.clip((series.values + 400) / 1600, 0.1, 0.9).round(1)
    shares[shares == 0.5] = 0.6  # half of 255 is no whole number
    place.true_mask(shares > 0.5, series.affine)
    _write_segmentation(series, shares)


def _write_segmentation(series: Clean, classes: Array) -> list[Path]:
    """The series, and a SEG of one segment: of true and false, or of shares from 0 to 1."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    paths = series.write()
    described = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label=_NAME,
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Mass,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
    )
    place, shares = series.place, classes.dtype.kind == "f"
    kind = np.float32 if shares else np.uint8
    made = hd.seg.Segmentation(
        source_images=[pydicom.dcmread(path) for path in reversed(paths)],
        pixel_array=np.ascontiguousarray(classes[::-1]).astype(kind),
        segmentation_type=hd.seg.SegmentationTypeValues["FRACTIONAL" if shares else "BINARY"],
        fractional_type=hd.seg.SegmentationFractionalTypeValues.PROBABILITY,
        segment_descriptions=[described],
        series_instance_uid=place.uid("series", "seg"),
        series_number=700,
        sop_instance_uid=place.uid("instance", "seg"),
        instance_number=1,
        manufacturer="Sample Scanners",
        manufacturer_model_name="Sample",
        software_versions="1",
        device_serial_number="1",
        omit_empty_frames=True,
    )
    made.save_as(place.folder / "SEG")
    return paths


def structure_set(place: Place) -> None:
    """Contours of a block with a hole, drawn between the voxels' centres."""
    series = Clean(place).expect()
    series.write()
    classes = np.zeros(series.values.shape, np.uint8)
    classes[3:7, 5:16, 4:14] = 1
    classes[3:7, 9:12, 7:10] = 0
    place.true_mask(classes, series.affine)
    contours = [
        points
        for k in range(3, 7)
        for points in (_rectangle(k, (5, 16), (4, 14)), _rectangle(k, (9, 12), (7, 10)))
    ]
    _write_structure_set([series], {_NAME: contours})


def structure_set_overlap(place: Place) -> None:
    """Two ROIs that share voxels."""
    series = Clean(place).expect()
    series.write()
    classes = np.zeros(series.values.shape, np.uint8)
    classes[3:7, 5:16, 4:14] = 1
    classes[3:7, 9:20, 7:18] = 2
    place.true_mask(classes, series.affine)
    lump = [_rectangle(k, (5, 16), (4, 14)) for k in range(3, 7)]
    core = [_rectangle(k, (9, 20), (7, 18)) for k in range(3, 7)]
    _write_structure_set([series], {"Hazard core": core, _NAME: lump})


def structure_set_other_frame(place: Place) -> None:
    series = Clean(place).expect()
    series.write()
    _write_structure_set([series], {_NAME: _block()}, frame=place.uid("other frame"))


def structure_set_off_slice(place: Place) -> None:
    """Contours 40 mm above the last slice."""
    series = Clean(place).expect()
    series.write()
    above = [_rectangle(9 + 40 / STEP_MM, (5, 16), (4, 14))]
    _write_structure_set([series], {_NAME: above})


def structure_set_open(place: Place) -> None:
    """Lines that are not closed."""
    series = Clean(place).expect()
    series.write()
    _write_structure_set([series], {_NAME: _block()}, kind="OPEN_PLANAR")


def structure_set_two_series(place: Place) -> None:
    """Drawn on two series at once."""
    series = [Clean(place, part=name).expect() for name in ("one", "two")]
    series[1].set(SeriesInstanceUID=place.uid("series", "two"))
    for n, one in enumerate(series):
        one.write(name=f"S{n}_{{:04d}}")
    _write_structure_set(series, {_NAME: _block()})


def _block() -> list[list[str]]:
    return [_rectangle(k, (5, 16), (4, 14)) for k in range(3, 7)]


def _rectangle(k: float, rows: tuple[int, int], columns: tuple[int, int]) -> list[str]:
    """The outline of voxels start to stop of slice k, along their edges, LPS mm."""
    (top, bottom), (left, right) = rows, columns
    corners = [(top, left), (top, right), (bottom, right), (bottom, left)]
    points = [
        (
            ORIGIN[0] + (column - 0.5) * COLUMN_MM,
            ORIGIN[1] + (row - 0.5) * ROW_MM,
            ORIGIN[2] + k * STEP_MM,
        )
        for row, column in corners
    ]
    return decimals(np.array(points))


def _write_structure_set(
    series: Sequence[Clean],
    drawn: Mapping[str, Iterable[list[str]]],
    frame: str = "",
    kind: str = "CLOSED_PLANAR",
) -> None:
    """Contours of each ROI by its name, drawn on all of `series`."""
    place, first = series[0].place, series[0].slices[0]
    frame = frame or place.uid("frame")
    study = item(
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",
        ReferencedSOPInstanceUID=first.StudyInstanceUID,
        RTReferencedSeriesSequence=Items(_referenced(one) for one in series),
    )
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = _STRUCTURE_SET, place.uid("instance", "structures")
    add_identity(ds, place.patient, "CT")
    ds.StudyInstanceUID = first.StudyInstanceUID
    ds.SeriesInstanceUID = place.uid("series", "structures")
    ds.Modality, ds.SeriesNumber, ds.StructureSetLabel = "RTSTRUCT", 701, "STRUCTURES"
    ds.ReferencedFrameOfReferenceSequence = Items(
        [item(FrameOfReferenceUID=frame, RTReferencedStudySequence=Items([study]))]
    )
    ds.StructureSetROISequence = Items(
        item(ROINumber=n, ROIName=name, ReferencedFrameOfReferenceUID=frame,
             ROIGenerationAlgorithm="MANUAL")
        for n, name in enumerate(drawn, 1)
    )  # fmt: skip
    ds.ROIContourSequence = Items(
        item(ReferencedROINumber=n, ContourSequence=_contours(contours, kind))
        for n, contours in enumerate(drawn.values(), 1)
    )
    ds.RTROIObservationsSequence = Items(
        item(ObservationNumber=n, ReferencedROINumber=n, RTROIInterpretedType="GTV")
        for n in range(1, len(drawn) + 1)
    )
    write_file(place.folder / "STRUCTURES", ds)


def _referenced(series: Clean) -> Dataset:
    images = Items(
        item(ReferencedSOPClassUID=ds.SOPClassUID, ReferencedSOPInstanceUID=ds.SOPInstanceUID)
        for ds in series.slices
    )
    return item(SeriesInstanceUID=series.slices[0].SeriesInstanceUID, ContourImageSequence=images)


def _contours(contours: Iterable[list[str]], kind: str) -> Items:
    return Items(
        item(ContourGeometricType=kind, NumberOfContourPoints=len(points) // 3, ContourData=points)
        for points in contours
    )


_NOT_MAPPED = (exact(), refused(Reason.LABEL_NOT_MAPPED))
_PAIRS = (exact(2), mask(number=2))

HAZARDS = (
    Hazard("bids", "BIDS with masks among the derivatives", bids, _PAIRS, ignored=2),
    Hazard("decathlon", "imagesTr, labelsTr, imagesTs and dataset.json", decathlon,
           (exact(3), mask(number=2)), ignored=1),
    Hazard("nnunet", "nnU-Net: a channel number in the image's name", nnunet, _PAIRS, ignored=1),
    Hazard("masks-beside-images", "case_image beside case_mask", plain, _PAIRS),
    Hazard("partners-missing", "a pair, a scan without mask, a mask without scan",
           partners_missing,
           (exact(2), mask(), refused(Reason.IMAGE_WITHOUT_LABEL),
            refused(Reason.LABEL_WITHOUT_IMAGE))),
    Hazard("mask-on-other-grid", "a mask stored from right to left", other_grid,
           (exact(), mask(Reason.LABEL_RESAMPLED))),
    Hazard("mask-elsewhere", "a mask 500 mm away from its scan", elsewhere,
           (exact(), refused(Reason.LABEL_GRID_MISMATCH))),
    Hazard("mask-of-fractions", "a mask of probabilities", fractions,
           (exact(), refused(Reason.LABEL_NOT_INTEGER))),
    Hazard("two-masks", "two masks for one scan", two_masks,
           (exact(), refused(Reason.LABEL_AMBIGUOUS, 2))),
    Hazard("mask-among-images", "a label map among the scans", mask_among_images,
           (exact(2), refused(Reason.IMAGE_LOOKS_LIKE_LABEL))),
    Hazard("segmentation", "a DICOM SEG on a CT", segmentation, _NOT_MAPPED,
           under=((MAPPED, (exact(), mask())),)),
    Hazard("segmentation-alone", "a DICOM SEG without its CT", segmentation_alone,
           (refused(Reason.LABEL_WITHOUT_IMAGE),)),
    Hazard("segmentation-fractional", "a DICOM SEG of probabilities", segmentation_fractional,
           _NOT_MAPPED, under=((MAPPED, (exact(), mask(Reason.LABEL_THRESHOLDED))),)),
    Hazard("structure-set", "an RTSTRUCT with a hole on a CT", structure_set, _NOT_MAPPED,
           under=((MAPPED, (exact(), mask())),)),
    Hazard("structure-set-overlap", "two ROIs that share voxels", structure_set_overlap,
           _NOT_MAPPED,
           under=((MAPPED_BOTH, (exact(), mask(Reason.LABEL_OVERLAP))),)),
    Hazard("structure-set-open", "contours that are not closed", structure_set_open, _NOT_MAPPED,
           under=((MAPPED, (exact(), refused(Reason.LABEL_CONTOUR_INVALID))),)),
    Hazard("structure-set-two-series", "an RTSTRUCT that refers to two series",
           structure_set_two_series, (exact(2), refused(Reason.LABEL_SEVERAL_SERIES))),
    Hazard("structure-set-other-frame", "an RTSTRUCT in another frame of reference",
           structure_set_other_frame, _NOT_MAPPED,
           under=((MAPPED, (exact(), refused(Reason.LABEL_FRAME_DIFFERS))),)),
    Hazard("structure-set-off-slice", "contours 40 mm above the last slice",
           structure_set_off_slice, _NOT_MAPPED,
           under=((MAPPED, (exact(), refused(Reason.LABEL_OFF_SLICE))),)),
)  # fmt: skip
