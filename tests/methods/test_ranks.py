"""Two real processes under DDP leave the gradient that one process has for the whole batch."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

WORKER = Path(__file__).with_name("rank_worker.py")


@pytest.mark.parametrize("name", ["simclr", "mae"])
def test_two_ranks_have_the_gradient_of_one(name, make_batch, tmp_path):
    spec = importlib.util.spec_from_file_location("rank_worker", WORKER)
    worker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(worker)
    # Patient 2 is on both ranks: its crops on the other rank are no negatives either.
    batch = make_batch(6, 2 if name == "simclr" else 1, 16, patients=[0, 1, 2, 2, 4, 5])
    batch["valid"][1, 0, :, 4:] = False
    batch["valid"][4] = False
    save_file(batch, tmp_path / "batch")

    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-X", "faulthandler", str(WORKER), name, str(rank), "2"]
            + [str(tmp_path / file) for file in ("rendezvous", "batch", f"rank{rank}")],
            env=environment,
        )
        for rank in range(2)
    ]
    try:
        assert [process.wait(timeout=60) for process in ranks] == [0, 0]
    finally:
        for process in ranks:
            process.kill()

    method = worker.build(name)
    alone = worker.gradients(method, method(batch, 1)["loss"])
    first, second = (load_file(tmp_path / f"rank{rank}") for rank in range(2))
    assert alone.keys() == first.keys() == second.keys()
    losses = torch.cat([first.pop("loss"), second.pop("loss")])
    assert losses.mean().item() == pytest.approx(alone.pop("loss").item(), rel=1e-5)
    assert losses[0] != losses[1]
    for parameter, gradient in alone.items():
        assert torch.equal(first[parameter], second[parameter])
        assert torch.allclose(first[parameter], gradient, rtol=1e-5, atol=1e-5), parameter
    assert max(gradient.abs().max() for gradient in alone.values()) > 1e-2
