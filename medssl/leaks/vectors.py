"""Volumes that are alike to an encoder: cosine distances of embeddings, block by block."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from medssl.leaks.nearest import Codes, Distances, Natural, Nearest
from medssl.progress import SILENT, Progress

_ROWS, _COLUMNS = 512, 1024

Vectors = npt.NDArray[np.float32]


def unit_vectors(vectors: npt.NDArray[np.floating]) -> Vectors:
    """(N, K) of length 1, less the mean of all of them.

    What every volume has in common says nothing of who is who; without it the angles between
    volumes are wider.
    """
    centred = vectors - vectors.mean(axis=0, keepdims=True, dtype=np.float64)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(length, 1e-30), dtype=np.float32)


def natural_distance(vectors: Vectors, first: Codes, second: Codes) -> Natural:
    """What pairs of different patients come to; `first` and `second` point into `vectors`."""
    found = [np.zeros(0, dtype=np.float32)]
    for start in range(0, len(first), 1 << 16):
        some = slice(start, start + (1 << 16))
        similarity = np.einsum("nk,nk->n", vectors[first[some]], vectors[second[some]])
        found.append(1 - similarity)
    return Natural.of(np.concatenate(found))


def near_vectors(
    a: Vectors,
    b: Vectors,
    threshold: float,
    differ: Callable[[Codes, Codes], npt.NDArray[np.bool_]],
    most: int,
    progress: Progress = SILENT,
) -> Nearest:
    """Pairs of A and B whose cosine distance is below `threshold`.

    Args:
        a, b: (N, K) and (M, K), of length 1.
        differ: of places in A and in B, whether a pair counts at all.
        most: how many pairs are kept.
    """
    nearest = Nearest(most)
    products = np.empty(_ROWS * _COLUMNS, dtype=np.float32)
    progress.start("comparing embeddings", len(a))
    for row in range(0, len(a), _ROWS):
        rows = a[row : row + _ROWS]
        for column in range(0, len(b), _COLUMNS):
            columns = b[column : column + _COLUMNS]
            product = products[: len(rows) * len(columns)].reshape(len(rows), len(columns))
            np.matmul(rows, columns.T, out=product)
            hits = np.flatnonzero(product > np.float32(1 - threshold))
            similar: Distances = product.ravel()[hits]
            i, j = np.divmod(hits, len(columns))
            i, j = i + row, j + column
            counts = differ(i, j)
            nearest.add(i[counts], j[counts], 1 - similar[counts])
        progress.advance(len(rows))
    progress.finish()
    return nearest
