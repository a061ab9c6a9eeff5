"""Hazards of NIfTI files: affines, sizes, compression, numbers."""

from __future__ import annotations

import gzip
import zlib
from typing import Any

import nibabel as nib
import numpy as np

from medssl.archive.reasons import Reason
from medssl.sample.hazards.clean import lump
from medssl.sample.hazards.hazard import Hazard, corrected, exact, refused
from medssl.sample.hazards.place import Place
from medssl.volume import Affine, Array

SHAPE = (12, 14, 10)
AFFINE: Affine = np.array(
    [[2.0, 0, 0, -11.0], [0, 1.5, 0, -10.0], [0, 0, 3.0, 40.0], [0, 0, 0, 1.0]]
)


def image(place: Place, part: str = "", shape: tuple[int, int, int] = SHAPE) -> Array:
    """Values of a small scan, int16."""
    return lump(place, part, shape).astype(np.int16)


def nifti_bytes(values: Array, affine: Affine = AFFINE, **fields: Any) -> bytes:
    """A NIfTI-1 file; header fields by keyword, never repaired."""
    made = nib.Nifti1Image(values, affine, dtype=values.dtype)
    made.header.set_xyzt_units("mm")
    content = bytearray(made.to_bytes())
    header = nib.Nifti1Header(bytes(content[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    content[:348] = header.binaryblock
    return bytes(content)


def write_scan(place: Place, relative: str, part: str = "", **fields: Any) -> Array:
    """A scan, packed where its name says so, and its truth; returns its values."""
    values = image(place, part)
    content = nifti_bytes(values, **fields)
    place.put(relative, packed(content) if relative.endswith(".gz") else content)
    place.truth(values, AFFINE)
    return values


def packed(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


# --- affines --------------------------------------------------------------------------------------


def clean(place: Place) -> None:
    write_scan(place, "scan_a.nii.gz", "a")
    write_scan(place, "scan_b.nii", "b")


def forms_disagree(place: Place) -> None:
    """The qform lies 5 mm aside, under another code."""
    write_scan(place, "scan.nii.gz", sform_code=2, qform_code=1, qoffset_x=-6.0)


def forms_conflict(place: Place) -> None:
    """The qform lies 40 mm aside, under the same code."""
    place.put("scan.nii", nifti_bytes(image(place), sform_code=1, qform_code=1, qoffset_x=29.0))


def qform_alone(place: Place) -> None:
    zeros: dict[str, Any] = {f"srow_{axis}": [0.0] * 4 for axis in "xyz"}
    write_scan(place, "scan.nii", sform_code=0, qform_code=1, **zeros)


def no_form(place: Place) -> None:
    """Neither form has a code: readers lay the middle at the origin, the first axis leftwards."""
    values = image(place)
    place.put("scan.nii", nifti_bytes(values, sform_code=0, qform_code=0))
    spacing = np.array([-2.0, 1.5, 3.0])
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -spacing * (np.array(SHAPE) - 1) / 2
    place.truth(values, affine)


def singular(place: Place) -> None:
    place.put("scan.nii", nifti_bytes(image(place), sform_code=1, srow_y=[2.0, 0, 0, -11.0]))


def not_finite(place: Place) -> None:
    place.put("scan.nii", nifti_bytes(image(place), sform_code=1, srow_x=[np.nan, 0, 0, 0]))


def sform_zero(place: Place) -> None:
    zeros: dict[str, Any] = {f"srow_{axis}": [0.0] * 4 for axis in "xyz"}
    place.put("scan.nii.gz", packed(nifti_bytes(image(place), sform_code=1, **zeros)))


def in_metres(place: Place) -> None:
    """Sizes in metres, and the header says so."""
    values, metres = image(place), AFFINE.copy()
    metres[:3] /= 1000
    place.put("scan.nii", nifti_bytes(values, metres, xyzt_units=1))
    place.truth(values, AFFINE)


def metres_by_mistake(place: Place) -> None:
    """Sizes in millimetres, but the header says metres."""
    write_scan(place, "scan.nii", xyzt_units=1)


# --- broken files ---------------------------------------------------------------------------------


def truncated(place: Place) -> None:
    place.put("scan.nii", nifti_bytes(image(place))[:-500])


def truncated_gz(place: Place) -> None:
    content = packed(nifti_bytes(image(place)))
    place.put("scan.nii.gz", content[: len(content) * 3 // 4])


def wrong_crc(place: Place) -> None:
    content = bytearray(packed(nifti_bytes(image(place))))
    content[-6] ^= 0x55
    place.put("scan.nii.gz", bytes(content))


def trailing(place: Place) -> None:
    values = image(place)
    place.put("scan.nii", nifti_bytes(values) + b"more" * 30)
    place.truth(values, AFFINE)


def huge_offset(place: Place) -> None:
    place.put("far.nii", nifti_bytes(image(place), vox_offset=1e9))
    place.put("nowhere.nii", nifti_bytes(image(place), vox_offset=3e38))


def huge_dims(place: Place) -> None:
    sizes = [3, 30000, 30000, 30000, 1, 1, 1, 1]
    place.put("scan.nii", nifti_bytes(image(place), dim=sizes))


def gzip_bomb(place: Place) -> None:
    """A scan, and after it four gigabytes of zeros in four megabytes."""
    packer = zlib.compressobj(9, wbits=31)
    head = packer.compress(nifti_bytes(image(place))) + packer.flush(zlib.Z_FULL_FLUSH)
    zeros = packer.compress(bytes(16 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    place.put("scan.nii.gz", head + zeros * 256 + packer.flush())


def header_alone(place: Place) -> None:
    """A .hdr without its .img."""
    place.put("scan.hdr", nifti_bytes(image(place), magic=b"ni1", vox_offset=0)[:352])


def two_files(place: Place) -> None:
    values = image(place)
    content = nifti_bytes(values, magic=b"ni1", vox_offset=0)
    place.put("scan.hdr", content[:348])
    place.put("scan.img", content[352:])
    place.truth(values, AFFINE)


def other_formats(place: Place) -> None:
    """NRRD, MetaImage and Analyze beside a NIfTI."""
    write_scan(place, "scan.nii")
    place.put("scan.nrrd", b"NRRD0004\ntype: short\ndimension: 3\n\n" + bytes(64))
    place.put("scan.mha", b"ObjectType = Image\nNDims = 3\n" + bytes(64))
    place.put("other.hdr", (348).to_bytes(4, "little") + bytes(344))


# --- numbers --------------------------------------------------------------------------------------


def slope_zero(place: Place) -> None:
    write_scan(place, "scan.nii", scl_slope=0.0, scl_inter=77.0)


def slope_nan(place: Place) -> None:
    write_scan(place, "scan.nii", scl_slope=np.nan, scl_inter=0.0)


def scaled_beyond(place: Place) -> None:
    """16 bit numbers that a slope of 1000 takes far beyond 16 bits."""
    values = image(place)
    place.put("scan.nii", nifti_bytes(values, scl_slope=1000.0, scl_inter=-5.0))
    place.truth(values.astype(np.float64) * 1000 - 5, AFFINE)


def nan_and_inf(place: Place) -> None:
    """Seven voxels that are no numbers: they take the smallest value that is one."""
    values = image(place).astype(np.float32) + np.float32(0.25)
    truth = values.copy()
    holes = np.unravel_index(np.arange(0, 7 * 31, 31), SHAPE)
    truth[holes] = np.delete(truth.ravel(), np.arange(0, 7 * 31, 31)).min()
    values[holes] = [np.nan, np.inf, -np.inf, np.nan, np.nan, np.inf, np.nan]
    place.put("scan.nii.gz", packed(nifti_bytes(values)))
    place.truth(truth, AFFINE)


def all_nan(place: Place) -> None:
    place.put("scan.nii", nifti_bytes(np.full(SHAPE, np.nan, np.float32)))


def rgb(place: Place) -> None:
    kind = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    colours = np.zeros(SHAPE, kind)
    for name in "RGB":
        colours[name] = image(place, name) // 16
    place.put("scan.nii.gz", packed(nifti_bytes(colours)))


def complex_numbers(place: Place) -> None:
    values = image(place) + 1j * image(place, "imaginary")
    place.put("scan.nii", nifti_bytes(values.astype(np.complex64)))


def five_dimensions(place: Place) -> None:
    values = np.stack([image(place, name) for name in "xyz"], axis=-1)
    place.put("warp.nii.gz", packed(nifti_bytes(values[:, :, :, None, :])))


def four_dimensions(place: Place) -> None:
    values = np.stack([image(place, f"time {t}") for t in range(3)], axis=-1)
    place.put("scan.nii.gz", packed(nifti_bytes(values)))
    for t in range(3):
        place.truth(values[..., t], AFFINE)


def big_endian(place: Place) -> None:
    values = image(place)
    swapped = nib.Nifti1Image(values, AFFINE, nib.Nifti1Header(endianness=">"))
    place.put("scan.nii", swapped.to_bytes())
    place.truth(values, AFFINE)


_INVALID = (refused(Reason.AFFINE_INVALID),)
_TRUNCATED = (refused(Reason.NIFTI_TRUNCATED),)

HAZARDS = (
    Hazard("nifti-clean", "two sound files, packed and not", clean, (exact(2),)),
    Hazard("nifti-big-endian", "a big endian file", big_endian, (exact(),)),
    Hazard("nifti-two-files", "header and image in two files", two_files, (exact(),)),
    Hazard("qform-and-sform-disagree", "qform 5 mm aside under another code", forms_disagree,
           (corrected(Reason.AFFINE_FORMS_DISAGREE),)),
    Hazard("qform-and-sform-conflict", "qform 40 mm aside under the same code", forms_conflict,
           (refused(Reason.AFFINE_FORMS_CONFLICT),)),
    Hazard("qform-alone", "no sform, a qform", qform_alone, (exact(),)),
    Hazard("no-affine", "neither sform nor qform has a code", no_form,
           (corrected(Reason.AFFINE_UNSTATED),)),
    Hazard("affine-singular", "two rows of the affine alike", singular, _INVALID),
    Hazard("affine-not-finite", "NaN in the affine", not_finite, _INVALID),
    Hazard("sform-zero", "an sform of zeros with a code", sform_zero, _INVALID),
    Hazard("affine-in-metres", "sizes in metres, and xyzt_units says so", in_metres,
           (corrected(Reason.SPATIAL_UNIT_CONVERTED),)),
    Hazard("affine-not-in-metres", "sizes in millimetres, but xyzt_units says metres",
           metres_by_mistake, (corrected(Reason.SPATIAL_UNIT_DOUBTFUL),)),
    Hazard("nii-truncated", "the last 500 bytes are gone", truncated, _TRUNCATED),
    Hazard("nii-gz-truncated", "the last quarter of the packed file is gone", truncated_gz,
           _TRUNCATED),
    Hazard("nii-gz-wrong-crc", "the checksum of the packed data is wrong", wrong_crc,
           (refused(Reason.NIFTI_CRC_WRONG),)),
    Hazard("nii-trailing-bytes", "120 bytes after the last voxel", trailing,
           (corrected(Reason.NIFTI_TRAILING_BYTES),)),
    Hazard("vox-offset-huge", "vox_offset 1e9 in one file, 3e38 in the other", huge_offset,
           (*_TRUNCATED, refused(Reason.NIFTI_HEADER_INVALID))),
    Hazard("dims-huge", "a header of 30,000 x 30,000 x 30,000 voxels", huge_dims,
           (refused(Reason.TOO_LARGE),)),
    Hazard("gzip-bomb", "four gigabytes of zeros after the last voxel, in four megabytes",
           gzip_bomb, (refused(Reason.NIFTI_OVERLONG),)),
    Hazard("hdr-without-img", "a header without its image", header_alone,
           (refused(Reason.NIFTI_PAIR_INCOMPLETE),)),
    Hazard("other-formats", "NRRD, MetaImage and Analyze beside a NIfTI", other_formats,
           (exact(), refused(Reason.FORMAT_NOT_READ, 3))),
    Hazard("scl-slope-zero", "scl_slope 0, which means no scaling", slope_zero, (exact(),)),
    Hazard("scl-slope-nan", "scl_slope NaN", slope_nan, (corrected(Reason.SCALE_IGNORED),)),
    Hazard("scaled-beyond-16-bits", "a slope of 1000 on 16 bit numbers", scaled_beyond,
           (exact(),)),
    Hazard("nan-and-inf", "seven voxels NaN or infinite", nan_and_inf,
           (corrected(Reason.NAN_MASKED),)),
    Hazard("all-nan", "every voxel NaN", all_nan, (refused(Reason.NO_FINITE_VOXEL),)),
    Hazard("rgb-nifti", "RGB voxels", rgb, (refused(Reason.NOT_SCALAR),)),
    Hazard("complex-nifti", "complex voxels", complex_numbers, (refused(Reason.NOT_SCALAR),)),
    Hazard("five-dimensions", "a field of vectors, five dimensions", five_dimensions,
           (refused(Reason.NOT_THREE_D),)),
    Hazard("four-dimensions", "three time points in one file", four_dimensions, (exact(3),)),
)  # fmt: skip
