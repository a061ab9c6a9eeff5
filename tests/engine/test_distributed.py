"""What processes tell each other, and what they leave behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
import torch

from medssl.engine.distributed import joined_world
from medssl.errors import ConfigError

PROGRAM = """
import glob, os, sys
import torch
from medssl.engine.distributed import joined_world

def train(world):
    layer = torch.nn.Linear(3, 1)
    parallel = world.parallel(layer)
    parallel(torch.ones(2, 3)).sum().backward()
    flags = torch.tensor([0.0, float(world.rank == 1), 0.0])
    assert world.any(flags) == [False, True, False]
    assert world.gathered(10 * world.rank) == [0, 10]
    assert world.agreed(world.rank + 5) == 5
    assert world.mean(torch.tensor(float(world.rank))) == 0.5

with joined_world() as world:
    train(world)
print(*(open(task).read().strip() for task in glob.glob("/proc/self/task/*/comm")))
"""


def test_no_thread_of_gloo_outlives_the_world() -> None:
    """One that lets go of a tensor while the interpreter ends would abort the process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "GLOO_SOCKET_IFNAME": "lo",
                "RANK": str(rank),
                "WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            },
        )
        for rank in range(2)
    ]
    for rank in ranks:
        threads, _ = rank.communicate()
        assert rank.returncode == 0
        assert "gloo" not in threads
        assert "python" in threads


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name, value in (("WORLD_SIZE", "3"), ("RANK", "2"), ("LOCAL_RANK", "2")):
        monkeypatch.setenv(name, value)
    with (
        pytest.raises(ConfigError, match=r"process 3 of this machine .* there are 2; lower"),
        joined_world(),
    ):
        pass
