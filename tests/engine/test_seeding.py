"""What torch draws is a function of the seed, whatever number it is."""

from __future__ import annotations

import torch

from medssl.engine.seeding import seed_step, seed_weights


def drawn() -> list[float]:
    return torch.rand(4).tolist()


def test_every_seed_step_and_rank_draws_its_own_and_always_the_same() -> None:
    seen = []
    for _ in range(2):
        for seed in (0, 1, -1, 2**40):
            seed_weights(seed)
            seen.append(drawn())
            for step, rank in ((0, 0), (0, 1), (1, 0)):
                seed_step(seed, step, rank)
                seen.append(drawn())
    first, second = seen[:16], seen[16:]
    assert first == second
    assert len({tuple(numbers) for numbers in first}) == 16
