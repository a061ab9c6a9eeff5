"""A configuration is looked at whole, and the first steps are really run."""

from __future__ import annotations

import resource
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from medssl.config import parse_config
from medssl.engine import check as module
from medssl.engine import trial
from medssl.engine.check import check_pretraining
from medssl.engine.config import PretrainConfig
from medssl.engine.trial import Trial


def config_of(store: Path, **changed: Any) -> PretrainConfig:
    values: dict[str, Any] = {
        "store": str(store),
        "method": {"name": "mae"},
        "model": {"name": "segresnet", "init_filters": 4, "blocks_down": [1, 1]},
        "augment": {"patch": {"size": [16, 16, 16], "spacing_mm": 1.0}},
        "runtime": {"num_workers": 0, "threads": 1},
        "steps": 1000,
        "batch_size": 2,
    }
    return parse_config(PretrainConfig, values | changed)


def test_a_good_configuration_is_told_what_it_costs(small_store: Path, tmp_path: Path) -> None:
    check = check_pretraining(config_of(small_store), tmp_path / "run")
    assert not check.problems
    facts = dict(check.facts)
    assert facts["scans"] == "6 volumes of 6 patients, each seen 333 times"
    assert facts["the run"].startswith("1000 steps, ")
    weights = sum(p.numel() for p in module.METHODS["mae"](
        config_of(small_store).method, config_of(small_store).model, 1, (16, 16, 16), 0
    ).parameters())  # fmt: skip
    assert facts["weights"] == f"{weights / 1e6:.2f} million trained"
    assert not (tmp_path / "run").exists()


def test_the_cost_is_that_of_the_run(small_store: Path) -> None:
    found = trial.try_out(partial(module._built, config_of(small_store)))
    # Weights in float32 and AdamW's two averages; names and steps besides.
    state = 3 * 4 * found.weights
    assert state < found.checkpoint_bytes < state + 100_000
    assert found.batch_s > 0
    assert found.step_s > 0
    assert 50e6 < found.memory_bytes < 4e9
    assert found.threads == 1


def test_all_problems_come_together(tmp_path: Path) -> None:
    patch = {"patch": {"size": [2, 2, 2]}}
    config = config_of(tmp_path / "nowhere", augment=patch, sample_on="device")
    problems = check_pretraining(config, tmp_path).problems
    expected = ["no store at", "patch 2x2x2"] + ["sample_on"] * (not torch.cuda.is_available())
    assert len(problems) == len(expected)
    for problem, words in zip(problems, expected, strict=True):
        assert words in problem


def test_scans_smaller_than_the_patch_are_counted(small_store: Path, tmp_path: Path) -> None:
    # 24 x 26 x 28 voxels of 1.0 x 1.2 x 0.9 mm: 31 voxels along front, 25 along top.
    patch = {"patch": {"size": [16, 16, 32], "spacing_mm": 1.0}}
    advice = check_pretraining(config_of(small_store, augment=patch), tmp_path).advice
    assert any("100% of the scans are smaller than the patch 16x16x32" in line for line in advice)
    assert any("24x31x25 voxels" in line for line in advice)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the limit is the CPU's")
def test_what_does_not_fit_ends_in_a_batch_that_does(
    small_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapped = 2_000_000_000  # what the libraries themselves take, and room for small batches
    monkeypatch.setattr(trial, "free_memory", lambda: mapped)
    before = resource.getrlimit(resource.RLIMIT_DATA)
    config = config_of(small_store, batch_size=20_000)
    (problem,) = check_pretraining(config, tmp_path).problems
    assert problem.startswith("a batch of 20000 does not fit in memory; lower batch_size to about ")
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_a_slow_loader_and_a_full_disk_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.os, "cpu_count", lambda: 8)
    slow = Trial(step_s=0.1, batch_s=0.18, memory_bytes=10**6, checkpoint_bytes=10**18, weights=1)
    check = module.Check()
    module.add_cost(check, slow, config_of(tmp_path).runtime, 10, tmp_path)
    assert check.advice == ["training waits for patches: set runtime.num_workers=2"]
    assert "checkpoints take 3000000000.0 GB" in check.problems[0]
