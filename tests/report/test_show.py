"""`medssl show`: which scans it takes, what it writes, and how it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medssl.errors import ConfigError
from medssl.report.show import ShowConfig, choose_scans, find_scan, show
from medssl.store import open_store

SMALL = ("augment.patch.size=[8, 8, 8]",)


@pytest.fixture
def filled(store_root: Path, make_row: Any, write_rows: Callable[..., None]) -> Path:
    """Three CTs of two patients, an MR, a PET in SUV."""
    values = np.random.default_rng(0).integers(-900, 900, (12, 12, 12)).astype(np.int16)
    ct = {"modality": "CT", "units": "HU"}
    write_rows(
        [
            make_row(0, values, **ct, patient_key="a" * 32),
            make_row(1, values, **ct, patient_key="a" * 32),
            make_row(2, values, **ct, patient_key="b" * 32),
            make_row(3),
            make_row(4, np.abs(values) // 100, modality="PT", units="SUV"),
        ]
    )
    return store_root


def test_the_picture_has_a_block_for_each_scan(filled: Path, tmp_path: Path) -> None:
    heights = {}
    for policy in ("mr", "ct", None):
        out = tmp_path / f"{policy}.png"
        done = show(ShowConfig(filled, out, policy, views=2, overrides=SMALL))
        assert done.lines()[-1].endswith(str(out))
        with Image.open(out) as picture:
            heights[policy] = picture.size[1]
            assert picture.size[0] == heights.setdefault("width", picture.size[0])
        assert len(done.volume_uids) == {"mr": 1, "ct": 2, None: 4}[policy]
    assert heights["mr"] < heights["ct"] < heights[None]


def test_the_same_seed_writes_the_same_bytes(filled: Path, tmp_path: Path) -> None:
    written = []
    for number, seed in enumerate((3, 3, 4)):
        out = tmp_path / f"{number}.png"
        show(ShowConfig(filled, out, "ct", views=2, seed=seed, overrides=SMALL))
        written.append(out.read_bytes())
    assert written[0] == written[1] != written[2]


def test_scans_of_different_patients_are_taken_first(filled: Path) -> None:
    store = open_store(filled)
    assert len(set(store.manifest.loc[choose_scans(store, ["CT"], 2), "patient_key"])) == 2
    assert len(choose_scans(store, ["CT"], 3)) == 3
    modalities = store.manifest.loc[choose_scans(store, None, 2), "modality"]
    assert modalities.tolist() == ["CT", "CT", "MR", "PT"]


def test_a_volume_is_found_by_how_it_begins(filled: Path, uid_of: Callable[[int], str]) -> None:
    store = open_store(filled)
    assert find_scan(store, uid_of(3)[:6]) == uid_of(3)
    with pytest.raises(ConfigError, match="--volume zz: the store has no such volume; give"):
        find_scan(store, "zz")
    with pytest.raises(ConfigError, match="5 volumes begin so; give more"):
        find_scan(store, "")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"policy": "ot"}, r"--policy ot: .* has volumes for: ct \(3\), mr \(1\), pt \(1\)"),
        ({"policy": "us"}, "--policy us: ct, mr, pt or ot is expected"),
        ({"out": Path("a.jpg")}, "--out a.jpg: .* ends in .png"),
        ({"policy": "ct", "volume": "0"}, "--policy has no effect beside --volume"),
        ({"overrides": ("augment.patch.sise=3",)}, "did you mean size?"),
    ],
)
def test_a_wrong_option_is_refused_by_name(
    filled: Path, tmp_path: Path, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        show(ShowConfig(**{"store": filled, "out": tmp_path / "a.png", **asked}))
    assert not (tmp_path / "a.png").exists()


def test_an_empty_store_is_told(store_root: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is empty; medssl ingest"):
        show(ShowConfig(store_root, tmp_path / "a.png"))


def test_a_method_without_intensities_is_shown_without_them(filled: Path, tmp_path: Path) -> None:
    mae = ("method={name: mae}", *SMALL)
    done = show(ShowConfig(filled, tmp_path / "a.png", "mr", views=2, overrides=mae))
    assert done.plain_values == "mae"
    assert "intensities are not augmented" in done.lines()[0]
