"""Volumes that are alike to an encoder: cosine distances of embeddings, block by block."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from medssl.leaks.nearest import Codes, Distances, Natural, Nearest
from medssl.progress import SILENT, Progress

_ROWS, _COLUMNS = 512, 1024
_A_PART = 8192
_VECTORS_A_DIRECTION = 8
_NO_SPREAD = 1e-10  # of the widest direction's variance: what float32 rounds

Vectors = npt.NDArray[np.float32]


def unit_vectors(vectors: npt.NDArray[np.floating]) -> Vectors:
    """(N, D) of length 1, whitened: less their mean, and of equal spread in every direction.

    An encoder's embeddings of one organ lie within a narrow cone, where a few directions hold
    nearly all of the spread; the small differences that tell patients apart count only once these
    are taken out (Jégou and Chum, ECCV 2012). D is the number of directions with any spread, at
    most an eighth of N: with as many directions as vectors all of them would be equally far apart.

    Args:
        vectors: (N, K).
    """
    mean = vectors.mean(axis=0, dtype=np.float64)
    covariance = np.zeros((vectors.shape[1], vectors.shape[1]))
    for start in range(0, len(vectors), _A_PART):
        centred = vectors[start : start + _A_PART] - mean
        covariance += centred.T @ centred / len(vectors)
    spread, directions = np.linalg.eigh(covariance)
    most = max(1, len(vectors) // _VECTORS_A_DIRECTION)
    kept = np.flatnonzero(spread > _NO_SPREAD * spread[-1])[-most:]
    whitening = directions[:, kept] / np.sqrt(np.maximum(spread[kept], 1e-300))
    white = np.empty((len(vectors), len(kept)), dtype=np.float32)
    for start in range(0, len(vectors), _A_PART):
        part = (vectors[start : start + _A_PART] - mean) @ whitening
        length = np.linalg.norm(part, axis=1, keepdims=True)
        white[start : start + _A_PART] = part / np.maximum(length, 1e-300)
    return white


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
