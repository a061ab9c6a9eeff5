"""Random numbers that depend on what they are for, not on what was drawn before.

A generator is made for each (seed, step, global sample index, stream). Nothing has to be saved to
resume, and neither the number of workers nor that of ranks changes what is drawn.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache

import numpy as np
import numpy.typing as npt

_WORD = (1 << 64) - 1
_SAMPLES, _ORDER = 0, 1


class Stream(IntEnum):
    """What a sample's numbers are drawn for. Views of one sample use `stream + 16 * view`.

    Other packages start at 1000.
    """

    CROP = 0
    SPATIAL = 1
    INTENSITY = 2
    MASK = 3
    LOCAL = 4
    ELASTIC = 5


def generator(seed: int, step: int, index: int, stream: int = 0) -> np.random.Generator:
    """The generator of one sample of one step for one purpose.

    Philox4x64 (Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011) under the key
    (seed, purpose), its counter starting at (0, index, step, stream): streams are 2^64 blocks
    apart.
    """
    counter = [0, index & _WORD, step & _WORD, stream & _WORD]
    return _philox([seed & _WORD, _SAMPLES], counter)


def volume_at(seed: int, position: int, n: int) -> int:
    """Which of `n` volumes stands at `position` of an endless walk through them.

    Each epoch of `n` positions is a permutation of its own, so that every volume is seen once an
    epoch; position = step * global_batch + index.
    """
    epoch, place = divmod(position, n)
    return int(_epoch_order(seed, epoch, n)[place])


@lru_cache(maxsize=8)
def _epoch_order(seed: int, epoch: int, n: int) -> npt.NDArray[np.int64]:
    return _philox([seed & _WORD, _ORDER], [0, 0, epoch, 0]).permutation(n)


def _philox(key: list[int], counter: list[int]) -> np.random.Generator:
    return np.random.Generator(
        np.random.Philox(
            key=np.array(key, dtype=np.uint64), counter=np.array(counter, dtype=np.uint64)
        )
    )
