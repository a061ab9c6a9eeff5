"""Checkpoints are whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from medssl.engine import checkpoint
from medssl.engine.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from medssl.errors import CheckpointError

WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3)}


def test_round_trip_and_the_newest_two_are_kept(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        save_checkpoint(tmp_path, step, {"a": WEIGHTS["a"] + step}, {"step": step})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000010", "step-00000015"]
    newest = latest_checkpoint(tmp_path)
    assert newest is not None
    weights, training = load_checkpoint(newest)
    assert torch.equal(weights["a"], WEIGHTS["a"] + 15)
    assert training == {"step": 15}


def test_a_full_disk_leaves_the_old_checkpoint_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, 5, WEIGHTS, {"step": 5})
    written = []

    def full(path: Path, data: bytes) -> None:
        if written:
            raise OSError(28, "No space left on device")
        written.append(path)
        path.write_bytes(data)

    monkeypatch.setattr(checkpoint, "_write_synced", full)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(tmp_path, 10, WEIGHTS, {"step": 10})
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000005"]


def test_leftovers_of_a_killed_writer_are_not_loaded(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 5, WEIGHTS, {"step": 5})
    (tmp_path / ".step-00000010.partial").mkdir()
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert found.name == "step-00000005"
    assert not (tmp_path / ".step-00000010.partial").exists()


def test_damage_is_named(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, 5, WEIGHTS, {"step": 5})
    (path / "training.pt").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="step-00000005 is damaged"):
        load_checkpoint(path)


def test_nothing_there_is_none(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path / "absent") is None
