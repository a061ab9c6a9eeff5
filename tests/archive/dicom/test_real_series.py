"""Real series against the NIfTI that others made of them."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medssl.archive.dicom import Unreadable, group_by_series, read_header, read_series
from medssl.archive.reasons import Reason
from medssl.archive.scan import Judged, Rejection, Scan
from medssl.volume import Volume

pytestmark = pytest.mark.real


def judge(*paths: Path) -> list[Judged]:
    """Every judgement over the DICOM files under some folders."""
    headers = []
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and not file.name.endswith((".nii", ".gz", ".json")):
                headers.append(read_header(file))
    return [j for group in group_by_series(headers) for j in read_series(group)]


def volume_of(scan: Scan) -> Volume:
    return Volume(scan.rescale.apply(scan.stored), scan.affine, scan.modality, scan.units).to_ras()


def references(path: Path) -> list[Volume]:
    """The volumes of a NIfTI, one for each time point."""
    image = nib.load(path)
    values = np.asarray(image.dataobj, dtype=np.float64)
    if values.ndim == 3:
        values = values[..., None]
    return [
        Volume(values[..., t].astype(np.float32), image.affine).to_ras()
        for t in range(values.shape[-1])
    ]


def assert_equal_in_world(found: Volume, expected: Volume) -> None:
    """Equal numbers at equal places; PET within one float32 step, since the twins were multiplied
    in float32."""
    assert found.shape == expected.shape
    np.testing.assert_allclose(found.corners_mm(), expected.corners_mm(), atol=0.1)
    if found.modality == "PT":
        np.testing.assert_array_max_ulp(found.voxels, expected.voxels, maxulp=1)
    else:
        np.testing.assert_array_equal(found.voxels, expected.voxels)


def test_sarcoma_gives_24_volumes_that_equal_their_nifti_twins(real_data: Path) -> None:
    compared = 0
    kinds: Counter[str] = Counter()
    for folder in sorted((real_data / "sarcoma/dicom").glob("STS_*/*")):
        judged = judge(folder)
        scans = [j for j in judged if isinstance(j, Scan)]
        refused = [j for j in judged if isinstance(j, Rejection)]
        assert [r.reason for r in refused] == [Reason.RT_STRUCTURE_SET], folder
        assert len(scans) == 1
        scan = scans[0]
        assert scan.corrections == ()
        kinds[f"{scan.modality} {scan.units}"] += 1
        twin = real_data / "sarcoma/nifti" / folder.parent.name / f"{folder.name}_image.nii.gz"
        if twin.exists():
            assert_equal_in_world(volume_of(scan), references(twin)[0])
            compared += 1
    assert kinds == {"CT HU": 8, "MR arbitrary": 8, "PT SUV": 8}
    assert compared == 16


def test_raw_pet_becomes_suv_by_its_header(real_data: Path) -> None:
    judged = judge(real_data / "sarcoma/raw_pet/STS_001/image")
    assert len(judged) == 1
    scan = judged[0]
    assert isinstance(scan, Scan)
    assert (scan.units, scan.stored.shape, scan.corrections) == ("SUV", (267, 128, 128), ())
    # 71 kg; 388.777472 MBq at 10:35:00, half-life 6588 s, scan from 11:20:11.
    factor = 71_000 / (3.88777472e8 * 2 ** (-(45 * 60 + 11) / 6588))
    header = read_header(scan.source.files[0])
    assert np.asarray(scan.rescale.slope)[0] == pytest.approx(header.frames[0].slope * factor)


def test_raw_pet_agrees_with_the_published_suv_of_the_same_scan(real_data: Path) -> None:
    """The cropped series of the same patient states SUV itself (GML)."""
    raw = judge(real_data / "sarcoma/raw_pet/STS_001/image")[0]
    published = judge(real_data / "sarcoma/dicom/STS_001/PET/image")[0]
    assert isinstance(raw, Scan)
    assert isinstance(published, Scan)
    whole, part = volume_of(raw), volume_of(published)
    corner = np.linalg.inv(whole.affine) @ np.append(part.corners_mm()[0], 1)
    start = np.rint(corner[:3]).astype(int)
    np.testing.assert_allclose(corner[:3], start, atol=0.05)
    cut = whole.voxels[tuple(slice(a, a + n) for a, n in zip(start, part.shape, strict=True))]
    np.testing.assert_allclose(cut, part.voxels, rtol=1e-3, atol=1e-3)


SERIES = {
    "dcm_qa_nih/In/20180918GE/mr_0004": "dcm_qa_nih/Ref/DCM2NIIX_regression_test_4.nii",
    "dcm_qa_nih/In/20180918GE/mr_0005": "dcm_qa_nih/Ref/DCM2NIIX_regression_test_5.nii",
    "dcm_qa_nih/In/20180918GE/mr_0006": "dcm_qa_nih/Ref/DCM2NIIX_regression_test_6.nii",
    "dcm_qa_nih/In/20180918GE/mr_0007": "dcm_qa_nih/Ref/DCM2NIIX_regression_test_7.nii",
    "dcm_qa_nih/In/20180918Si/mr_0003": "dcm_qa_nih/Ref/EPI_PE=AP_3.nii",
    "dcm_qa_nih/In/20180918Si/mr_0004": "dcm_qa_nih/Ref/EPI_PE=PA_4.nii",
    "dcm_qa_nih/In/20180918Si/mr_0005": "dcm_qa_nih/Ref/EPI_PE=RL_5.nii",
    "dcm_qa_nih/In/20180918Si/mr_0006": "dcm_qa_nih/Ref/EPI_PE=LR_6.nii",
    "dcm_qa_enh/In/Siemens/XA10": "dcm_qa_enh/Ref/Siemens_REST1_w_SMS_PF7-8_6.nii",
    "dicom2nifti/ge/anatomical/001": "dicom2nifti/ge/anatomical/001_ground_truth.nii.gz",
    "dicom2nifti/ge/anatomical/001_implicit": (
        "dicom2nifti/ge/anatomical/001_implicit_ground_truth.nii.gz"
    ),
    "dicom2nifti/siemens/anatomical/001": "dicom2nifti/siemens/anatomical/001_ground_truth.nii.gz",
    "dicom2nifti/siemens/anatomical/001_implicit": (
        "dicom2nifti/siemens/anatomical/001_implicit_ground_truth.nii.gz"
    ),
    "dicom2nifti/generic/compressed_j2k/001": (
        "dicom2nifti/generic/compressed_j2k/001_ground_truth.nii.gz"
    ),
    **{f"dcm_qa_ts/In/{n}.dcm": f"dcm_qa_ts/Ref/{n}.nii" for n in range(1, 10)},
}


@pytest.mark.parametrize("series", SERIES)
def test_suite_series_equal_their_reference(real_data: Path, series: str) -> None:
    suites = real_data / "dicom_suites"
    scans = judge(suites / series)
    expected = references(suites / SERIES[series])
    assert all(isinstance(s, Scan) for s in scans)
    assert len(scans) == len(expected)
    ordered = sorted(scans, key=lambda s: int(re.sub(r"\D", "", s.source.part) or 0))
    for scan, reference in zip(ordered, expected, strict=True):
        assert isinstance(scan, Scan)
        assert scan.corrections == ()
        assert_equal_in_world(volume_of(scan), reference)


def test_philips_field_map_and_magnitude_lie_apart(real_data: Path) -> None:
    """The reference of the magnitude has Philips' private slope, a constant factor; ours has the
    display values. dcm2niix rounds the slope of the field map to float32."""
    suite = real_data / "dicom_suites/dcm_qa_enh"
    field_map, magnitude = judge(suite / "In/Philips")
    assert isinstance(field_map, Scan)
    assert isinstance(magnitude, Scan)
    expected = references(suite / "Ref/Philips_WIP_B0_NS_801_e2_fieldmaphz.nii")[0]
    found = volume_of(field_map)
    np.testing.assert_allclose(found.corners_mm(), expected.corners_mm(), atol=0.1)
    np.testing.assert_allclose(found.voxels, expected.voxels, atol=0.01)
    image = nib.load(suite / "Ref/Philips_WIP_B0_NS_801_e1.nii")
    stored = Volume(np.asarray(image.dataobj.get_unscaled()), image.affine).to_ras()
    ours = Volume(magnitude.stored, magnitude.affine).to_ras()
    np.testing.assert_allclose(ours.corners_mm(), stored.corners_mm(), atol=0.1)
    np.testing.assert_array_equal(ours.voxels, stored.voxels)
    assert magnitude.rescale.slope == 1.27985347985347
    floating = volume_of(magnitude).voxels / (magnitude.rescale.slope * magnitude.private_slope)
    scaled = references(suite / "Ref/Philips_WIP_B0_NS_801_e1.nii")[0].voxels
    np.testing.assert_allclose(floating, scaled, rtol=1e-5)
    assert Reason.PRIVATE_SCALE_RECORDED in magnitude.notes


@pytest.mark.parametrize(
    ("series", "reason"),
    [
        ("dicom2nifti/failing/sliceincrement/001", Reason.MISSING_SLICE),
        ("dicom2nifti/generic/rgb/001", Reason.SECONDARY_CAPTURE),
        ("dicom2nifti/ge/anatomical/001_single_slice", Reason.SINGLE_SLICE),
    ],
)
def test_what_is_refused_has_its_own_reason(real_data: Path, series: str, reason: Reason) -> None:
    judged = judge(real_data / "dicom_suites" / series)
    assert judged
    assert {j.reason for j in judged if isinstance(j, Rejection)} == {reason}
    assert not [j for j in judged if isinstance(j, Scan)]


def test_nine_encodings_of_one_image_are_one_image(real_data: Path) -> None:
    (scan,) = judge(real_data / "dicom_suites/dcm_qa_ts/In")
    assert isinstance(scan, Scan)
    assert scan.corrections == (Reason.DUPLICATE_DROPPED,)


def test_other_files_are_told_apart(real_data: Path) -> None:
    for name in ("dicom_suites/dcm_qa_ts/LICENSE", "dicom_suites/dcm_qa_ts/Ref/1.nii"):
        with pytest.raises(Unreadable) as caught:
            read_header(real_data / name)
        assert caught.value.reason is Reason.UNKNOWN_FORMAT


ENDS = {
    **{f"dicom_suites/dcm_qa_nih/In/20180918GE/mr_000{n}": {"EXACT": 10} for n in range(4, 8)},
    **{f"dicom_suites/dcm_qa_nih/In/20180918Si/mr_000{n}": {"EXACT": 2} for n in range(3, 7)},
    "dicom_suites/dcm_qa_enh/In/Philips": {"EXACT": 2},
    "dicom_suites/dcm_qa_enh/In/Siemens/XA10": {"EXACT": 4},
    "dicom_suites/dcm_qa_ts/In": {"DUPLICATE_DROPPED": 1},
    "dicom_suites/dicom2nifti/failing/sliceincrement/001": {"MISSING_SLICE": 1},
    "dicom_suites/dicom2nifti/ge/anatomical/001": {"EXACT": 1},
    "dicom_suites/dicom2nifti/ge/anatomical/001_implicit": {"EXACT": 1},
    "dicom_suites/dicom2nifti/ge/anatomical/001_single_slice": {"SINGLE_SLICE": 1},
    "dicom_suites/dicom2nifti/generic/compressed_j2k/001": {"EXACT": 1},
    "dicom_suites/dicom2nifti/generic/rgb/001": {"SECONDARY_CAPTURE": 4},
    "dicom_suites/dicom2nifti/siemens/anatomical/001": {"EXACT": 1},
    "dicom_suites/dicom2nifti/siemens/anatomical/001_implicit": {"EXACT": 1},
    **{
        f"sarcoma/dicom/STS_{patient}/{kind}/{part}": {end: 1}
        for patient in ("001", "002", "003", "006", "008", "009", "011", "012")
        for kind in ("CT", "MR_T1", "PET")
        for part, end in (("image", "EXACT"), ("mask", "label"))
    },
    "sarcoma/raw_pet/STS_001/image": {"EXACT": 1},
    "sarcoma/raw_pet/STS_001/mask": {"label": 1},
}


def test_every_series_comes_to_the_end_that_the_table_says(real_data: Path) -> None:
    """All folders with DICOM in them: what is refused stands here too, so that no refusal hides."""
    found: dict[str, dict[str, int]] = {}
    for suite in ("dicom_suites", "sarcoma/dicom", "sarcoma/raw_pet"):
        for path in sorted((real_data / suite).rglob("*")):
            if path.is_file():
                place = path.parent.relative_to(real_data).as_posix()
                found.setdefault(place, {})
    for place in list(found):
        headers = []
        for path in sorted((real_data / place).iterdir()):
            if path.is_file() and path.read_bytes()[128:132] == b"DICM":
                headers.append(read_header(path))
        ends: Counter[str] = Counter(label=sum(h.label is not None for h in headers))
        for group in group_by_series([h for h in headers if h.label is None]):
            for item in read_series(group):
                codes = item.corrections if isinstance(item, Scan) else (item.reason,)
                ends["+".join(codes) or "EXACT"] += 1
        found[place] = dict(+ends)
    assert {place: ends for place, ends in found.items() if ends} == ENDS
