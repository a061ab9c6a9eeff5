"""Small stores of scans with waves in them, and methods that answer by a rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medssl.methods.masked import MaskedMethod
from medssl.store.describe import describe_values, geometry_columns
from medssl.store.voxels import write_voxels
from medssl.store.writer import create_store, volume_path, write_part
from medssl.volume import Volume

SHAPE = (20, 24, 18)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Oracle(MaskedMethod):
    """Says of every hidden voxel `rule(image, hidden)`, which may look at all of the image."""

    num_views, intensity, overlap = 1, False, None

    def __init__(self, rule: Callable[[Tensor, Tensor], Tensor], ratio: float = 0.75) -> None:
        super().__init__()
        self.side, self.grid, self.mask_ratio, self.rule = 4, (2, 2, 2), ratio, rule
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, batch: Any, step: int) -> dict[str, Tensor]:
        raise NotImplementedError

    def fill(self, image_BCDHW: Tensor, inside_B1DHW: Tensor, masked_BN: Tensor) -> Tensor:
        cubes = masked_BN.reshape(-1, 1, *self.grid).float()
        hidden = nn.functional.interpolate(cubes, scale_factor=self.side) > 0
        return self.rule(image_BCDHW, hidden)


@pytest.fixture
def oracle() -> type[Oracle]:
    return Oracle


def waves(number: int, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Values about 100 in waves of 20, with noise of 2."""
    rng = np.random.default_rng(number)
    grid = np.meshgrid(*map(np.arange, shape), indexing="ij")
    wave = sum(np.sin(axis / 4 + rng.uniform(0, 6)) for axis in grid)
    return np.rint(100 + 20 * wave / 3 + 2 * rng.normal(size=shape)).astype(np.int16)


def write_store(
    root: Path,
    scans: dict[str, tuple[str, np.ndarray]],
    key_id: str = "key",
    of_ct: tuple[str, ...] = (),
) -> Path:
    """A store of MR scans: volume_uid -> (patient, values); axes turned in every second one.

    Those in `of_ct` are CT, of the same numbers in HU.
    """
    create_store(root, key_id, {})
    rows: list[dict[str, Any]] = []
    for number, (uid, (patient, values)) in enumerate(scans.items()):
        affine = np.diag([1.0, 1.0, 1.0, 1.0])
        if number % 2:
            affine = np.array([[0, 0, -1, 9], [1, 0, 0, -4], [0, -1, 0, 2], [0, 0, 0, 1.0]])
        write_voxels(root / volume_path(uid), values)
        modality, units = ("CT", "HU") if uid in of_ct else ("MR", "arbitrary")
        volume = Volume(values.astype(np.float32), affine, modality, units)
        rows.append(
            {
                "volume_uid": uid, "patient_key": patient, "series_key": uid,
                "group_quality": "patient", "modality": modality, "units": units,
                "source_format": "NIFTI", "path": volume_path(uid),
                **describe_values(volume), **geometry_columns(volume),
            }
        )  # fmt: skip
    write_part(root, "manifest", "00000", rows)
    return root


@pytest.fixture
def make_store() -> Callable[..., Path]:
    """See `write_store`."""
    return write_store


@pytest.fixture(scope="session")
def make_waves() -> Callable[..., np.ndarray]:
    """See `waves`."""
    return waves


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mae of a few seconds on eight scans of waves."""
    from medssl.config import parse_config
    from medssl.engine.config import PretrainConfig
    from medssl.engine.pretrain import pretrain

    root = tmp_path_factory.mktemp("pretrained")
    scans = {f"{n:032x}": (f"learned{n}", waves(n)) for n in range(8)}
    store = write_store(root / "store", scans)
    values = {
        "store": str(store), "steps": 60, "batch_size": 4,
        "method": {"name": "mae", "block_size": 4, "mask_ratio": 0.5},
        "model": {"name": "segresnet", "init_filters": 4, "blocks_down": [1, 1]},
        "augment": {
            "patch": {"size": [16, 16, 16]},
            "spatial": {"rotate_probability": 0.0, "scale_probability": 0.0},
        },
        "optim": {"lr": 0.01, "warmup_steps": 5},
        "runtime": {"num_workers": 0, "threads": 1, "checkpoint_every": 100},
        "health": {"volumes": 0},
    }  # fmt: skip
    return pretrain(parse_config(PretrainConfig, values), root / "run").run
