"""The only place that seeds torch's own generator.

Patches, augmentation and masks are drawn from counter-based generators elsewhere; what is left to
torch is the initial weights and dropout. Dropout is seeded anew at every step, so that no state of
a generator has to be saved to resume.
"""

from __future__ import annotations

import numpy as np
import torch

_WORD = 2**64 - 1  # of which any seed is one, a negative one too


def seed_weights(seed: int) -> None:
    """Make the weights that are initialised next a function of `seed`."""
    torch.manual_seed(_derived(seed, 0xA11CE))


def seed_step(seed: int, step: int, rank: int) -> None:
    """Make what torch draws during this step a function of (seed, step, rank)."""
    torch.manual_seed(_derived(seed, 0xD20, step, rank))


def _derived(*parts: int) -> int:
    return int(
        np.random.SeedSequence([part & _WORD for part in parts]).generate_state(1, np.uint64)[0]
        >> np.uint64(1)
    )
