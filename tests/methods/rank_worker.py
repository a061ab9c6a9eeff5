"""One rank of two: its part of a batch through a method under DDP; writes the gradients.

python rank_worker.py METHOD RANK WORLD RENDEZVOUS_FILE BATCH_FILE OUT_FILE
"""

from __future__ import annotations

import sys

import torch
from safetensors.torch import load_file, save_file

from medssl.methods.catalogue import METHODS
from medssl.methods.config import MAEConfig, SimCLRConfig
from medssl.models.config import ViTConfig

CONFIGS = {"simclr": SimCLRConfig(hidden_dim=16, output_dim=8), "mae": MAEConfig()}


def build(name: str) -> torch.nn.Module:
    """The same weights in every process."""
    torch.manual_seed(11)
    model = ViTConfig(token_size=4, dim=24, depth=2, heads=2)
    return METHODS[name](CONFIGS[name], model, 1, (16, 16, 16), 3)


def gradients(method: torch.nn.Module, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    """What backward leaves, and the loss itself."""
    loss.backward()
    named = {n: p.grad.clone() for n, p in method.named_parameters() if p.grad is not None}
    return {**named, "loss": loss.detach().reshape(1)}


def main() -> None:
    name, rank, world, rendezvous, batch_file, out_file = sys.argv[1:]
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=int(rank), world_size=int(world)
    )
    method = build(name)
    parallel = torch.nn.parallel.DistributedDataParallel(method)
    part = {n: v.chunk(int(world))[int(rank)] for n, v in load_file(batch_file).items()}
    for step in range(2):
        method.zero_grad()
        found = gradients(method, parallel(part, step)["loss"])
    save_file(found, out_file)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
