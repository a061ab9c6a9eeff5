"""Random numbers of the sample archive: a pure function of (seed, patient, stream)."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What a generator is for; a new purpose gets a new number, so that old draws never change."""

    IDENTITY = 1
    TORSO = 2
    TORSO_NOISE = 3
    HEAD = 4
    HEAD_NOISE = 5
    ABDOMEN_NOISE = 6
    HAZARD = 7
    ORDER = 8


def generator(seed: int, patient: int, stream: Stream) -> np.random.Generator:
    """A Philox generator keyed by seed, patient and purpose (Salmon et al. 2011)."""
    key = np.array([seed % 2**64, (patient << 16) + int(stream)], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))
