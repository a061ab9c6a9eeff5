"""Reading NIfTI-1 and NIfTI-2 files, judged before anything is believed.

The header is parsed by nibabel without its repairs; sizes, checksum and affine are checked here.
Nothing beyond the last voxel that the header names is ever decompressed, so a gzip bomb costs no
memory, and nothing that is missing is ever filled with zeros.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medssl.archive.find import is_nifti_header, stem_of
from medssl.archive.reasons import Reason
from medssl.archive.scan import Judged, Rejection, Scan, Source
from medssl.store.voxels import Rescale
from medssl.volume import Affine, Array, spacing_of

_READ_TYPES = {2, 4, 8, 16, 64, 256, 512, 768, 1024, 1280}  # NIfTI-1 datatype codes: real scalars
_FORM_CODES = range(6)
_TAIL_BYTES = 1 << 20
_MM_PER_UNIT = {1: 1000.0, 3: 0.001}  # xyzt_units: metres, micrometres
_PLAUSIBLE_MM = (0.02, 60.0)


class NiftiFault(Exception):
    """Why a file is not taken; `detail` holds numbers and enums alone."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class NiftiFile:
    """A whole file: (D, H, W, T) numbers as stored, T being 1 but for time series.

    `sha256` is that of the file, and of its .img where it has one.
    """

    raw: Array
    slope: float
    intercept: float
    affine: Affine
    affine_stated: bool
    corrections: tuple[Reason, ...]
    sha256: tuple[str, ...]


def read_nifti(path: Path, relative: str, max_voxels: int = 2**30) -> list[Judged]:
    """The volumes of a NIfTI file: one, or one for each time point; or why it is not taken.

    Voxels that are NaN or infinite take the smallest finite value of their volume (NAN_MASKED).
    Modality and units are OT and arbitrary: the format does not state them.
    """
    single_or_pair = (path, image) if (image := pair_image(path)) else (path,)
    source = Source(single_or_pair, None, "", relative)
    try:
        file = load_nifti(path, max_voxels)
    except NiftiFault as fault:
        return [Rejection(source, "file", fault.reason, fault.detail)]
    source = replace(source, sha256=file.sha256)
    times = file.raw.shape[3]
    return [
        _volume(replace(source, part=f"time={t}" if times > 1 else ""), file, t)
        for t in range(times)
    ]


def load_nifti(path: Path, max_voxels: int = 2**30) -> NiftiFile:
    """Read and check one file (or .hdr and .img).

    Raises:
        NiftiFault: with the reason it is not taken.
        OSError: the file system failed.
    """
    data = path.read_bytes()
    hashes = [hashlib.sha256(data).hexdigest()]
    head = inflate(data[:65536], 544)[0] if data[:2] == b"\x1f\x8b" else data[:544]
    header, offset, single = _parse_header(head)
    shape = _shape_of(header)
    _check_size(shape, max_voxels)
    affine, stated, corrections = _affine_of(header, shape)
    slope, intercept, scale_note = _scale_of(header)
    if not single:
        image = pair_image(path)
        if image is None:
            raise NiftiFault(Reason.NIFTI_PAIR_INCOMPLETE)
        data = image.read_bytes()
        hashes.append(hashlib.sha256(data).hexdigest())
    dtype = header.get_data_dtype()
    size = int(header["sizeof_hdr"])
    wanted = offset + int(np.prod(shape)) * dtype.itemsize
    content, overlong = _content(data, wanted)
    if single and content[size] and (offset > size + 4 or overlong):
        _check_extensions(
            content[size + 4 : offset], "big" if header.endianness == ">" else "little"
        )
    raw = np.frombuffer(content, dtype=dtype, count=int(np.prod(shape)), offset=offset)
    notes = [*corrections, *scale_note, *([Reason.NIFTI_TRAILING_BYTES] if overlong else [])]
    voxels = raw.reshape(shape, order="F")
    return NiftiFile(voxels, slope, intercept, affine, stated, tuple(notes), tuple(hashes))


def inflate(data: bytes, limit: int) -> tuple[bytes, bytes, bool]:
    """Decompress at most `limit` bytes of gzip members: (content, rest of the input, at its end).

    Raises:
        NiftiFault: the input ends early, or its checksum or structure is wrong.
    """
    parts: list[bytes] = []
    room = limit
    while True:
        member = zlib.decompressobj(wbits=31)
        try:
            parts.append(member.decompress(data, room) if room else b"")
        except zlib.error as error:
            raise NiftiFault(Reason.NIFTI_CRC_WRONG) from error
        room -= len(parts[-1])
        if not member.eof:
            if room and not member.unconsumed_tail:
                raise NiftiFault(Reason.NIFTI_TRUNCATED, f"{limit - room} of {limit} bytes")
            return b"".join(parts), data, False
        data = member.unused_data
        if data[:2] != b"\x1f\x8b":
            return b"".join(parts), data, True
        if not room:
            return b"".join(parts), data, False


def _content(data: bytes, wanted: int) -> tuple[bytes, bool]:
    """Exactly checked file content up to its last voxel, and whether bytes follow it."""
    if data[:2] != b"\x1f\x8b":
        if len(data) < wanted:
            raise NiftiFault(Reason.NIFTI_TRUNCATED, f"{len(data)} of {wanted} bytes")
        return data, len(data) > wanted
    content, rest, ended = inflate(data, wanted + _TAIL_BYTES)
    if len(content) < wanted:
        raise NiftiFault(Reason.NIFTI_TRUNCATED, f"{len(content)} of {wanted} bytes")
    if not ended:
        raise NiftiFault(Reason.NIFTI_OVERLONG, f"more than {_TAIL_BYTES} bytes too many")
    return content, len(content) > wanted or bool(rest.strip(b"\0"))


def _check_extensions(content: bytes, order: Literal["little", "big"]) -> None:
    """Raise NiftiFault unless the header's extensions end where the voxels begin.

    Args:
        content: what lies between the header and the voxels. After the last extension only zeros
            may follow.
    """
    at = 0
    while at == 0 or any(content[at:]):
        length = int.from_bytes(content[at : at + 4], order)
        if length < 8 or at + length > len(content):
            raise NiftiFault(
                Reason.NIFTI_HEADER_INVALID, "the extensions do not end where the voxels begin"
            )
        at += length


def pair_image(header_path: Path) -> Path | None:
    """The .img that belongs to a .hdr; None for a NIfTI in one file, or where it is missing."""
    if not header_path.name.lower().endswith((".hdr", ".hdr.gz")):
        return None
    stem = stem_of(header_path.name)
    images = (header_path.parent / f"{stem}{ending}" for ending in (".img", ".img.gz"))
    return next((image for image in images if image.is_file()), None)


def _parse_header(head: bytes) -> tuple[Any, int, bool]:
    """nibabel's header unrepaired, the offset of the voxels, and whether they are in this file."""
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    is_two = 540 in (int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big"))
    kind, size = (Nifti2Header, 540) if is_two else (Nifti1Header, 348)
    if len(head) < size:
        raise NiftiFault(Reason.NIFTI_TRUNCATED, f"{len(head)} bytes of header")
    if not is_nifti_header(head):
        raise NiftiFault(Reason.NIFTI_HEADER_INVALID, "magic")
    header = kind(head[:size], check=False)
    if is_two and tuple(header["eol_check"].tolist()) not in ((13, 10, 26, 10), (0, 0, 0, 0)):
        raise NiftiFault(Reason.NIFTI_HEADER_INVALID, "line ends were converted")
    single = bytes(header["magic"].item())[:2] == b"n+"
    offset = float(header["vox_offset"])
    if not (np.isfinite(offset) and offset == int(offset) and 0 <= offset < 2**40):
        raise NiftiFault(Reason.NIFTI_HEADER_INVALID, "vox_offset is no place in a file")
    if single and offset < size + 4:
        raise NiftiFault(Reason.NIFTI_HEADER_INVALID, f"vox_offset {int(offset)} in the header")
    code = int(header["datatype"])
    if code not in _READ_TYPES:
        known = code in (1, 32, 128, 1536, 1792, 2048, 2304)
        reason = Reason.NOT_SCALAR if known else Reason.NIFTI_HEADER_INVALID
        raise NiftiFault(reason, f"datatype {code}")
    if int(header["bitpix"]) != 8 * header.get_data_dtype().itemsize:
        raise NiftiFault(Reason.NIFTI_HEADER_INVALID, f"bitpix {int(header['bitpix'])}")
    return header, int(offset), single


def _shape_of(header: Any) -> tuple[int, int, int, int]:
    """(D, H, W, T); trailing axes of one voxel are dropped."""
    dims = [int(n) for n in header["dim"]]
    if not 1 <= dims[0] <= 7 or any(n < 1 for n in dims[1 : dims[0] + 1]):
        raise NiftiFault(Reason.NIFTI_HEADER_INVALID, f"dim {dims[0]}: {dims[1 : dims[0] + 1]}")
    sizes = dims[1 : dims[0] + 1]
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    if not 3 <= len(sizes) <= 4 or sum(n > 1 for n in sizes[:3]) < 2:
        raise NiftiFault(Reason.NOT_THREE_D, "x".join(map(str, sizes)))
    x, y, z, *t = sizes
    return x, y, z, t[0] if t else 1


def _check_size(shape: tuple[int, ...], max_voxels: int) -> None:
    if int(np.prod(shape, dtype=object)) > max_voxels:
        raise NiftiFault(Reason.TOO_LARGE, f"{'x'.join(map(str, shape))} voxels")


def _scale_of(header: Any) -> tuple[float, float, list[Reason]]:
    """Slope and intercept; a slope of 0 means none (NIfTI-1, data scaling)."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0:
        return 1.0, 0.0, []
    if not np.isfinite(slope):
        return 1.0, 0.0, [Reason.SCALE_IGNORED]
    if not np.isfinite(intercept):
        raise NiftiFault(Reason.NIFTI_HEADER_INVALID, "scl_inter is not finite")
    return slope, intercept, []


def _affine_of(header: Any, shape: tuple[int, ...]) -> tuple[Affine, bool, list[Reason]]:
    """sform where its code is set, else qform, else the voxel sizes alone (as nibabel)."""
    s_code, q_code = int(header["sform_code"]), int(header["qform_code"])
    for code in (s_code, q_code):
        if code not in _FORM_CODES:
            raise NiftiFault(Reason.AFFINE_INVALID, f"sform_code {s_code}, qform_code {q_code}")
    sform = np.asarray(header.get_sform(), dtype=np.float64) if s_code > 0 else None
    qform = _qform_of(header) if q_code > 0 else None
    notes: list[Reason] = []
    if sform is not None:
        _check_affine(sform)
        affine = sform
        if qform is not None:
            notes += _compare_forms(sform, qform, shape, same_code=s_code == q_code)
    elif q_code > 0:
        if qform is None:
            raise NiftiFault(Reason.AFFINE_INVALID, "qform cannot be computed")
        _check_affine(qform)
        affine = qform
    else:
        affine = np.asarray(header.get_base_affine(), dtype=np.float64)
        _check_affine(affine)
        notes.append(Reason.AFFINE_UNSTATED)
    factor = _MM_PER_UNIT.get(int(header["xyzt_units"]) & 7)
    if factor is not None:
        affine, note = _to_millimetres(affine, factor)
        notes.append(note)
    return affine, s_code > 0 or q_code > 0, notes


def _qform_of(header: Any) -> Affine | None:
    try:
        qform = np.asarray(header.get_qform(), dtype=np.float64)
    except Exception:  # nibabel raises several kinds for quaternions and sizes out of range
        return None
    return qform if np.isfinite(qform).all() else None


def _check_affine(affine: Affine) -> None:
    if not np.isfinite(affine).all():
        raise NiftiFault(Reason.AFFINE_INVALID, "not finite")
    spacing = spacing_of(affine)
    if spacing.min() <= 0 or abs(np.linalg.det(affine[:3, :3] / spacing)) < 1e-3:
        raise NiftiFault(Reason.AFFINE_INVALID, "singular")
    if abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise NiftiFault(Reason.AFFINE_INVALID, "voxels of no volume")


def _compare_forms(
    sform: Affine, qform: Affine, shape: tuple[int, ...], same_code: bool
) -> list[Reason]:
    ends = [(0, n - 1) for n in shape[:3]]
    corners = np.array([[*place, 1] for place in product(*ends)], dtype=np.float64)
    apart = float(np.linalg.norm(((sform - qform) @ corners.T)[:3], axis=0).max())
    if same_code and apart > spacing_of(sform).max():
        raise NiftiFault(Reason.AFFINE_FORMS_CONFLICT, f"{apart:.1f} mm at a corner")
    return [Reason.AFFINE_FORMS_DISAGREE] if apart > 1.0 else []


def _to_millimetres(affine: Affine, factor: float) -> tuple[Affine, Reason]:
    def plausible(matrix: Affine) -> bool:
        spacing = spacing_of(matrix)
        return bool((spacing > _PLAUSIBLE_MM[0]).all() and (spacing < _PLAUSIBLE_MM[1]).all())

    converted = affine.copy()
    converted[:3] *= factor
    if plausible(affine) and not plausible(converted):
        return affine, Reason.SPATIAL_UNIT_DOUBTFUL
    _check_affine(converted)
    return converted, Reason.SPATIAL_UNIT_CONVERTED


def _volume(source: Source, file: NiftiFile, time: int) -> Judged:
    stored, rescale, bad = compact(file.raw[..., time], file.slope, file.intercept)
    if bad == stored.size:
        return Rejection(source, "series", Reason.NO_FINITE_VOXEL)
    notes = (*file.corrections, *((Reason.NAN_MASKED,) if bad else ()))
    return Scan(
        source, stored, rescale, file.affine, "OT", "arbitrary", "NIFTI", notes, masked_voxels=bad
    )


def compact(raw: Array, slope: float, intercept: float) -> tuple[Array, Rescale, int]:
    """The smallest type that keeps every value exactly, its rescale, and the masked voxel count.

    Integers of 8 and 16 bits stay as they are; wider ones and floats become integers of 8 or 16
    bits where that loses nothing, else 32-bit integers or float32. Exact means the float32 of the
    float64 product.
    """
    native: Array = raw.astype(raw.dtype.newbyteorder("="), copy=False)
    if native.dtype.kind in "iu" and _fits_float32(native, slope, intercept):
        if native.dtype.itemsize <= 2:
            return native, Rescale(slope, intercept), 0
        smaller = _as_integers(native, (np.uint8, np.int16, np.uint16, np.int32, np.uint32))
        if smaller is not None:
            return smaller, Rescale(slope, intercept), 0
        values = native.astype(np.float64) * slope + intercept
        return values.astype(np.float32), Rescale(), 0
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = slope != 1.0 or intercept != 0.0
        product = native.astype(np.float64) * slope + intercept if scaled else native
        floats: npt.NDArray[np.float32] = product.astype(np.float32)
    finite = np.isfinite(floats)
    bad = int(floats.size - np.count_nonzero(finite))
    if bad:
        lowest = floats[finite].min() if bad < floats.size else np.float32(0)
        floats = np.where(finite, floats, lowest)
    if np.array_equal(floats, np.rint(floats)):
        smaller = _as_integers(floats, (np.uint8, np.int16, np.uint16))
        if smaller is not None:
            return smaller, Rescale(), bad
    return floats, Rescale(), bad


def _fits_float32(values: Array, slope: float, intercept: float) -> bool:
    """Whether the scaled extremes, and so all that lies between, are finite as float32."""
    ends = np.array([values.min(), values.max()], dtype=np.float64) * slope + intercept
    return bool((np.abs(ends) <= np.finfo(np.float32).max).all())


def _as_integers(values: Array, types: tuple[type[np.integer[Any]], ...]) -> Array | None:
    low, high = values.min(), values.max()
    for kind in types:
        limits = np.iinfo(kind)
        if limits.min <= low and high <= limits.max:
            return values.astype(kind)
    return None


def looks_like_labels(raw: Array, threshold: float = 0.6) -> bool:
    """Whether voxels are whole numbers from 0 to 255 in patches of equal values.

    Of neighbouring voxels that are both not 0, a label map has most equal (145 brain regions at
    2 mm: 0.75), a scan few (0.00 to 0.50 on the sets that were tried).
    """
    if raw.dtype.kind == "f" and not np.array_equal(raw, np.rint(raw)):
        return False
    low, high = raw.min(), raw.max()
    if low < 0 or high > 255 or low == high:
        return False
    shares = []
    for axis in range(3):
        moved = np.moveaxis(raw, axis, 0)
        before, after = moved[:-1], moved[1:]
        filled = (before != 0) & (after != 0)
        if filled.any():
            shares.append(float(np.mean(before[filled] == after[filled])))
    return bool(shares) and min(shares) >= threshold
