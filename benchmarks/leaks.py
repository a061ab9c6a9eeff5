"""Two corpora of 100,000 made-up volumes compared pair by pair, on one core.

    OMP_NUM_THREADS=1 python benchmarks/leaks.py [--volumes 100000] [--dim 128]

Perceptual hashes and embeddings are drawn at random about a hundred kinds of anatomy, so that some
pairs are near by nature, and a hundred copies of A are planted in B. The last line is one JSON
object: seconds of wall clock and of processor, peak memory, and how many of the copies were found.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from medssl.leaks.near import NearPairs, find_near_looks, find_near_vectors

COPIES = 100
KINDS = 100
SAME_BITS = 0.75  # of the bits of a hash that those of its kind have by the kind
COPY_BITS = 0.03  # of the bits that a copy has otherwise


def corpora(volumes: int, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A and B with a patient for every two volumes; B's first hundred are copies of A's first."""
    rng = np.random.Generator(np.random.Philox(seed))
    kinds = rng.random((KINDS, 256)) < 0.5
    frames = []
    first: npt.NDArray[np.bool_] | None = None
    for side in "ab":
        packed = np.empty((volumes, 32), dtype=np.uint8)
        for start in range(0, volumes, 10_000):
            n = min(10_000, volumes - start)
            own = rng.random((n, 256)) < 0.5
            bits = np.where(rng.random((n, 256)) < SAME_BITS, kinds[rng.integers(0, KINDS, n)], own)
            if start == 0 and first is not None:
                bits[:COPIES] = first ^ (rng.random(first.shape) < COPY_BITS)
            elif start == 0:
                first = bits[:COPIES]
            packed[start : start + n] = np.packbits(bits, axis=1)
        text = packed.tobytes().hex()
        frames.append(
            pd.DataFrame(
                {
                    "volume_uid": [f"{side}{n:031x}" for n in range(volumes)],
                    "patient_key": [f"{side}{n // 2:031x}" for n in range(volumes)],
                    "pixel_sha256": [f"{side}{n:063x}" for n in range(volumes)],
                    "perceptual_hash": [text[64 * n : 64 * n + 64] for n in range(volumes)],
                }
            )
        )
    return frames[0], frames[1]


def embeddings(
    a: pd.DataFrame, b: pd.DataFrame, dim: int, seed: int = 1
) -> dict[str, npt.NDArray[np.float32]]:
    rng = np.random.Generator(np.random.Philox(seed))
    kinds = 3 * rng.standard_normal((KINDS, dim), dtype=np.float32)
    vectors: dict[str, npt.NDArray[np.float32]] = {}
    for frame in (a, b):
        drawn = rng.standard_normal((len(frame), dim), dtype=np.float32)
        drawn += kinds[rng.integers(0, KINDS, len(frame))]
        vectors.update(zip(frame["volume_uid"], drawn, strict=True))
    for mine, copy in zip(a["volume_uid"][:COPIES], b["volume_uid"][:COPIES], strict=True):
        vectors[copy] = vectors[mine] + 0.2 * rng.standard_normal(dim, dtype=np.float32)
    return vectors


def timed(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.monotonic(), time.process_time()
    result = work()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return result, {
        "seconds": round(time.monotonic() - wall, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "peak_mb": round(after / 1024),
        "above_start_mb": round((after - before) / 1024),
    }


def told(near: NearPairs, a: pd.DataFrame, b: pd.DataFrame) -> dict[str, float]:
    copies = set(zip(a["volume_uid"][:COPIES], b["volume_uid"][:COPIES], strict=True))
    listed = set(zip(near.pairs["volume_uid_a"], near.pairs["volume_uid_b"], strict=True))
    return {
        "threshold": round(near.threshold, 4),
        "found": near.found,
        "share_of_pairs": round(near.found / near.compared, 6),
        "copies_found": len(copies & listed),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--volumes", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=128)
    arguments = parser.parse_args()
    a, b = corpora(arguments.volumes)
    (upright, mirrored), cost = timed(lambda: find_near_looks(a, b))
    results: dict[str, Any] = {
        "hashes": {**cost, **told(upright, a, b), "mirrored_found": mirrored.found}
    }
    print(f"hashes: {results['hashes']}", flush=True)
    vectors = embeddings(a, b, arguments.dim)
    near, cost = timed(lambda: find_near_vectors(a, b, vectors))
    results["embeddings"] = {**cost, **told(near, a, b)}
    print(f"embeddings: {results['embeddings']}", flush=True)
    print(json.dumps({"volumes": arguments.volumes, "dim": arguments.dim, **results}))


if __name__ == "__main__":
    main()
