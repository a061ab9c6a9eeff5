"""Exports that cannot be written are refused at once, with the next step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from medssl.errors import ConfigError
from medssl.export.bundle import export_bundle
from medssl.export.card import write_card
from medssl.export.nnunet import export_nnunet
from medssl.export.onnx_file import export_onnx
from medssl.export.place import check_place

EXPORTS = {"x.onnx": export_onnx, "x": export_bundle, "x.md": write_card, "x.pth": export_nnunet}


@pytest.mark.parametrize("name", EXPORTS)
def test_a_place_where_nothing_can_be_written_is_named(
    finetuned_run: Callable[..., object], tmp_path: Path, name: str
) -> None:
    finetuned_run(tmp_path / "run")
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "below" / name
    with pytest.raises(ConfigError, match=r"nothing can be written in .* choose another --out"):
        EXPORTS[name](tmp_path / "run", out)


@pytest.mark.parametrize("name", ["x.onnx", "x.md", "x.pth"])
def test_a_folder_is_not_a_file(
    finetuned_run: Callable[..., object], tmp_path: Path, name: str
) -> None:
    finetuned_run(tmp_path / "run")
    (tmp_path / name).mkdir()
    with pytest.raises(ConfigError, match=r"is a folder; name the file in it"):
        EXPORTS[name](tmp_path / "run", tmp_path / name)


def test_the_folder_is_made_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    check_place(tmp_path / "new" / "x.onnx")
    assert list((tmp_path / "new").iterdir()) == []
