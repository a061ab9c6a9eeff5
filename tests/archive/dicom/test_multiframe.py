"""Enhanced multi-frame images by their functional groups."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from medssl.archive.dicom import group_by_series, read_header, read_series
from medssl.archive.reasons import Reason
from medssl.archive.scan import Judged, Rejection, Scan
from medssl.archive.whole import Lost

ENHANCED = {
    "CT": "1.2.840.10008.5.1.4.1.1.2.1",
    "MR": "1.2.840.10008.5.1.4.1.1.4.1",
    "PT": "1.2.840.10008.5.1.4.1.1.130",
}


def item(**values: Any) -> Dataset:
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def one(**values: Any) -> Sequence:
    return Sequence([item(**values)])


@pytest.fixture
def judge_enhanced(
    tmp_path: Path, make_series: Callable[..., Any]
) -> Callable[[Dataset], list[Judged]]:
    """Write one enhanced data set and judge it."""
    from pydicom.dataset import FileDataset, FileMetaDataset

    def judge(ds: Dataset) -> list[Judged]:
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
            ds.SOPClassUID,
            ds.SOPInstanceUID,
        )
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = tmp_path / "enhanced"
        FileDataset(str(path), ds, file_meta=meta, preamble=b"\0" * 128).save_as(
            path, enforce_file_format=True
        )
        (group,) = group_by_series([read_header(path)])
        return read_series(group)

    return judge


def enhanced(modality: str, frames: list[Dataset], shared: Dataset, **values: Any) -> Dataset:
    voxels = np.arange(len(frames) * 20).reshape(len(frames), 4, 5).astype(np.int16)
    return item(
        SOPClassUID=ENHANCED[modality],
        SOPInstanceUID=generate_uid(),
        StudyInstanceUID="1.2.3",
        SeriesInstanceUID="1.2.3.4",
        FrameOfReferenceUID="1.2.3.5",
        PatientID="P1",
        Modality=modality,
        ImageType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
        InstanceNumber=1,
        Rows=4,
        Columns=5,
        NumberOfFrames=len(frames),
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        BitsAllocated=16,
        BitsStored=16,
        HighBit=15,
        PixelRepresentation=1,
        PixelData=voxels.tobytes(),
        SharedFunctionalGroupsSequence=Sequence([shared]),
        PerFrameFunctionalGroupsSequence=Sequence(frames),
        **values,
    )


def shared_groups(**more: Any) -> Dataset:
    return item(
        PlaneOrientationSequence=one(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
        PixelMeasuresSequence=one(PixelSpacing=[0.5, 0.7], SliceThickness=9),
        **more,
    )


def frame_groups(z: float, **more: Any) -> Dataset:
    return item(PlanePositionSequence=one(ImagePositionPatient=[1, 2, z]), **more)


def scans_of(judged: list[Judged]) -> list[Scan]:
    assert all(isinstance(j, Scan) for j in judged), judged
    return [j for j in judged if isinstance(j, Scan)]


JudgeEnhanced = Callable[[Dataset], list[Judged]]


def test_rescale_in_the_shared_groups_of_a_ct_is_applied(judge_enhanced: JudgeEnhanced) -> None:
    rescale = one(RescaleSlope=1, RescaleIntercept=-1024, RescaleType="HU")
    ds = enhanced(
        "CT",
        [frame_groups(z) for z in (4.0, 1.0, 7.0)],
        shared_groups(PixelValueTransformationSequence=rescale),
    )
    (scan,) = scans_of(judge_enhanced(ds))
    assert (scan.units, scan.modality, scan.corrections) == ("HU", "CT", ())
    values = scan.rescale.apply(scan.stored)
    assert values[0, 0, 0] == 20 - 1024  # the second frame lies lowest
    assert values[:, 0, 0].tolist() == [20 - 1024, 0 - 1024, 40 - 1024]
    np.testing.assert_allclose(np.diag(scan.affine[:3, 2::-1]), [-0.7, -0.5, 3.0])


def test_rescale_of_each_frame(judge_enhanced: JudgeEnhanced) -> None:
    frames = [
        frame_groups(
            z, PixelValueTransformationSequence=one(RescaleSlope=1 + z, RescaleIntercept=0)
        )
        for z in (2.0, 1.0)
    ]
    ds = enhanced("PT", frames, shared_groups(), Units="BQML")
    (scan,) = scans_of(judge_enhanced(ds))
    assert (scan.units, scan.modality) == ("BQML", "PT")
    assert np.asarray(scan.rescale.slope).tolist() == [2.0, 3.0]
    assert scan.stored[:, 0, 0].tolist() == [20, 0]


def test_temporal_positions_and_stacks_are_split(judge_enhanced: JudgeEnhanced) -> None:
    frames = [
        frame_groups(z, FrameContentSequence=one(StackID=stack, TemporalPositionIndex=t))
        for stack, low in (("1", 0.0), ("2", 100.0))
        for t in (1, 2)
        for z in (low, low + 2, low + 4)
    ]
    scans = scans_of(judge_enhanced(enhanced("MR", frames, shared_groups())))
    assert len(scans) == 4
    assert len({s.source.part for s in scans}) == 4
    assert sorted(s.stored[0, 0, 0] // 20 for s in scans) == [0, 3, 6, 9]
    assert all(s.stored.shape == (3, 4, 5) for s in scans)


def test_echoes_and_frame_types_are_split(judge_enhanced: JudgeEnhanced) -> None:
    frames = [
        frame_groups(
            z,
            MREchoSequence=one(EffectiveEchoTime=echo),
            MRImageFrameTypeSequence=one(
                FrameType=["ORIGINAL", "PRIMARY", "T1", "NONE"], ComplexImageComponent=component
            ),
        )
        for echo in (5.0, 10.0)
        for component in ("MAGNITUDE", "PHASE")
        for z in (0.0, 3.0)
    ]
    scans = scans_of(judge_enhanced(enhanced("MR", frames, shared_groups())))
    assert sorted(s.stored[0, 0, 0] // 20 for s in scans) == [0, 2, 4, 6]


def test_diffusion_frames_are_split(judge_enhanced: JudgeEnhanced) -> None:
    def diffusion(b: float, direction: list[float] | None) -> Sequence:
        group = item(DiffusionBValue=b)
        if direction:
            group.DiffusionGradientDirectionSequence = one(DiffusionGradientOrientation=direction)
        return Sequence([group])

    frames = [
        frame_groups(z, MRDiffusionSequence=diffusion(b, direction))
        for b, direction in ((0.0, None), (800.0, [1.0, 0, 0]), (800.0, [0, 1.0, 0]))
        for z in (0.0, 3.0)
    ]
    scans = scans_of(judge_enhanced(enhanced("MR", frames, shared_groups())))
    assert sorted(s.stored[0, 0, 0] // 20 for s in scans) == [0, 2, 4]


def test_a_projection_frame_is_left_out_and_listed(judge_enhanced: JudgeEnhanced) -> None:
    def kind(technique: str) -> Sequence:
        return one(
            FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
            VolumeBasedCalculationTechnique=technique,
        )

    frames = [
        frame_groups(z, CTImageFrameTypeSequence=kind("MAX_IP" if z > 6 else "NONE"))
        for z in (0.0, 3.0, 6.0, 9.0)
    ]
    judged = judge_enhanced(enhanced("CT", frames, shared_groups()))
    assert [j.stored.shape[0] for j in judged if isinstance(j, Scan)] == [3]
    (rejection,) = [j for j in judged if isinstance(j, Rejection)]
    assert (rejection.reason, rejection.detail) == (Reason.PROJECTION, "1 of 4 frames")


def test_more_frames_than_functional_groups_is_refused(judge_enhanced: JudgeEnhanced) -> None:
    ds = enhanced("MR", [frame_groups(0.0), frame_groups(2.0)], shared_groups())
    ds.NumberOfFrames = 3
    ds.PixelData += ds.PixelData[:40]
    judged = judge_enhanced(ds)
    assert {j.reason for j in judged if isinstance(j, Rejection)} == {
        Reason.PIXEL_FORMAT_INVALID,
        Reason.MISSING_SLICE,
    }


def test_a_gap_between_frames_is_seen(judge_enhanced: JudgeEnhanced) -> None:
    ds = enhanced("MR", [frame_groups(z) for z in (0.0, 2.0, 6.0, 8.0)], shared_groups())
    (rejection,) = judge_enhanced(ds)
    assert isinstance(rejection, Rejection)
    assert rejection.reason is Reason.MISSING_SLICE


def test_a_damaged_file_beside_a_file_that_is_whole_in_itself_costs_nothing(
    judge_enhanced: JudgeEnhanced, tmp_path: Path
) -> None:
    ds = enhanced("MR", [frame_groups(z) for z in (0.0, 2.0, 4.0)], shared_groups())
    assert isinstance(judge_enhanced(ds)[0], Scan)
    header = read_header(tmp_path / "enhanced")
    beside = Lost(beside=(tmp_path / "enhancee",))
    assert isinstance(read_series([header], lost=beside)[0], Scan)
    (rejection,) = read_series([header], lost=Lost(certain=1))
    assert isinstance(rejection, Rejection)
    assert rejection.reason is Reason.MISSING_SLICE
