"""Checkpoints that are whole or not there.

A checkpoint is a folder `step-00000200` with `weights.safetensors` and `training.pt` (optimiser,
step, best value; tensors and plain numbers alone, read with weights_only=True). It is written under
another name, synchronised to disk and then renamed; the one before it is kept until then.
"""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from medssl.errors import CheckpointError

_KEPT = 2


def save_checkpoint(
    folder: Path, step: int, weights: dict[str, torch.Tensor], training: dict[str, Any]
) -> Path:
    """Write the checkpoint of `step` atomically and drop all but the newest two.

    Raises:
        OSError: the disk is full; nothing half-written stays behind.
    """
    final = folder / f"step-{step:08d}"
    partial = folder / f".step-{step:08d}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        state = io.BytesIO()
        torch.save(training, state)
        plain = {name: t.detach().cpu().contiguous() for name, t in weights.items()}
        _write_synced(partial / "weights.safetensors", safetensors.torch.save(plain))
        _write_synced(partial / "training.pt", state.getvalue())
        if final.exists():
            shutil.rmtree(final)
        os.rename(partial, final)
        _sync_folder(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    for old in _complete(folder)[:-_KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint, or None; leftovers of a killed writer are removed."""
    for partial in folder.glob(".step-*.partial"):
        shutil.rmtree(partial, ignore_errors=True)
    complete = _complete(folder)
    return complete[-1] if complete else None


def load_checkpoint(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Weights and training state of one checkpoint.

    Raises:
        CheckpointError: a file is missing or damaged.
    """
    try:
        weights = safetensors.torch.load_file(path / "weights.safetensors")
        training = torch.load(path / "training.pt", map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"checkpoint {path} is damaged; remove that folder and run again to resume from the "
            "one before it"
        ) from error
    return weights, training


def _complete(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("step-*") if (p / "training.pt").is_file())


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
