"""Volumes that look alike by their perceptual hashes, as they are or mirrored.

A bit of the hash is the sign of one coefficient of a cosine transform
(`medssl.store.describe.perceptual_hash`). Mirroring a volume along an axis turns the sign of the
coefficients that are odd along it and leaves the others, so that the bits fall into eight groups of
32, by the parity of their coefficient along each axis, and each of the seven mirror images has the
complement of some groups. From the eight numbers of differing bits, one a group, follow the
distances to a volume and to all its mirror images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.linalg import hadamard

from medssl.leaks.nearest import Codes, Distances, Natural, Nearest
from medssl.progress import SILENT, Progress

BITS = 256
FEW_BITS = 24
"""What counts as near where too few patients are there to say what is natural."""

_GROUP_BITS = 32
_PLACE = np.arange(1, BITS + 1)  # of a bit's coefficient in a cube of 8 x 8 x 8
_PARITY = 4 * (_PLACE // 64 % 2) + 2 * (_PLACE // 8 % 2) + _PLACE % 2
_BY_PARITY = np.argsort(_PARITY, kind="stable")
_SIGNS = hadamard(8).astype(np.float32)  # [group, mirror image]
_ROWS, _COLUMNS = 512, 1024  # a block whose numbers stay in the processor's cache

Words = npt.NDArray[np.uint32]
MIRRORS = ("", "head-feet", "front-back", "front-back, head-feet", "left-right",
           "left-right, head-feet", "left-right, front-back",
           "left-right, front-back, head-feet")  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """What is natural for volumes as they are, and for the nearest of their mirror images."""

    upright: Natural
    mirrored: Natural

    @property
    def upright_bits(self) -> float:
        """Fewer differing bits than these are too few for two patients."""
        return self.upright.threshold if self.upright.pairs >= 1000 else float(FEW_BITS)

    @property
    def mirrored_bits(self) -> float:
        """The same of mirror images."""
        return self.mirrored.threshold if self.mirrored.pairs >= 1000 else float(FEW_BITS)


def hash_words(hashes: pd.Series[str]) -> tuple[Words, npt.NDArray[np.bool_]]:
    """Hashes as numbers, (N, 8), one a group of bits; and which of them are hashes.

    An empty text is none, nor is that of a volume without any structure: all bits equal.
    """
    text = hashes.astype(str)
    there = np.asarray(text.str.fullmatch(f"[0-9a-f]{{{BITS // 4}}}"), dtype=bool)
    raw = bytes.fromhex("".join(text[there]))
    packed = np.zeros((len(text), BITS // 8), dtype=np.uint8)
    packed[there] = np.frombuffer(raw, dtype=np.uint8).reshape(-1, BITS // 8)
    words = np.empty((len(text), 8), dtype=np.uint32)
    step = 1 << 16
    for start in range(0, len(text), step):
        bits = np.unpackbits(packed[start : start + step], axis=1)[:, _BY_PARITY]
        repacked = np.ascontiguousarray(np.packbits(bits, axis=1))
        words[start : start + step] = repacked.view(np.uint32)
    structured = (packed != 0).any(axis=1) & (packed != 255).any(axis=1)
    return words, there & structured


def bits_apart(a: Words, b: Words) -> Distances:
    """(N, 8) bits that differ between a[k] and b[k], and between a[k] and b[k]'s mirror images.

    Columns are in the order of MIRRORS.
    """
    agree = np.bitwise_count(a ^ b).astype(np.float32) - _GROUP_BITS / 2
    return np.asarray(BITS / 2 + agree @ _SIGNS, dtype=np.float32)


def natural_limits(words: Words, first: Codes, second: Codes) -> Limits:
    """What pairs of different patients come to; `first` and `second` point into `words`."""
    upright, mirrored = [], []
    for start in range(0, len(first), 1 << 18):
        some = slice(start, start + (1 << 18))
        bits = bits_apart(words[first[some]], words[second[some]])
        upright.append(bits[:, 0])
        mirrored.append(bits[:, 1:].min(axis=1))
    none = [np.zeros(0, dtype=np.float32)]
    return Limits(
        Natural.of(np.concatenate(upright or none)), Natural.of(np.concatenate(mirrored or none))
    )


def near_looks(
    a: Words,
    b: Words,
    limits: Limits,
    differ: Callable[[Codes, Codes], npt.NDArray[np.bool_]],
    most: int,
    progress: Progress = SILENT,
) -> tuple[Nearest, Nearest]:
    """Compare every volume of A with every one of B; pairs as they are, and mirrored ones.

    A pair that is near both ways counts as it is. Blocks of products of ±1 tell the differing bits
    of each group; the sum of their magnitudes bounds all eight distances at once, and the distances
    themselves are computed where the bound allows a near one.

    Args:
        a, b: (N, 8) and (M, 8).
        differ: of places in A and in B, whether a pair counts at all.
        most: how many pairs of each are kept.
    """
    upright, mirrored = Nearest(most), Nearest(most)
    highest = max(limits.upright_bits, limits.mirrored_bits)
    products = np.empty(_ROWS * _COLUMNS, dtype=np.float32)
    sums = np.empty(_ROWS * _COLUMNS, dtype=np.float32)
    progress.start("comparing looks", len(a))
    for row in range(0, len(a), _ROWS):
        signs_a = _signs(a[row : row + _ROWS])
        for column in range(0, len(b), _COLUMNS):
            signs_b = _signs(b[column : column + _COLUMNS])
            shape = (signs_a.shape[1], signs_b.shape[1])
            product, total = (x[: shape[0] * shape[1]].reshape(shape) for x in (products, sums))
            total[:] = 0
            for group_a, group_b in zip(signs_a, signs_b, strict=True):
                np.matmul(group_a, group_b.T, out=product)
                np.abs(product, out=product)
                np.add(total, product, out=total)
            i, j = np.divmod(np.flatnonzero(total > BITS - 2 * highest), shape[1])
            i, j = i + row, j + column
            bits = bits_apart(a[i], b[j])
            other = bits[:, 1:].min(axis=1) if len(bits) else bits[:, 0]
            counts = differ(i, j)
            near = counts & (bits[:, 0] < limits.upright_bits)
            turned = counts & ~near & (other < limits.mirrored_bits)
            upright.add(i[near], j[near], bits[near, 0])
            mirrored.add(i[turned], j[turned], other[turned])
        progress.advance(signs_a.shape[1])
    progress.finish()
    return upright, mirrored


def _signs(words: Words) -> npt.NDArray[np.float32]:
    """(8, N, 32) each bit as 1 or -1."""
    bits = np.unpackbits(words.view(np.uint8), axis=1).reshape(len(words), 8, _GROUP_BITS)
    return np.ascontiguousarray(bits.transpose(1, 0, 2), dtype=np.float32) * 2 - 1
