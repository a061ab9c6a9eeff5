"""Ranks of several worlds: their parts of a batch through each method under DDP.

python rank_worker.py FOLDER WORLD...

Reads FOLDER/batch and the teacher there, and writes what the steps left to
FOLDER/METHOD WORLD RANK. The ranks are forked from one process, because what they import takes
longer than what they compute.
"""

from __future__ import annotations

import gc
import multiprocessing.connection
import sys
import typing
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # DDP imports it
from safetensors.torch import load_file, save_file

from medssl.methods.base import Method
from medssl.methods.catalogue import METHODS
from medssl.methods.config import MethodConfig
from medssl.models.build import build_encoder
from medssl.models.config import SegResNetConfig, ViTConfig
from medssl.models.weights import save_weights

STEPS = 3
VIT = ViTConfig(token_size=4, dim=24, depth=2, heads=2, decoder_filters=4)
UNION = typing.get_args(typing.get_args(MethodConfig)[0])
CONFIGS = {config.model_fields["name"].default: config for config in UNION}
SETTINGS: dict[str, dict[str, Any]] = {
    # Two steps fill the queue and a third writes over some of it.
    "moco": {"queue_size": 40, "momentum": 0.9},
    "distill": {"teacher": "teacher.safetensors"},
    "multitask": {
        "tasks": [
            {"method": {"name": "mae"}},
            {"method": {"name": "simclr", "hidden_dim": 16, "output_dim": 8}, "weight": 0.5},
        ]
    },
}


def build(name: str, folder: Path) -> Method:
    """The same weights in every process."""
    torch.manual_seed(11)
    settings = {"hidden_dim": 16, "output_dim": 8}
    settings = {k: v for k, v in settings.items() if k in CONFIGS[name].model_fields}
    settings |= SETTINGS.get(name, {})
    if "teacher" in settings:
        settings["teacher"] = folder / settings["teacher"]
    return METHODS[name](CONFIGS[name](**settings), VIT, 1, (16, 16, 16), 3)


def write_teacher(folder: Path) -> None:
    """An encoder for the methods that learn from one."""
    torch.manual_seed(12)
    model = SegResNetConfig(init_filters=4, blocks_down=(1, 1))
    teacher = build_encoder(model, 1, (16, 16, 16))
    state = {f"encoder.{key}": value for key, value in teacher.state_dict().items()}
    save_weights(folder / "teacher.safetensors", state, {"model": model.model_dump_json()})


def views_of(batch: dict[str, torch.Tensor], method: Method) -> dict[str, torch.Tensor]:
    """The batch of two views as the method asks for it."""
    per_view = ("image", "clean", "map", "valid", "body")
    return {n: v[:, : method.num_views] if n in per_view else v for n, v in batch.items()}


def train(
    method: Method, forward: torch.nn.Module, batch: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Steps of gradient descent: every loss, the last gradients and the state at the end."""
    losses = []
    for step in range(STEPS):
        method.zero_grad()
        loss = forward(views_of(batch, method), step)["loss"]
        loss.backward()
        losses.append(loss.detach())
        named = {n: p for n, p in method.named_parameters() if p.grad is not None}
        with torch.no_grad():
            for parameter in named.values():
                parameter -= 0.1 * parameter.grad
            method.after_step(step, STEPS)
    left = {f"gradient {n}": p.grad for n, p in named.items()}
    left |= {f"state {n}": v.clone() for n, v in method.state_dict().items()}
    return {"losses": torch.stack(losses), **left}


def run_rank(folder: Path, world: int, rank: int) -> None:
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/world {world}",
        timeout=timedelta(minutes=20),
        rank=rank,
        world_size=world,
    )
    part = {n: v.chunk(world)[rank] for n, v in load_file(folder / "batch").items()}
    for name in METHODS:
        method = build(name, folder)
        # As the engine has it: what a method keeps besides its weights is equal without help.
        parallel = torch.nn.parallel.DistributedDataParallel(method, broadcast_buffers=False)
        save_file(train(method, parallel, part), folder / f"{name} {world} {rank}")
    torch.distributed.barrier()  # none leaves while another still sends
    # A DDP that outlived the group would take it down while it holds the interpreter's lock, and
    # wait for a thread of gloo's that may be waiting for that lock.
    del method, parallel
    gc.collect()
    torch.distributed.destroy_process_group()


def main() -> None:
    folder, worlds = Path(sys.argv[1]), [int(world) for world in sys.argv[2:]]
    torch.set_num_threads(1)
    for name in METHODS:
        build(name, folder)  # imports what it needs
    fork = multiprocessing.get_context("fork")
    for world in worlds:
        ranks = [fork.Process(target=run_rank, args=(folder, world, i)) for i in range(world)]
        for process in ranks:
            process.start()
        left = {process.sentinel for process in ranks}
        while left:
            left -= set(multiprocessing.connection.wait(left))
            if any(process.exitcode for process in ranks):
                for process in ranks:
                    process.kill()
                sys.exit(f"one of {world} ranks failed")


if __name__ == "__main__":
    main()
