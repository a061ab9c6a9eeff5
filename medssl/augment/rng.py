"""Counter-based random numbers: a draw is a function of where it is used, not of what came before.

Philox (Salmon et al. 2011, doi 10.1145/2063384.2063405) keyed by the run's seed and counted by
step, sample and stream.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

_EPOCHS = 2**63  # streams of volume order are kept apart from those of samples


def generator(seed: int, step: int, index: int, stream: int = 0) -> np.random.Generator:
    """The generator of one purpose (`stream`) for one sample of one step.

    Args:
        index: of the sample in the global batch, so that ranks and workers do not matter.
    """
    # The low word counts the draws themselves.
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, index, step, stream]))


def volume_at(seed: int, position: int, num_volumes: int) -> int:
    """Which volume stands at `position` = step * batch + index; each epoch is a permutation."""
    epoch, place = divmod(position, num_volumes)
    return int(_order(seed, epoch, num_volumes)[place])


@lru_cache(maxsize=8)
def _order(seed: int, epoch: int, num_volumes: int) -> npt.NDArray[np.int64]:
    philox = np.random.Philox(key=seed, counter=[0, 0, epoch, _EPOCHS])
    return np.random.Generator(philox).permutation(num_volumes)
