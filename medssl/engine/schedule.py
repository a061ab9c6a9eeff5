"""Learning rate over the steps."""

from __future__ import annotations

import math


def warmup_cosine(step: int, steps: int, warmup_steps: int, final_factor: float) -> float:
    """Share of the peak learning rate at `step` (0-based).

    Rises linearly to 1 over the warm-up, then falls by half a cosine to `final_factor` at the last
    step (Loshchilov and Hutter 2017, doi 10.48550/arXiv.1608.03983, eq. 5 without restarts).
    """
    warmup_steps = min(warmup_steps, steps // 2)
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    remaining = max(1, steps - 1 - warmup_steps)
    done = min(1.0, (step - warmup_steps) / remaining)
    return final_factor + (1 - final_factor) * 0.5 * (1 + math.cos(math.pi * done))
