"""Real DICOM: segmentations lie where the masks lie, and a validator accepts them."""

from __future__ import annotations

import csv
import shutil
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path

import highdicom
import nibabel as nib
import numpy as np
import pytest

from medssl.archive.dicom import read_header
from medssl.archive.dicom.series import read_series
from medssl.archive.scan import Scan
from medssl.export.dicom_seg import Algorithm, write_segmentation
from medssl.predict.config import PredictConfig
from medssl.predict.predict import predict

from .conftest import frames_in_world, in_world


@pytest.mark.real
def test_sarcoma_in_dicom_gets_segmentations_in_place(
    real_data: Path, tmp_path: Path, write_run: Callable[..., Path]
) -> None:
    run, out = write_run(tmp_path / "run", ("1",), spacing_mm=6.0), tmp_path / "out"
    given = real_data / "sarcoma" / "dicom" / "STS_002"
    assert predict(PredictConfig(run=run, input=given, out=out)).predicted == 3
    with (out / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["input"] for row in rows] == ["CT/image", "MR_T1/image", "PET/image"]
    for row in rows:
        image = nib.load(out / row["mask"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            volume = highdicom.seg.segread(out / row["seg"]).get_volume(combine_segments=True)
        to_ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
        index = np.linalg.inv(image.affine) @ to_ras @ _homogeneous(np.argwhere(volume.array))
        np.testing.assert_allclose(index, np.rint(index), atol=0.01)
        theirs = {tuple(place) for place in np.rint(index[:3]).astype(int).T}
        ours = {tuple(place) for place in np.argwhere(np.asarray(image.dataobj))}
        assert ours
        assert theirs == ours
        dciodvfy = shutil.which("dciodvfy")
        if dciodvfy is not None:
            command = [dciodvfy, "-new", str(out / row["seg"])]
            told = subprocess.run(command, capture_output=True, text=True)
            lines = (told.stdout + told.stderr).splitlines()
            assert "Segmentation" in lines
            assert not [line for line in lines if line.startswith("Error")]


@pytest.mark.real
def test_an_enhanced_file_of_many_frames_is_segmented_in_place(
    real_data: Path, tmp_path: Path
) -> None:
    """Its spacing stands frame by frame, and it holds two volumes."""
    file = real_data / "dicom_suites" / "dcm_qa_enh" / "In" / "Philips" / "IM_0027_fMAP.dcm"
    scans = [scan for scan in read_series([read_header(file)]) if isinstance(scan, Scan)]
    assert len(scans) == 2
    for scan in scans:
        mask = (scan.stored > np.percentile(scan.stored, 80)).astype(np.uint8) * 2
        path = tmp_path / "seg.dcm"
        write_segmentation(
            path, [file], mask, scan.affine, {2: "bright"}, Algorithm("threshold", "0" * 64)
        )
        assert mask.any()
        assert frames_in_world(path, (2,)) == in_world(mask, scan.affine)


def _homogeneous(index: np.ndarray) -> np.ndarray:
    return np.vstack([index.T, np.ones(len(index))])
