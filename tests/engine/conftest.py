"""A store that is small enough to train on in a test, and processes that really do."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import yaml

from medssl.store.describe import describe_values, geometry_columns
from medssl.store.voxels import write_voxels
from medssl.store.writer import create_store, volume_path, write_part
from medssl.volume import Volume

WriteConfig = Callable[..., Path]
StruckMidway = Callable[..., list[int]]


@pytest.fixture(scope="session")
def small_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six patients with a volume each, of noise that is smooth along one axis."""
    return _write_store(tmp_path_factory.mktemp("engine") / "store")


@pytest.fixture(scope="session")
def spoilt_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, but half of the voxels of volume 3 are no numbers."""
    return _write_store(tmp_path_factory.mktemp("spoilt") / "store", spoilt=3)


@pytest.fixture(scope="session")
def striped_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, but with stripes whose width tells the patients apart."""
    return _write_store(tmp_path_factory.mktemp("striped") / "store", striped=True)


def _write_store(root: Path, spoilt: int | None = None, striped: bool = False) -> Path:
    create_store(root, "k", {})
    rows = []
    for number in range(6):
        uid = f"{number:032x}"
        rng = np.random.default_rng(number)
        stored = np.cumsum(rng.integers(-9, 10, (24, 26, 28)), axis=0).astype(np.int16)
        if striped:
            phase = np.arange(stored.shape[0]) * 2 * np.pi / (2 + 2 * number)
            stored = (stored // 9 + 100 * np.sin(phase)[:, None, None]).astype(np.int16)
        volume = Volume(stored.astype(np.float32), np.diag([1.0, 1.2, 0.9, 1]), "MR")
        written = stored
        if number == spoilt:
            written = np.where(rng.random(stored.shape) < 0.5, stored, np.nan).astype(np.float32)
        write_voxels(root / volume_path(uid), written)
        rows.append(
            {
                "volume_uid": uid,
                "patient_key": f"patient{number}",
                "series_key": uid,
                "group_quality": "patient",
                "modality": "MR",
                "units": "arbitrary",
                "path": volume_path(uid),
                **describe_values(volume),
                **geometry_columns(volume),
            }
        )
    write_part(root, "manifest", "00000", rows)
    return root


@pytest.fixture
def write_config(tmp_path: Path, small_store: Path) -> WriteConfig:
    """write_config(method, key=value, ...) -> a pretraining of seconds."""

    def write(method: str, store: Path = small_store, **overrides: Any) -> Path:
        config: dict[str, Any] = {
            "store": str(store),
            "method": {"name": method, **({"hidden_dim": 32} if method == "simclr" else {})},
            "model": {"name": "segresnet", "init_filters": 4, "blocks_down": [1, 1]},
            "augment": {"patch": {"size": [16, 16, 16]}},
            "optim": {"lr": 1e-3, "warmup_steps": 5},
            # Looks are taken, but how so short a run on noise goes is not what is asked here.
            "health": {"stop": False},
            "runtime": {
                "num_workers": 0, "precision": "fp32", "threads": 1, "checkpoint_every": 7,
                "log_every": 5,
            },
            "steps": 30,
            "batch_size": 4,
        }  # fmt: skip
        for key, value in overrides.items():
            group = next((g for g in ("model", "runtime") if key in config[g]), None)
            (config if group is None else config[group])[key] = value
        path = tmp_path / f"{len(list(tmp_path.glob('*.yaml')))}.yaml"
        path.write_text(yaml.safe_dump(config))
        return path

    return write


class Ranks:
    """Processes that are forked off one that has imported everything; see rank_server.py."""

    def __init__(self, folder: Path) -> None:
        self._stderr = folder / "stderr"
        self._server = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("rank_server.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr.open("w"),
            text=True,
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        )

    @property
    def errors(self) -> str:
        """What the processes have written to stderr."""
        return self._stderr.read_text()[-8000:]

    def start(self, config: Path, out: Path, ranks: int) -> list[psutil.Process]:
        """Begin a pretraining; `wait` for its end before the next one is begun."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        assert self._server.stdin is not None
        self._server.stdin.write(f"{config} {out} {ranks} {port}\n")
        self._server.stdin.flush()
        processes = [psutil.Process(pid) for pid in self._line()]
        self._server.stdin.write("\n")
        self._server.stdin.flush()
        return processes

    def wait(self) -> list[int]:
        """How they ended: exit codes, or minus the signal's number."""
        return self._line()

    def run(self, config: Path, out: Path, ranks: int) -> Path:
        """Pretrain to the end; `out`."""
        self.start(config, out, ranks)
        assert self.wait() == [0] * ranks, self.errors
        return out

    def close(self) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(60)

    def _line(self) -> list[int]:
        assert self._server.stdout is not None
        return [int(number) for number in self._server.stdout.readline().split()]


@pytest.fixture(scope="session")
def ranks(tmp_path_factory: pytest.TempPathFactory, _tracking_apart: None) -> Iterator[Ranks]:
    server = Ranks(tmp_path_factory.mktemp("ranks"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def wait_for_checkpoint() -> Callable[[Path, psutil.Process], None]:
    """Wait until a run of this process has its first checkpoint."""

    def wait(out: Path, process: psutil.Process) -> None:
        while not any((out / "checkpoints").glob("step-*")):
            assert runs(process), "it ended before its first checkpoint"
            time.sleep(0.002)

    return wait


def runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="session")
def struck_midway(wait_for_checkpoint: Callable[[Path, psutil.Process], None]) -> StruckMidway:
    """Strike a run between its first checkpoint and its last step; how its processes ended.

    On a busy machine it may have taken the last step before the blow: then it is begun anew.
    """

    def strike(
        out: Path,
        begin: Callable[[], list[psutil.Process]],
        blow: Callable[[psutil.Process], None],
        struck: slice,
        wait: Callable[[], list[int]],
    ) -> list[int]:
        while True:
            processes = begin()
            wait_for_checkpoint(out, processes[0])
            for process in processes[struck]:
                with suppress(psutil.NoSuchProcess):
                    blow(process)
            codes = wait()
            if not (out / "checkpoints" / "last.safetensors").exists():
                return codes
            shutil.rmtree(out)

    return strike
