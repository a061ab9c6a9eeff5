"""Real processes under DDP do what one process does with the whole batch, for every method."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from medssl.methods.catalogue import METHODS

WORKER = Path(__file__).with_name("rank_worker.py")
SPEC = importlib.util.spec_from_file_location("rank_worker", WORKER)
worker = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(worker)

# Patients 1, 2 and 0 have crops on two ranks of two or of four, and these are no negatives either.
PATIENTS = [0, 1, 1, 2, 2, 4, 5, 0]


@pytest.fixture
def batch(make_batch) -> dict[str, torch.Tensor]:
    """Two views, with padding, and one volume that is nothing but padding."""
    batch = make_batch(8, 2, 16, patients=PATIENTS)
    batch["valid"][1, 0, :, 4:] = False
    batch["valid"][6] = False
    return batch


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture
def found(folder, batch) -> Callable[[str, int], list[dict[str, torch.Tensor]]]:
    """found(method, world): what every rank wrote. All ran once, for all tests."""
    if not (folder / "batch").exists():
        save_file(batch, folder / "batch")
        worker.write_teacher(folder)
        environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-X", "faulthandler", str(WORKER), str(folder), "2", "4"]
        subprocess.run(command, env=environment, check=True)
    return lambda name, world: [load_file(folder / f"{name} {world} {i}") for i in range(world)]


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("name", METHODS)
def test_ranks_have_the_loss_gradient_and_state_of_one(name, world, batch, folder, found):
    ranks = found(name, world)
    method = worker.build(name, folder)
    alone = worker.train(method, method, batch)
    losses = torch.stack([left.pop("losses") for left in ranks])
    assert torch.allclose(losses.mean(dim=0), alone.pop("losses"), rtol=1e-5)
    assert len(losses[:, 0].unique()) > 1, "each rank has its own part"
    for left in ranks:
        assert left.keys() == alone.keys()
        for key, expected in alone.items():
            assert torch.equal(left[key], ranks[0][key]), key
            # The whole batch at once adds up in another order, in single precision.
            atol = max(2e-5, 4e-3 * float(expected.abs().max()))
            assert torch.allclose(left[key], expected, rtol=1e-4, atol=atol), key
    gradients = [value for key, value in alone.items() if key.startswith("gradient")]
    assert max(gradient.abs().max() for gradient in gradients) > 1e-2


def test_the_queue_of_the_ranks_is_in_the_order_of_the_batch(found):
    patients = found("moco", 4)[3]["state queue.patient"].tolist()
    # 48 keys were pushed into 40 places; volume 6 is padding.
    pushed = 3 * [code for code in (0, 1, 1, 2, 2, 4, -1, 0) for _ in range(2)]
    assert patients == pushed[40:] + pushed[8:40]
