"""Pairs of volumes of two patients that are nearer to each other than two patients are by nature.

Equal voxels and one patient under one key are left to `medssl.leaks.shared`. What is natural is
measured within each of the corpora, where patients are known: a pair counts that is nearer than all
but a thousandth of the pairs of different patients there. Of many pairs compared some are as near
by chance; a person looks at them, the nearest first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from medssl.leaks.looks import MIRRORS, bits_apart, hash_words, natural_limits, near_looks
from medssl.leaks.nearest import Nearest, Volumes
from medssl.leaks.rulings import pair_id
from medssl.leaks.vectors import natural_distance, near_vectors, unit_vectors
from medssl.progress import SILENT, Progress

NEAR = ("perceptual", "mirrored", "embedding")
MOST_PAIRS = 100_000
COLUMNS = (
    "pair",
    "kind",
    "volume_uid_a",
    "volume_uid_b",
    "distance",
    "threshold",
    "pixel_sha256_a",
    "pixel_sha256_b",
    "mirror",
)


@dataclass(frozen=True)
class NearPairs:
    """Near pairs of one kind.

    Attributes:
        kind: perceptual: volumes as they are, in bits of 256 that differ; mirrored: one of them
            mirrored, likewise; embedding: cosine distance.
        pairs: COLUMNS, the nearest first, at most as many as asked for; `mirror` names the axes
            along which one of them is mirrored.
        found: all of them.
        compared: pairs of volumes that were looked at.
        left_out: volumes of A and B that have no hash, too few slices for one, or no embedding.
        threshold: pairs below it count.
        natural_pairs: of different patients within a corpus, of whom the threshold was taken; under
            a thousand it was not.
        natural_nearest: the nearest of these; NaN where the threshold was not taken of them.
    """

    kind: str
    pairs: pd.DataFrame
    found: int
    compared: int
    left_out: int
    threshold: float
    natural_pairs: int
    natural_nearest: float

    @property
    def by_chance(self) -> int:
        """About how many pairs are as near where no scan is in both corpora."""
        return round(self.compared / 1000)


def find_near_looks(
    a: pd.DataFrame, b: pd.DataFrame, most: int = MOST_PAIRS, progress: Progress = SILENT
) -> tuple[NearPairs, NearPairs]:
    """Near pairs by perceptual hash: of volumes as they are, and where one of them is mirrored.

    Args:
        a, b: volume_uid, patient_key, pixel_sha256, perceptual_hash; volumes whose column `thin`,
            where there is one, is true are left out.
        most: how many pairs of each kind are listed.
    """
    (words_a, there_a), (words_b, there_b) = (hash_words(f["perceptual_hash"]) for f in (a, b))
    there_a, there_b = (
        there & ~f["thin"].to_numpy(bool) if "thin" in f else there
        for there, f in ((there_a, a), (there_b, b))
    )
    left_out = len(a) + len(b) - int(there_a.sum()) - int(there_b.sum())
    a, b, words_a, words_b = a[there_a], b[there_b], words_a[there_a], words_b[there_b]
    volumes = _volumes(a, b)
    limits = natural_limits(np.concatenate([words_a, words_b]), *volumes.strangers())
    found = near_looks(words_a, words_b, limits, volumes.differ_across, most, progress)
    upright, mirrored = (
        NearPairs(
            kind,
            _listed(kind, nearest, a, b, bits),
            nearest.found,
            len(a) * len(b),
            left_out,
            bits,
            natural.pairs,
            natural.nearest,
        )
        for kind, nearest, natural, bits in (
            ("perceptual", found[0], limits.upright, limits.upright_bits),
            ("mirrored", found[1], limits.mirrored, limits.mirrored_bits),
        )
    )
    first, second, _ = found[1].pairs()
    turned = bits_apart(words_a[first], words_b[second])[:, 1:].argmin(axis=1) + 1
    return upright, replace(
        mirrored, pairs=mirrored.pairs.assign(mirror=np.array(MIRRORS, dtype=object)[turned])
    )


def find_near_vectors(
    a: pd.DataFrame,
    b: pd.DataFrame,
    vectors: dict[str, npt.NDArray[np.float32]],
    most: int = MOST_PAIRS,
    progress: Progress = SILENT,
) -> NearPairs:
    """Near pairs by embedding; none where fewer than a thousand pairs tell what is natural.

    Args:
        a, b: volume_uid, patient_key, pixel_sha256.
        vectors: volume_uid to its embedding; volumes without one are left out.
    """
    there_a, there_b = (f["volume_uid"].isin(vectors.keys()) for f in (a, b))
    left_out = len(a) + len(b) - int(there_a.sum()) - int(there_b.sum())
    a, b = a[there_a], b[there_b]
    volumes = _volumes(a, b)
    uids = [*a["volume_uid"], *b["volume_uid"]]
    unit = unit_vectors(np.stack([vectors[uid] for uid in uids]))
    natural = natural_distance(unit, *volumes.strangers())
    nearest = Nearest(most)
    if not np.isnan(natural.threshold):
        nearest = near_vectors(
            unit[: len(a)],
            unit[len(a) :],
            natural.threshold,
            volumes.differ_across,
            most,
            progress,
        )
    return NearPairs(
        "embedding",
        _listed("embedding", nearest, a, b, natural.threshold),
        nearest.found,
        len(a) * len(b),
        left_out,
        natural.threshold,
        natural.pairs,
        natural.nearest,
    )


def _volumes(a: pd.DataFrame, b: pd.DataFrame) -> Volumes:
    codes = [
        pd.factorize(pd.concat([a[column], b[column]]))[0].astype(np.int64)
        for column in ("patient_key", "pixel_sha256")
    ]
    return Volumes(len(a), *codes)


def _listed(
    kind: str, nearest: Nearest, a: pd.DataFrame, b: pd.DataFrame, threshold: float
) -> pd.DataFrame:
    first, second, distance = nearest.pairs()
    left, right = a.iloc[first], b.iloc[second]
    columns = {
        "pair": [
            pair_id(x, y) for x, y in zip(left["pixel_sha256"], right["pixel_sha256"], strict=True)
        ],
        "kind": kind,
        "volume_uid_a": left["volume_uid"].to_numpy(),
        "volume_uid_b": right["volume_uid"].to_numpy(),
        "distance": distance.astype(np.float64),
        "threshold": threshold,
        "pixel_sha256_a": left["pixel_sha256"].to_numpy(),
        "pixel_sha256_b": right["pixel_sha256"].to_numpy(),
        "mirror": "",
    }
    return pd.DataFrame(columns, columns=list(COLUMNS))
