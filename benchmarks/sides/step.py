"""The share of a training step that is spent waiting for data."""

from __future__ import annotations

import time

import torch

from medssl.augment.loader import Loader
from medssl.methods.config import SimCLRConfig
from medssl.methods.simclr import SimCLR
from medssl.models.config import ViTConfig
from sides.job import VIEW, Job
from sides.ours import source

_WARM_STEPS = 3


def time_steps(job: Job, seconds: float) -> dict[str, float]:
    """SimCLR of a small ViT on pairs of views by one thread, while `job.workers` draw ahead.

    Waiting is all that comes before the forward pass.
    """
    method = SimCLR(
        SimCLRConfig(hidden_dim=512),
        ViTConfig(token_size=16, dim=384, depth=12, heads=6),
        1,
        (VIEW, VIEW, VIEW),
        0,
    )
    optimiser = torch.optim.AdamW(method.parameters(), lr=1e-4)
    made = source(job)
    waited, spent, steps = 0.0, 0.0, 0
    began = time.perf_counter()
    for step, batch in Loader(made, num_workers=job.workers, finish=True).batches(0, 1 << 40):
        ready = time.perf_counter()
        loss = method(batch, step)["loss"]
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        done = time.perf_counter()
        if step >= _WARM_STEPS:
            waited, spent, steps = waited + ready - began, spent + done - began, steps + 1
        if spent >= seconds:
            break
        began = done
    return {"wait_share": waited / spent, "step_ms": 1000 * spent / steps}
