"""ensemble.json names networks by relative path, and notices when one was changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from medssl.errors import CheckpointError
from medssl.models.weights import save_weights
from medssl.transfer.ensemble import FILE_NAME, read_ensemble, write_ensemble


def members(run: Path) -> list[Path]:
    paths = [run / "folds" / str(n) / "checkpoints" / "model.safetensors" for n in range(3)]
    for number, path in enumerate(paths):
        save_weights(path, {"w": torch.full((2,), float(number))}, {})
    return paths


def test_a_run_that_was_moved_still_finds_its_members(tmp_path: Path) -> None:
    paths = members(tmp_path / "run")
    write_ensemble(tmp_path / "run", paths)
    assert read_ensemble(tmp_path / "run") == paths
    shutil.move(tmp_path / "run", tmp_path / "moved")
    assert [path.is_file() for path in read_ensemble(tmp_path / "moved")] == [True] * 3


def test_members_that_were_changed_or_lost_are_refused(tmp_path: Path) -> None:
    paths = members(tmp_path)
    with pytest.raises(CheckpointError, match=r"no ensemble\.json"):
        read_ensemble(tmp_path)
    file = write_ensemble(tmp_path, paths)
    save_weights(paths[1], {"w": torch.zeros(2)}, {})
    with pytest.raises(CheckpointError, match="is not the one"):
        read_ensemble(tmp_path)
    paths[1].unlink()
    with pytest.raises(CheckpointError, match="no weights at"):
        read_ensemble(tmp_path)
    file.write_text(json.dumps({"schema": "other/1", "members": []}))
    with pytest.raises(CheckpointError, match="schema other/1"):
        read_ensemble(tmp_path)
    assert file.name == FILE_NAME
