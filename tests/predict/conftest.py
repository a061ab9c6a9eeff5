"""A CT as DICOM on an oblique grid, and run folders with tiny networks of random weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
import yaml
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from medssl.models.build import build_classifier, build_segmenter
from medssl.models.config import SegResNetConfig
from medssl.models.weights import save_weights
from medssl.transfer.task_config import ClassificationTask, SegmentationTask

PATIENT = "Untold^Wilhelmine"
PATIENT_ID = "MRN-7730415"
SIZE = (16, 16, 16)


@dataclass(frozen=True)
class Ct:
    """`values` in HU, (slices, rows, columns); `affine` leads their index to RAS millimetres."""

    values: np.ndarray
    affine: np.ndarray


@pytest.fixture
def write_ct() -> Callable[..., Ct]:
    """Write a CT of one file a slice, turned by 20 degrees, files in no order of their names."""

    def write(folder: Path, seed: int = 0, shape: tuple[int, int, int] = (13, 20, 26)) -> Ct:
        rng = np.random.default_rng(seed)
        grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
        ball = ((grid - rng.uniform(-0.3, 0.3, (3, 1, 1, 1))) ** 2).sum(axis=0) < 0.3
        values = np.rint(rng.normal(-300, 60, shape) + 500 * ball).astype(np.int16)
        turn = np.deg2rad(20)
        row = np.array([np.cos(turn), np.sin(turn), 0.0])
        column = np.array([-np.sin(turn), np.cos(turn), 0.0])
        first = rng.uniform(-100, 100, 3)
        series, study, frame = (generate_uid() for _ in range(3))
        folder.mkdir(parents=True)
        for k in range(shape[0]):
            ds = Dataset()
            ds.PatientName, ds.PatientID = PATIENT, PATIENT_ID
            ds.PatientBirthDate, ds.PatientSex = "19410307", "F"
            ds.StudyInstanceUID, ds.SeriesInstanceUID = study, series
            ds.FrameOfReferenceUID, ds.SOPInstanceUID = frame, generate_uid()
            ds.SOPClassUID, ds.Modality = CTImageStorage, "CT"
            ds.StudyDate, ds.StudyTime = "20200101", "101010"
            ds.StudyID = "number-too-long-for-SH"
            ds.SeriesNumber, ds.InstanceNumber = 3, k + 1
            ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
            ds.Rows, ds.Columns = shape[1:]
            ds.PixelSpacing, ds.SliceThickness = [1.25, 1.5], 2
            ds.ImageOrientationPatient = [round(float(x), 10) for x in (*row, *column)]
            position = first + np.array([0, 0, 2.0 * k])
            ds.ImagePositionPatient = [round(float(x), 6) for x in position]
            ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
            ds.BitsAllocated = ds.BitsStored = 16
            ds.HighBit, ds.PixelRepresentation = 15, 1
            ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, 0, "HU"
            ds.PixelData = values[k].tobytes()
            ds.file_meta = FileMetaDataset()
            ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
            ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
            ds.save_as(folder / f"{(k * 7) % shape[0]:03}.dcm", enforce_file_format=True)
        affine = np.eye(4)
        affine[:3] = np.diag([-1.0, -1.0, 1.0]) @ np.column_stack(
            [[0, 0, 2.0], column * 1.25, row * 1.5, first]
        )
        return Ct(values, affine)

    return write


@pytest.fixture
def write_run() -> Callable[..., Path]:
    """Write what prediction needs of a finished fine-tuning run."""

    def write(
        run: Path,
        classes: tuple[str, ...] = ("1", "3"),
        spacing_mm: float | None = None,
        classify: bool = False,
        seed: int = 0,
        channels: tuple[str, ...] = (),
        units: tuple[str, ...] = (),
    ) -> Path:
        torch.manual_seed(seed)
        model = SegResNetConfig(init_filters=4, blocks_down=(1, 1))
        task = ClassificationTask(label="size") if classify else SegmentationTask(mask="tumour")
        in_channels = len(channels) or 1
        about = {
            "model": model.model_dump_json(),
            "in_channels": str(in_channels),
            "channels": json.dumps(channels or None),
            "task": task.model_dump_json(),
            "classes": json.dumps(classes),
            "units": json.dumps(units),
        }
        if classify:
            network = build_classifier(model, in_channels, len(classes), SIZE, 0.2)
        else:
            network = build_segmenter(model, in_channels, len(classes) + 1, SIZE)
            with torch.no_grad():  # as it is drawn it may call all voxels one class
                average = network(torch.randn(1, in_channels, *SIZE)).mean(dim=(0, 2, 3, 4))
                network.head.bias -= average
        save_weights(run / "checkpoints" / "model.safetensors", network, about)
        settings = {"augment": {"patch": {"size": list(SIZE), "spacing_mm": spacing_mm}}}
        (run / "config.yaml").write_text(yaml.safe_dump(settings))
        return run

    return write


def in_world(mask: np.ndarray, affine: np.ndarray) -> set[tuple[int, ...]]:
    """Value and place, in hundredths of a millimetre, of each labelled voxel."""
    index = np.argwhere(mask)
    places = np.rint((index @ affine[:3, :3].T + affine[:3, 3]) * 100).astype(int)
    return {(int(mask[tuple(i)]), *map(int, p)) for i, p in zip(index, places, strict=True)}


def frames_in_world(path: Path, values: tuple[int, ...]) -> set[tuple[int, ...]]:
    """The same of a DICOM SEG, by its frames' own attributes."""
    ds = pydicom.dcmread(path)
    shared = ds.SharedFunctionalGroupsSequence[0]
    row, column = np.reshape(shared.PlaneOrientationSequence[0].ImageOrientationPatient, (2, 3))
    down, along = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    pixels = ds.pixel_array.reshape(-1, ds.Rows, ds.Columns)
    found: set[tuple[int, ...]] = set()
    for frame, groups in zip(pixels, ds.PerFrameFunctionalGroupsSequence, strict=True):
        owner = groups if "SegmentIdentificationSequence" in groups else shared
        number = owner.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        lps = np.zeros((3, 4))
        lps[:, 1], lps[:, 2] = column * down, row * along
        lps[:, 3] = groups.PlanePositionSequence[0].ImagePositionPatient
        ras = np.diag([-1.0, -1.0, 1.0]) @ lps
        found |= in_world(frame[None] * values[number - 1], ras)
    return found
