"""The page of augmentations is what the code says, with a picture for each."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import runpy
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from medssl.augment import intensity

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "images" / "augment"


@pytest.fixture(scope="module")
def maker() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs" / "make_augmentations.py"))


def all_transforms() -> set[str]:
    """Every class of the package that draws and applies."""
    found = set()
    for module in pkgutil.iter_modules(intensity.__path__):
        loaded = importlib.import_module(f"{intensity.__name__}.{module.name}")
        for name, kind in inspect.getmembers(loaded, inspect.isclass):
            if dataclasses.is_dataclass(kind) and hasattr(kind, "draw"):
                found.add(name)
    return found


def test_the_page_is_in_step(maker: dict[str, Any]) -> None:
    written = (ROOT / "docs" / "reference" / "augmentations.md").read_text(encoding="utf-8")
    assert written == maker["page"](), "docs/reference/augmentations.md: run make docs"


def test_every_transform_has_a_section(maker: dict[str, Any]) -> None:
    assert {kind.__name__ for kind in maker["transforms"]()} == all_transforms()
    assert set(maker["AT"]) == all_transforms()


def test_every_range_is_explained(maker: dict[str, Any]) -> None:
    for kind in maker["transforms"]():
        _, attributes = maker["_docstring"](kind)
        assert set(attributes) == {field.name for field in dataclasses.fields(kind)}, kind


def test_pictures_are_there_and_small(maker: dict[str, Any]) -> None:
    expected = {maker["file_name"](kind) for kind in maker["transforms"]()}
    places = ("rotation", "scale", "mirroring", "shear", "deformation")
    expected |= {f"{name}.png" for name in places}
    assert {path.name for path in IMAGES.iterdir()} == expected
    assert sum(path.stat().st_size for path in IMAGES.iterdir()) < 1_500_000
    for path in IMAGES.iterdir():
        with Image.open(path) as picture:
            assert picture.mode == "P"
            assert not picture.info
