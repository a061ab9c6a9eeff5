"""Segmentation of regions that overlap: its loss, and a run on balls within balls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from medssl.config import parse_config
from medssl.errors import ConfigError
from medssl.models.build import build_segmenter
from medssl.models.config import SegResNetConfig
from medssl.store import open_store
from medssl.transfer.config import FinetuneConfig
from medssl.transfer.finetune import finetune
from medssl.transfer.objectives import RegionObjective
from medssl.transfer.predictions import read_mask

from .conftest import ball_scan, write_scans
from .test_finetune import MODEL, configured

REGIONS = {"whole": [1, 2], "core": [2]}


def core_store(root: Path) -> Path:
    """Balls of value 1 whose half in front, brighter, is of value 2."""
    scans = []
    for number in range(12):
        volume, mask, _ = ball_scan(number)
        inside = np.argwhere(mask)
        front = (mask > 0) & (np.indices(mask.shape)[1] > inside[:, 1].mean())
        volume.voxels[front] += 150
        scans.append((volume, (mask + front).astype(np.uint8), f"p{number:02}"))
    write_scans(root, scans, [])
    return root


def test_the_loss_is_dice_and_cross_entropy_of_each_region_inside_the_scan() -> None:
    torch.manual_seed(0)
    membership = [[False, False], [True, False], [True, True]]
    network = build_segmenter(
        SegResNetConfig.model_validate(MODEL), 1, 3, (8, 8, 8), membership
    ).eval()
    image = torch.randn(2, 1, 1, 8, 8, 8)
    mask = torch.randint(0, 3, (2, 1, 8, 8, 8))
    valid = torch.ones(2, 1, 1, 8, 8, 8, dtype=torch.bool)
    valid[..., 6:] = False
    batch = {"image": image, "mask": mask, "valid": valid}
    given = RegionObjective(network)(batch, 0)["loss"]
    with torch.no_grad():
        p = torch.sigmoid(network.head.regions(network.maps(image[:, 0])))  # type: ignore[operator, union-attr]
    p, mask = p[..., :6], mask[..., :6]
    dice, entropy = [], 0.0
    for r, truth in enumerate(((mask >= 1).float(), (mask == 2).float())):
        q, t = p[:, r], truth[:, 0]
        dice.append(1 - (2 * (q * t).sum() + 1e-5) / (q.sum() + t.sum() + 1e-5))
        entropy += float(-(t * q.log() + (1 - t) * (1 - q).log()).sum())
    expected = torch.stack(dice).mean() + entropy / (2 * 2 * 8**3)
    torch.testing.assert_close(given, expected, atol=1e-5, rtol=1e-5)


def test_a_run_reports_regions_and_keeps_an_ordinary_mask(tmp_path: Path) -> None:
    path = core_store(tmp_path / "store")
    values = configured(path, "segmentation", steps=70, optim={"lr": 0.03}).model_dump(mode="json")
    values |= {"task": {"name": "segmentation", "regions": REGIONS}, "select_by": "dice/core"}
    values["validate_every"] = 35
    result = finetune(parse_config(FinetuneConfig, values), tmp_path / "run")
    assert result.metrics["test/dice/whole"] > 0.6  # type: ignore[operator]
    assert result.metrics["test/dice/core"] > 0.5  # type: ignore[operator]
    predictions = pd.read_parquet(result.predictions)
    store = open_store(path)
    for _, row in predictions[predictions["split"] == "test"].iterrows():
        predicted = read_mask(result.run, row["mask_path"])
        assert set(np.unique(predicted)) <= {0, 1, 2}
        reference = store.read_label(row["volume_uid"]).voxels
        for name, union in REGIONS.items():
            here, there = np.isin(predicted, union), np.isin(reference, union)
            assert row[f"tp_{name}"] == (here & there).sum()
            assert row[f"fp_{name}"] == (here & ~there).sum()
            assert row[f"fn_{name}"] == (~here & there).sum()
    assert "dice/core" in (result.run / "report.html").read_text()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"classes": [1]}, "classes: without effect"),
        ({"regions": {"a b": [1]}}, "a b is no name"),
        ({"regions": {"a": [0, 1]}}, "regions.a"),
        ({"regions": {"a": [1, 2], "b": [2, 1]}}, "the same values"),
    ],
)
def test_regions_that_make_no_sense_are_refused(
    ball_store: Path, changes: dict[str, Any], told: str
) -> None:
    values = configured(ball_store, "segmentation").model_dump(mode="json")
    task = {"name": "segmentation", "regions": REGIONS, **changes}
    with pytest.raises(ConfigError, match=told):
        parse_config(FinetuneConfig, {**values, "task": task})
