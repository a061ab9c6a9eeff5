"""Volumes for the benchmarks, and the files that each side reads them from.

A head as T1-weighted MR shows it, 160 x 192 x 160, and a trunk as CT does, 512 x 512 x 200: int16,
under scanner noise, so that they compress as scans do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medssl.augment.normalise import Normaliser
from medssl.store import Store, open_store
from medssl.store.describe import describe_values, geometry_columns
from medssl.store.find_body import find_body
from medssl.store.voxels import Rescale, write_voxels
from medssl.store.writer import create_store, volume_path, write_part
from medssl.volume import Volume

CT_RESCALE = Rescale(1.0, -1024.0)

Stored = npt.NDArray[np.int16]

_CHUNK = (1, 80, 64, 64)
_BLOCK = (1, 16, 16, 16)
"""What nnU-Net's and nnssl's rule, blocks for the first cache and chunks for the third, gives for
float32 and patches of 64 to 127 voxels in volumes of these sizes."""


def make_store(root: Path, modality: str, number: int) -> Store:
    """A store of `number` made volumes, written as an ingest writes them."""
    create_store(root, "0" * 16, {})
    rows = []
    for count in range(number):
        stored, rescale = (
            (head(count), Rescale()) if modality == "MR" else (trunk(count), CT_RESCALE)
        )
        rows.append(_add(root, f"{count:032x}", stored, rescale, modality))
    write_part(root, "manifest", "0", rows)
    return open_store(root)


def export(store: Store, folder: Path, most: int, least_side: int) -> int:
    """The first `most` volumes, normalised and in RAS, for the peers; how many they are.

    `nifti` holds them as float32 in uncompressed files, `b2nd` as nnU-Net preprocesses them. Those
    with fewer than `least_side` voxels along an axis are left out: not every peer pads.
    """
    import nibabel

    for name in ("nifti", "b2nd"):
        (folder / name).mkdir(parents=True)
    shapes = store.manifest[[f"shape_{axis}" for axis in range(3)]]
    uids = list(store.manifest.index[shapes.min(axis=1) >= least_side])[:most]
    for uid in uids:
        volume = store.read(uid).to_ras()
        values = Normaliser.from_row(dict(store.row(uid)))(volume.voxels)
        nibabel.save(nibabel.Nifti1Image(values, volume.affine), folder / "nifti" / f"{uid}.nii")
        write_zstd_floats(folder / "b2nd" / f"{uid}.b2nd", values)
    return len(uids)


def write_zstd_floats(path: Path, values: npt.NDArray[np.float32]) -> None:
    """(1, D, H, W) float32 under zstd 8, by one thread, as nnU-Net v2 and nnssl write a case."""
    import blosc2

    values = np.ascontiguousarray(values[None])
    blosc2.asarray(
        values,
        urlpath=str(path),
        chunks=tuple(min(c, n) for c, n in zip(_CHUNK, values.shape, strict=True)),
        blocks=tuple(min(b, n) for b, n in zip(_BLOCK, values.shape, strict=True)),
        cparams={"codec": blosc2.Codec.ZSTD, "clevel": 8, "nthreads": 1},
        mmap_mode="w+",
    )


def head(number: int) -> Stored:
    """(160, 192, 160): one anatomy, under noise of its own."""
    from medssl.sample.canvas import Grid
    from medssl.sample.head import render_head

    shape = (160, 192, 160)
    affine = np.diag([1.2, 1.2, 1.2, 1.0])
    affine[:3, 3] = -0.6 * (np.asarray(shape) - 1)
    if not _SIGNAL:
        _SIGNAL.append(render_head(7, 0, Grid(shape, affine), (1.0, 1.0, 1.0), 0.3))
    rng = np.random.default_rng(number)
    real, imaginary = rng.normal(0, 12, (2, *shape)).astype(np.float32)
    return np.rint(np.hypot(_SIGNAL[0] + real, imaginary)).astype(np.int16)


_SIGNAL: list[npt.NDArray[np.float32]] = []


def trunk(number: int) -> Stored:
    """(512, 512, 200): smooth tissue and bone in air, noise, nothing outside the field of view."""
    from scipy import ndimage

    rng = np.random.default_rng(number)
    coarse = rng.normal(0, 1, (34, 34, 14)).astype(np.float32)
    smooth = ndimage.zoom(coarse, (512 / 34, 512 / 34, 200 / 14), order=1)
    x, y = np.meshgrid(*[np.linspace(-1, 1, 512)] * 2, indexing="ij")
    body = (x / 0.92) ** 2 + (y / 0.75) ** 2 < 1
    values = np.where(smooth > 1.6, 600 + 150 * smooth, 40 + 35 * smooth)
    values += rng.normal(0, 25, values.shape).astype(np.float32)
    values[~body] = -1000 + 0.5 * (values[~body] - 40)
    numbers = np.clip(np.rint(values + 1024), 0, 4095).astype(np.int16)
    numbers[x**2 + y**2 > 1] = 0
    return numbers


def _add(root: Path, uid: str, stored: Stored, rescale: Rescale, modality: str) -> dict[str, Any]:
    units = "HU" if modality == "CT" else "arbitrary"
    spacing = (0.8, 0.8, 2.0) if modality == "CT" else (1.2, 1.2, 1.2)
    volume = Volume(stored, np.diag([*spacing, 1.0]), modality, units)  # type: ignore[arg-type]
    write_voxels(root / volume_path(uid), stored, rescale, find_body(volume, rescale))
    row: dict[str, Any] = dict.fromkeys(
        ("study_key", "series_key", "site", "contrast", "body_part"), ""
    )
    return row | {
        "volume_uid": uid,
        "patient_key": uid,
        "group_quality": "patient",
        "modality": modality,
        "units": units,
        "dtype": str(stored.dtype),
        "slope": rescale.slope,
        "intercept": rescale.intercept,
        "path": volume_path(uid),
        **geometry_columns(volume),
        **describe_values(volume, rescale),
    }
