"""Which lesions of a mask were found: counts of connected components."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse.csgraph import maximum_bipartite_matching

from medssl.transfer.weighted import Bools

FOUND_AT_IOU = 0.1
_CONNECTED = np.ones((3, 3, 3))  # voxels that share a face, an edge or a corner


class LesionCounts(NamedTuple):
    """Lesions of the reference that were found, predicted ones that are none, missed ones."""

    tp: int
    fp: int
    fn: int


def count_lesions(predicted: Bools, reference: Bools) -> LesionCounts:
    """Match the lesions of two masks, both (D, H, W).

    A lesion is a connected component, by faces, edges and corners; none is too small. A predicted
    and a true lesion may be matched where their intersection over union is 0.1 or more, the
    threshold of nnDetection (Baumgartner et al. 2021, arXiv:2106.00817) for objects in 3D, which
    cannot hide one another. Each is matched once, and as many as can be: where one prediction
    covers two lesions, one of them is missed (Metrics Reloaded, Maier-Hein et al. 2024,
    doi:10.1038/s41592-023-02151-z, on optimal matching).
    """
    boxes = ndimage.find_objects((predicted | reference).astype(np.int8))
    if not boxes:
        return LesionCounts(0, 0, 0)
    labels_p, num_p = ndimage.label(predicted[boxes[0]], _CONNECTED)
    labels_r, num_r = ndimage.label(reference[boxes[0]], _CONNECTED)
    both = (labels_p > 0) & (labels_r > 0)
    p, r, shared = _pairs(labels_p[both], labels_r[both], num_r)
    size_p, size_r = np.bincount(labels_p.ravel()), np.bincount(labels_r.ravel())
    close = shared >= FOUND_AT_IOU * (size_p[p] + size_r[r] - shared)
    allowed = sparse.coo_array(
        (np.ones(int(close.sum()), dtype=np.int8), (p[close] - 1, r[close] - 1)),
        shape=(num_p, num_r),
    ).tocsr()
    found = int((maximum_bipartite_matching(allowed) >= 0).sum()) if allowed.nnz else 0
    return LesionCounts(found, num_p - found, num_r - found)


def _pairs(
    labels_p: np.ndarray, labels_r: np.ndarray, num_r: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers of the lesions that overlap, and the voxels that they share; (n,) each."""
    codes, shared = np.unique(
        labels_p.astype(np.int64) * (num_r + 1) + labels_r, return_counts=True
    )
    p, r = np.divmod(codes, num_r + 1)
    return p, r, shared
