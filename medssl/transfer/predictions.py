"""Rows of a predictions frame, and the masks beside it.

Classification: volume_uid, patient_key, split, y_true, logit_0 … logit_{K-1}.
Ordinal: as classification, and y_rank, the predicted class number.
Multi-label: volume_uid, patient_key, split, for each label y_true/<label> (0, 1, NaN where it is
not known) and logit/<label>.
Regression: volume_uid, patient_key, split, y_true, y_pred, in the label's units.
Segmentation: volume_uid, patient_key, split; for each foreground value c of the mask tp_c, fp_c,
fn_c (voxels of the image's own grid), dice_c, nsd_c, hd95_mm_c (`medssl.transfer.surfaces`),
lesion_tp_c, lesion_fp_c, lesion_fn_c (`medssl.transfer.lesions`), volume_true_mm3_c,
volume_pred_mm3_c; and mask_path (inside the run folder) with mask_sha256 of that file.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medssl.store.voxels import read_stored, write_voxels
from medssl.store.writer import volume_path
from medssl.transfer.lesions import count_lesions
from medssl.transfer.surfaces import nsd_and_hd95
from medssl.volume import Affine, Array


def logit_columns(logits: Array) -> dict[str, float]:
    """Columns of one case's (K,) logits."""
    return {f"logit_{c}": float(value) for c, value in enumerate(logits)}


def mask_columns(
    predicted: Array,
    reference: Array,
    classes: tuple[int, ...],
    affine: Affine,
    nsd_tolerance_mm: float,
) -> dict[str, Any]:
    """Columns of one case's masks, both (D, H, W) with the values of `classes`."""
    voxel_mm3 = abs(float(np.linalg.det(affine[:3, :3])))
    columns: dict[str, Any] = {}
    for c in classes:
        here, there = predicted == c, reference == c
        tp = int(np.count_nonzero(here & there))
        fp, fn = int(np.count_nonzero(here)) - tp, int(np.count_nonzero(there)) - tp
        nsd, hd95_mm = nsd_and_hd95(here, there, affine, nsd_tolerance_mm)
        lesions = count_lesions(here, there)
        columns |= {
            f"tp_{c}": tp,
            f"fp_{c}": fp,
            f"fn_{c}": fn,
            f"dice_{c}": 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else float("nan"),
            f"nsd_{c}": nsd,
            f"hd95_mm_{c}": hd95_mm,
            f"lesion_tp_{c}": lesions.tp,
            f"lesion_fp_{c}": lesions.fp,
            f"lesion_fn_{c}": lesions.fn,
            f"volume_true_mm3_{c}": (tp + fn) * voxel_mm3,
            f"volume_pred_mm3_{c}": (tp + fp) * voxel_mm3,
        }
    return columns


def save_mask(folder: Path, volume_uid: str, mask: Array) -> dict[str, str]:
    """Write a predicted mask under `folder`/masks; its path and hash as columns."""
    relative = volume_path(volume_uid, "masks")
    smallest = np.min_scalar_type(int(mask.max(initial=0)))
    write_voxels(folder / relative, mask.astype(smallest))
    digest = hashlib.sha256((folder / relative).read_bytes()).hexdigest()
    return {"mask_path": relative, "mask_sha256": digest}


def read_mask(folder: Path, mask_path: str) -> Array:
    """A mask that `save_mask` wrote, (D, H, W)."""
    stored, _ = read_stored(folder / mask_path)
    return stored


def write_predictions(path: Path, predictions: pd.DataFrame) -> None:
    """Write a predictions frame as Parquet, replacing it whole."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        predictions.to_parquet(partial, index=False)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
