from __future__ import annotations

import gzip
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medssl.archive.nifti import looks_like_labels, read_nifti
from medssl.archive.reasons import Reason
from medssl.archive.scan import Rejection, Scan

VALUES = (np.arange(6 * 7 * 5) * 37 % 501 - 200).astype(np.int16).reshape(6, 7, 5)
AFFINE = np.array([[0.1, 2, 0, -5], [-1.5, 0, 0.1, 3], [0, 0, 3, 7], [0, 0, 0, 1]], dtype=float)


def one(path: Path, **kwargs: Any) -> Scan:
    (judged,) = read_nifti(path, path.name, **kwargs)
    assert isinstance(judged, Scan), judged
    return judged


def refused(path: Path, **kwargs: Any) -> Rejection:
    (judged,) = read_nifti(path, path.name, **kwargs)
    assert isinstance(judged, Rejection), judged
    return judged


def assert_as_nibabel(scan: Scan, path: Path) -> None:
    image = nib.load(path)
    expected = np.asarray(image.get_fdata(), dtype=np.float32)
    np.testing.assert_array_equal(scan.rescale.apply(scan.stored), expected)
    np.testing.assert_array_equal(scan.affine, image.affine)


@pytest.mark.parametrize(
    "kind",
    ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", ">i2", ">f4"],
)
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("scale", [(0.0, 0.0), (1.0, 0.0), (0.37, -12.5)])
def test_values_and_affine_are_those_of_nibabel(
    tmp_path: Path, write_nifti: Any, kind: str, ending: str, scale: tuple[float, float]
) -> None:
    values = np.abs(VALUES).astype(kind) if "u" in kind else (VALUES / 2).astype(kind)
    path = write_nifti(
        tmp_path / f"x{ending}", values, AFFINE, scl_slope=scale[0], scl_inter=scale[1]
    )
    scan = one(path)
    assert_as_nibabel(scan, path)
    assert scan.corrections == ()
    assert scan.stored.dtype.itemsize <= np.dtype(kind).itemsize or kind in ("u1", "i1")


def test_big_integers_and_doubles_are_the_float32_of_the_float64_product(
    tmp_path: Path, write_nifti: Any
) -> None:
    big = VALUES.astype(np.int64) * 12_345_678_901
    path = write_nifti(tmp_path / "a.nii", big, scl_slope=0.1, scl_inter=3.0)
    assert_as_nibabel(one(path), path)
    path = write_nifti(tmp_path / "b.nii", VALUES * np.pi, scl_slope=1.7, scl_inter=0.3)
    assert_as_nibabel(one(path), path)


def test_whole_floats_become_small_integers(tmp_path: Path, write_nifti: Any) -> None:
    path = write_nifti(tmp_path / "x.nii", np.abs(VALUES % 200).astype(np.float32))
    assert one(path).stored.dtype == np.uint8
    path = write_nifti(tmp_path / "y.nii", VALUES.astype(np.float32) + 0.5)
    assert one(path).stored.dtype == np.float32


def test_nan_and_inf_take_the_smallest_finite_value_and_are_counted(
    tmp_path: Path, write_nifti: Any
) -> None:
    values = VALUES.astype(np.float32)
    values[0, 0, :2] = np.nan
    values[1, 1, 1] = np.inf
    scan = one(write_nifti(tmp_path / "x.nii", values))
    assert scan.corrections == (Reason.NAN_MASKED,)
    assert scan.masked_voxels == 3
    out = scan.rescale.apply(scan.stored)
    lowest = values[np.isfinite(values)].min()
    np.testing.assert_array_equal(out, np.where(np.isfinite(values), values, lowest))
    everywhere = write_nifti(tmp_path / "y.nii", np.full((3, 3, 3), np.nan, np.float32))
    assert refused(everywhere).reason is Reason.NO_FINITE_VOXEL


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"scl_slope": np.nan}, Reason.SCALE_IGNORED),
        ({"scl_slope": np.inf}, Reason.SCALE_IGNORED),
        ({"qform_code": 0, "sform_code": 0}, Reason.AFFINE_UNSTATED),
        ({"qoffset_x": 4.5, "qform_code": 2, "sform_code": 1}, Reason.AFFINE_FORMS_DISAGREE),
        ({"xyzt_units": 1}, Reason.SPATIAL_UNIT_DOUBTFUL),
    ],
)
def test_corrections_are_named(
    tmp_path: Path, write_nifti: Any, fields: dict[str, Any], reason: Reason
) -> None:
    scan = one(write_nifti(tmp_path / "x.nii", VALUES, **{"qform_code": 2, **fields}))
    assert scan.corrections == (reason,)
    np.testing.assert_array_equal(scan.stored, VALUES)


def test_the_sform_goes_before_the_qform_and_the_qform_before_nothing(
    tmp_path: Path, write_nifti: Any
) -> None:
    both = write_nifti(tmp_path / "a.nii", VALUES, AFFINE, qform_code=1, sform_code=2, qoffset_x=90)
    assert_as_nibabel(one(both), both)
    q_alone = write_nifti(tmp_path / "b.nii", VALUES, qform_code=1, sform_code=0, qoffset_x=9)
    assert_as_nibabel(one(q_alone), q_alone)
    neither = write_nifti(tmp_path / "c.nii", VALUES, qform_code=0, sform_code=0)
    assert_as_nibabel(one(neither), neither)


def test_micrometres_become_millimetres(tmp_path: Path, write_nifti: Any) -> None:
    path = write_nifti(
        tmp_path / "x.nii", VALUES, np.diag([500.0, 500, 700, 1]), xyzt_units=3, qform_code=0
    )
    scan = one(path)
    assert scan.corrections == (Reason.SPATIAL_UNIT_CONVERTED,)
    np.testing.assert_allclose(np.diag(scan.affine), [0.5, 0.5, 0.7, 1.0])


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"scl_slope": 2.0, "scl_inter": np.nan}, Reason.NIFTI_HEADER_INVALID),
        ({"srow_x": [0, 0, 0, 0]}, Reason.AFFINE_INVALID),
        ({"srow_x": [np.nan, 0, 0, 0]}, Reason.AFFINE_INVALID),
        ({"srow_x": [0] * 4, "srow_y": [0] * 4, "srow_z": [0] * 4}, Reason.AFFINE_INVALID),
        ({"sform_code": 0, "qform_code": 1, "quatern_b": 7}, Reason.AFFINE_INVALID),
        ({"sform_code": 0, "qform_code": 1, "pixdim": [1, 0, 1, 1, 1, 1, 1, 1]},
         Reason.AFFINE_INVALID),
        ({"sform_code": 1, "qform_code": 1, "qoffset_x": 40}, Reason.AFFINE_FORMS_CONFLICT),
        ({"dim": [3, 6, 7, 6, 1, 1, 1, 1]}, Reason.NIFTI_TRUNCATED),
        ({"dim": [3, 6, 0, 5, 1, 1, 1, 1]}, Reason.NIFTI_HEADER_INVALID),
        ({"dim": [9, 6, 7, 5, 1, 1, 1, 1]}, Reason.NIFTI_HEADER_INVALID),
        ({"dim": [3, -6, 7, 5, 1, 1, 1, 1]}, Reason.NIFTI_HEADER_INVALID),
        ({"dim": [3, 30000, 30000, 30000, 1, 1, 1, 1]}, Reason.TOO_LARGE),
        ({"dim": [2, 6, 35, 1, 1, 1, 1, 1]}, Reason.NOT_THREE_D),
        ({"dim": [5, 6, 7, 1, 1, 5, 1, 1]}, Reason.NOT_THREE_D),
        ({"vox_offset": 1e9}, Reason.NIFTI_TRUNCATED),
        ({"vox_offset": 3e38}, Reason.NIFTI_HEADER_INVALID),
        ({"vox_offset": 100}, Reason.NIFTI_HEADER_INVALID),
        ({"vox_offset": np.nan}, Reason.NIFTI_HEADER_INVALID),
        ({"bitpix": 8}, Reason.NIFTI_HEADER_INVALID),
        ({"datatype": 77}, Reason.NIFTI_HEADER_INVALID),
        ({"magic": b"n+3"}, Reason.NIFTI_HEADER_INVALID),
        ({"sform_code": 255}, Reason.AFFINE_INVALID),
        ({"qform_code": -3}, Reason.AFFINE_INVALID),
    ],
)  # fmt: skip
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_what_cannot_be_believed_is_refused(
    tmp_path: Path, write_nifti: Any, ending: str, fields: dict[str, Any], reason: Reason
) -> None:
    assert refused(write_nifti(tmp_path / f"x{ending}", VALUES, **fields)).reason is reason


@pytest.mark.parametrize("code", [(32, 64), (128, 24), (2304, 32), (1792, 128)])
def test_rgb_and_complex_are_no_scans(
    tmp_path: Path, write_nifti: Any, code: tuple[int, int]
) -> None:
    path = write_nifti(tmp_path / "x.nii", VALUES, datatype=code[0], bitpix=code[1])
    assert refused(path).reason is Reason.NOT_SCALAR


def test_every_truncation_is_caught(tmp_path: Path, write_nifti: Any) -> None:
    for ending in (".nii", ".nii.gz"):
        whole = write_nifti(tmp_path / f"x{ending}", VALUES).read_bytes()
        for cut in range(352 if ending == ".nii" else 40, len(whole), 17):
            path = tmp_path / f"cut{ending}"
            path.write_bytes(whole[:cut])
            assert refused(path).reason is Reason.NIFTI_TRUNCATED, cut


def test_damage_in_compressed_data_is_caught(tmp_path: Path, write_nifti: Any) -> None:
    whole = write_nifti(tmp_path / "x.nii.gz", VALUES).read_bytes()
    path = tmp_path / "bad.nii.gz"
    for at in range(10, len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 0x55
        path.write_bytes(damaged)
        assert refused(path).reason.group == "quarantined", at
        if at >= len(whole) - 8:
            assert refused(path).reason is Reason.NIFTI_CRC_WRONG


def test_trailing_bytes_are_named_and_ignored(tmp_path: Path, write_nifti: Any) -> None:
    for ending in (".nii", ".nii.gz"):
        scan = one(write_nifti(tmp_path / f"x{ending}", VALUES, extra=b"abc" * 40))
        assert scan.corrections == (Reason.NIFTI_TRAILING_BYTES,)
        np.testing.assert_array_equal(scan.stored, VALUES)
    path = tmp_path / "tail.nii.gz"
    path.write_bytes(write_nifti(tmp_path / "y.nii.gz", VALUES).read_bytes() + b"garbage")
    assert one(path).corrections == (Reason.NIFTI_TRAILING_BYTES,)


def test_gzip_in_several_members_is_read(tmp_path: Path, write_nifti: Any) -> None:
    data = write_nifti(tmp_path / "x.nii", VALUES).read_bytes()
    path = tmp_path / "x.nii.gz"
    path.write_bytes(
        b"".join(gzip.compress(data[at : at + 100]) for at in range(0, len(data), 100))
    )
    scan = one(path)
    assert scan.corrections == ()
    np.testing.assert_array_equal(scan.stored, VALUES)


def test_a_gzip_bomb_costs_no_memory(tmp_path: Path, write_nifti: Any) -> None:
    squeeze = zlib.compressobj(9, wbits=31)
    content = write_nifti(tmp_path / "x.nii", VALUES).read_bytes()
    parts = [squeeze.compress(content)]
    parts += [squeeze.compress(bytes(1 << 20)) for _ in range(300)]
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(b"".join([*parts, squeeze.flush()]))
    tracemalloc.start()
    assert refused(path).reason is Reason.NIFTI_OVERLONG
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


def test_four_dimensions_are_split_over_time(tmp_path: Path, write_nifti: Any) -> None:
    values = np.stack([VALUES, VALUES + 1, VALUES * 2], axis=-1)
    path = write_nifti(tmp_path / "x.nii", values)
    scans = read_nifti(path, "x.nii")
    assert [s.source.part for s in scans] == ["time=0", "time=1", "time=2"]
    for t, scan in enumerate(scans):
        assert isinstance(scan, Scan)
        np.testing.assert_array_equal(scan.stored, values[..., t])
    single = write_nifti(tmp_path / "y.nii", VALUES[..., None])
    assert one(single).source.part == ""


def test_one_slice_with_its_spacing_is_a_volume(tmp_path: Path, write_nifti: Any) -> None:
    assert one(write_nifti(tmp_path / "x.nii", VALUES[:, :, :1])).stored.shape == (6, 7, 1)


def test_header_and_image_in_two_files(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Pair(VALUES, AFFINE), tmp_path / "x.img")
    scan = one(tmp_path / "x.hdr")
    np.testing.assert_array_equal(scan.stored, VALUES)
    assert len(scan.source.files) == 2
    (tmp_path / "x.img").unlink()
    assert refused(tmp_path / "x.hdr").reason is Reason.NIFTI_PAIR_INCOMPLETE


def test_label_maps_look_other_than_scans(scan_values: Any) -> None:
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[4:12, 4:12, 4:12] = 1
    labels[12:16, 4:12, 4:12] = 2
    assert looks_like_labels(labels)
    assert looks_like_labels(labels.astype(np.float32))
    assert not looks_like_labels(scan_values())
    assert not looks_like_labels((scan_values() / 4).astype(np.uint8))
    assert not looks_like_labels(labels * 0.5)
    assert not looks_like_labels(np.zeros_like(labels))


@pytest.mark.filterwarnings("ignore")
def test_no_header_whatever_makes_the_reader_raise(tmp_path: Path, write_nifti: Any) -> None:
    whole = write_nifti(tmp_path / "x.nii", VALUES, qform_code=1).read_bytes()
    path = tmp_path / "y.nii"
    rng = np.random.Generator(np.random.Philox(7))
    taken = 0
    for _ in range(1500):
        damaged = bytearray(whole)
        for at in rng.integers(4, 344, size=rng.integers(1, 4)):
            damaged[at] = rng.integers(0, 256)
        path.write_bytes(damaged)
        for judged in read_nifti(path, "y.nii", max_voxels=10_000):
            if isinstance(judged, Scan):
                taken += 1
                assert np.isfinite(judged.affine).all()
                assert np.isfinite(judged.rescale.apply(judged.stored)).all()
    assert taken > 300


def test_extensions_have_to_end_where_the_voxels_begin(tmp_path: Path) -> None:
    """An offset that is wrong by a little would shift every voxel."""
    image = nib.Nifti1Image(VALUES, np.diag([2.0, 1.5, 3.0, 1.0]))
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"x" * 40))
    data = bytearray(image.to_bytes())
    path = tmp_path / "x.nii"
    path.write_bytes(data)
    assert_as_nibabel(one(path), path)
    offset = float(nib.Nifti1Header(bytes(data[:348]))["vox_offset"])
    for wrong in (offset - 2, offset - 16, 352.0):
        data[108:112] = np.float32(wrong).tobytes()
        path.write_bytes(data)
        assert refused(path).reason is Reason.NIFTI_HEADER_INVALID


def test_line_ends_that_were_converted_are_refused(tmp_path: Path) -> None:
    data = bytearray(nib.Nifti2Image(VALUES, np.eye(4)).to_bytes())
    path = tmp_path / "x.nii"
    path.write_bytes(data)
    assert_as_nibabel(one(path), path)
    data[8:12] = b"\n\n\x1a\n"
    path.write_bytes(data)
    assert refused(path).reason is Reason.NIFTI_HEADER_INVALID
