"""Volumes of two patients that look like one scan, by their perceptual hashes.

A hash is 256 bits; copies that were resampled or rescaled in intensity differ in a few of them. How
alike two patients look by nature depends on the data: crops of one organ lie much nearer to each
other than whole bodies. So a pair counts only where it is near in bits and beyond what different
patients of these data come to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

NEAR_BITS = 7
BEYOND = 0.999
_BITS = 256
_SAMPLED_PAIRS = 200_000
_CHUNK_PAIRS = 4_000_000

Words = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class NearDuplicates:
    """What a search found.

    Attributes:
        pairs: test_uid, other_uid, bits (that differ), nearest first.
        compared: pairs of different patients that were compared.
        natural_bits: what 99.9 % of different patients differ in, at least; NaN where too few.
        without_hash: volumes that could not be compared.
    """

    pairs: pd.DataFrame
    compared: int
    natural_bits: float
    without_hash: int


def find_near_duplicates(test: pd.DataFrame, others: pd.DataFrame) -> NearDuplicates:
    """Compare every test volume with every other volume of a different patient.

    Equal voxels are left to the checks that compare hashes of voxels.

    Args:
        test: volume_uid, patient_key, pixel_sha256, perceptual_hash of the test set.
        others: the same of development and pretraining volumes.
    """
    test_there, others_there = (frame[_has_hash(frame)] for frame in (test, others))
    test_words, other_words = _words(test_there), _words(others_there)
    natural = _natural_bits(
        pd.concat([test_there, others_there], ignore_index=True),
        np.concatenate([test_words, other_words]),
    )
    limit = min(float(NEAR_BITS), natural - 1) if np.isfinite(natural) else float(NEAR_BITS)
    found, compared = [], 0
    step = max(1, _CHUNK_PAIRS // max(1, len(other_words)))
    for start in range(0, len(test_words), step):
        rows = test_there.iloc[start : start + step]
        bits = _distances(test_words[start : start + step], other_words)
        strangers = _differ(rows, others_there, "patient_key")
        compared += int(strangers.sum())
        near = strangers & (bits <= limit) & _differ(rows, others_there, "pixel_sha256")
        for i, j in np.argwhere(near):
            uids = rows["volume_uid"].iloc[i], others_there["volume_uid"].iloc[j]
            found.append((*uids, int(bits[i, j])))
    pairs = pd.DataFrame(found, columns=["test_uid", "other_uid", "bits"])
    pairs = pairs.drop_duplicates(["test_uid", "other_uid"])
    pairs = pairs.sort_values(["bits", "test_uid", "other_uid"], ignore_index=True)
    without = len(test) + len(others) - len(test_there) - len(others_there)
    return NearDuplicates(pairs, compared, natural, without)


def _has_hash(frame: pd.DataFrame) -> npt.NDArray[np.bool_]:
    hashes = frame["perceptual_hash"].astype(str)
    whole = hashes.str.fullmatch(f"[0-9a-f]{{{_BITS // 4}}}")
    return np.asarray(whole & (hashes.str.strip("0") != ""), dtype=bool)


def _words(frame: pd.DataFrame) -> Words:
    """(N, 4) the hashes as numbers."""
    if frame.empty:
        return np.zeros((0, _BITS // 64), dtype=np.uint64)
    raw = bytes.fromhex("".join(frame["perceptual_hash"]))
    return np.frombuffer(raw, dtype=np.uint64).reshape(len(frame), -1)


def _distances(a: Words, b: Words) -> npt.NDArray[np.uint16]:
    """(N, M) bits that differ."""
    total = np.zeros((len(a), len(b)), dtype=np.uint16)
    for word in range(a.shape[1]):
        total += np.bitwise_count(a[:, None, word] ^ b[None, :, word])
    return total


def _differ(rows: pd.DataFrame, others: pd.DataFrame, column: str) -> npt.NDArray[np.bool_]:
    mine, theirs = rows[column].to_numpy(object), others[column].to_numpy(object)
    return np.asarray(mine[:, None] != theirs[None, :], dtype=bool)


def _natural_bits(rows: pd.DataFrame, words: Words) -> float:
    """The distance that 99.9 % of pairs of different patients exceed; a fixed sample of pairs."""
    n = len(rows)
    if n < 2:
        return float("nan")
    if n * (n - 1) // 2 <= _SAMPLED_PAIRS:
        first, second = np.triu_indices(n, 1)
    else:
        rng = np.random.Generator(np.random.Philox(0))
        first, second = rng.integers(0, n, (2, _SAMPLED_PAIRS))
    patients = rows["patient_key"].to_numpy(object)
    strangers = patients[first] != patients[second]
    first, second = first[strangers], second[strangers]
    if len(first) < round(1 / (1 - BEYOND)):
        return float("nan")
    bits = np.bitwise_count(words[first] ^ words[second]).sum(axis=1)
    return float(np.quantile(bits, 1 - BEYOND))
