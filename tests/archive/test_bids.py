"""The suffix of a BIDS name says the contrast; any other name says nothing."""

from __future__ import annotations

import pytest

from medssl.archive.bids import bids_contrast


@pytest.mark.parametrize(
    ("relative", "contrast"),
    [
        ("sub-01/anat/sub-01_T1w.nii.gz", "T1"),
        ("data/sub-01/ses-2/anat/sub-01_ses-2_acq-x_FLAIR.nii", "FLAIR"),
        ("sub-01/dwi/sub-01_dir-AP_dwi.nii.gz", "DWI"),
        ("sub-01/func/sub-01_task-rest_bold.nii.gz", "BOLD"),
        ("sub-01/anat/sub-01_T2starw.nii.gz", "T2STAR"),
        ("sub-01/fmap/sub-01_phasediff.nii.gz", "FIELDMAP"),
        ("sub-01/anat/sub-01_T1map.nii.gz", "OTHER"),
        ("sub-01/anat/sub-01_something.nii.gz", ""),
        ("images/patient_T1w.nii.gz", ""),
        ("sub-01/anat/T1w.nii.gz", ""),
    ],
)
def test_contrast(relative: str, contrast: str) -> None:
    assert bids_contrast(relative) == contrast
