"""L7 and M2: what only voxels can tell, with a store that holds them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medssl.audit.checks import images, masks, near_duplicates
from medssl.audit.result import Status
from medssl.errors import StudyError
from medssl.store import Store, open_store
from medssl.store.describe import geometry_columns
from medssl.store.voxels import write_voxels
from medssl.store.writer import create_store, volume_path, write_part
from medssl.volume import Volume

from .made_study import SHAPE, reference_mask

SEGMENTATION: dict[str, Any] = {
    "segmentation": True,
    "draws": 1,
    "patients": 40,
    "claim": None,
    "fractions": (1.0,),
}


def _store(
    root: Path,
    cases: pd.DataFrame,
    blank: tuple[str, ...] = (),
    key: str = "key-1",
    shape: tuple[int, int, int] = SHAPE,
) -> Store:
    """Voxels and reference masks of the cases; those of `blank` hold one value."""
    create_store(root, key, {})
    manifest, labels = [], []
    for case in cases.to_dict("records"):
        uid = case["volume_uid"]
        stored = np.random.default_rng(int(uid[:6], 16)).integers(0, 99, shape).astype("i2")
        write_voxels(root / volume_path(uid), stored * (uid not in blank))
        write_voxels(root / volume_path(uid, "labels"), reference_mask(uid))
        row = {name: case[name] for name in ("volume_uid", "patient_key", "pixel_sha256")}
        volume = Volume(stored.astype("f4"), np.eye(4), "CT")
        padding = {"padding_low": float("nan"), "padding_high": float("nan")}
        manifest.append(
            {**row, **padding, **geometry_columns(volume), "modality": "CT", "units": "HU"}
            | {"path": volume_path(uid)}
        )
        mask = {"kind": "mask", "name": "mask", "value": "0,1,2"}
        labels.append({**row, **mask, "path": volume_path(uid, "labels")})
        del labels[-1]["pixel_sha256"]
    write_part(root, "manifest", "00000", manifest)
    write_part(root, "labels", "00000", labels)
    return open_store(root)


def _cases(study: Any) -> pd.DataFrame:
    return pd.read_parquet(study.root / "cases.parquet")


@pytest.mark.parametrize(("slices", "status"), [(7, Status.NOT_RUN), (8, Status.WARN)])
def test_l3_asks_no_hash_of_a_few_slices(
    copied: Callable[..., Any], tmp_path: Path, slices: int, status: Status
) -> None:
    study = copied()
    looks = _cases(study).query("role == 'test'")["perceptual_hash"].iloc[2]

    def copy(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[frame.index[frame["role"] == "dev"][0], "perceptual_hash"] = looks
        return frame

    study.edit_table("cases.parquet", copy)
    store = _store(tmp_path / "store", _cases(study), shape=(20, slices, 24))
    assert study.check(near_duplicates.CHECK).status is Status.WARN
    finding = study.check(near_duplicates.CHECK, store=store)
    assert finding.status is status


@pytest.mark.parametrize(
    ("role", "status"), [(None, Status.PASS), ("test", Status.FAIL), ("dev", Status.WARN)]
)
def test_l7_sees_a_constant_image(
    copied: Callable[..., Any], tmp_path: Path, role: str | None, status: Status
) -> None:
    study = copied(**SEGMENTATION)
    cases = _cases(study)
    blank = tuple(cases.loc[cases["role"] == role, "volume_uid"][:1])
    store = _store(tmp_path / "store", cases, blank)
    finding = study.check(images.CHECK, store=store)
    assert finding.status is status
    assert all(uid[:12] in finding.observed for uid in blank)
    assert study.check(images.CHECK).status is Status.NOT_RUN


def test_l7_cannot_tell_of_scans_that_the_store_lacks(
    copied: Callable[..., Any], tmp_path: Path
) -> None:
    study = copied(**SEGMENTATION)
    store = _store(tmp_path / "store", _cases(study).iloc[3:])
    finding = study.check(images.CHECK, store=store)
    assert finding.status is Status.INCONCLUSIVE
    assert "3 scans not readable" in finding.observed


def test_m2_finds_dice_again(copied: Callable[..., Any], tmp_path: Path) -> None:
    study = copied(**SEGMENTATION)
    store = _store(tmp_path / "store", _cases(study))
    finding = study.check(masks.CHECK, store=store)
    assert finding.status is Status.PASS
    assert "20 masks of 10 cases" in finding.observed
    without = study.check(masks.CHECK)
    assert without.status is Status.NOT_RUN
    assert "have the hash and the size told" in without.observed


def test_m2_fails_counts_that_are_not_the_masks(copied: Callable[..., Any], tmp_path: Path) -> None:
    """True positives are told for what was missed: the mask's size, and so its hash, still fit."""
    study = copied(**SEGMENTATION)
    store = _store(tmp_path / "store", _cases(study))

    def flatter(frame: pd.DataFrame) -> pd.DataFrame:
        moved = frame["fp_1"]
        frame = frame.assign(tp_1=frame["tp_1"] + moved, fp_1=0, fn_1=frame["fn_1"] - moved)
        dice = 2 * frame["tp_1"] / (2 * frame["tp_1"] + frame["fn_1"])
        return frame.assign(dice_1=dice)

    study.edit_table("predictions/ssl_ft_1_0.parquet", flatter)
    finding = study.check(masks.CHECK, store=store)
    assert finding.status is Status.FAIL
    assert "cell ssl_ft_1_0" in finding.observed
    assert "Dice of class 1" in finding.observed
    # Without the reference only a mask of another size can be told.
    assert study.check(masks.CHECK).status is Status.NOT_RUN
    study.edit_table("predictions/ssl_ft_1_0.parquet", lambda f: f.assign(fp_1=f["fp_1"] + 5))
    assert study.check(masks.CHECK).status is Status.FAIL


@pytest.mark.parametrize("damage", ["missing", "torn", "another"])
def test_a_damaged_mask_fails_with_its_name(copied: Callable[..., Any], damage: str) -> None:
    study = copied(**SEGMENTATION)
    path = study.check(masks.CHECK).evidence[1].path
    if damage == "missing":
        (study.root / path).unlink()
    else:
        data = (study.root / path).read_bytes()
        (study.root / path).write_bytes(data[: len(data) // 2] if damage == "torn" else data + b"x")
    result = study.audit()
    assert result.check("M2").status is Status.FAIL
    assert path in result.check("M2").observed
    assert result.exit_code == 1


def test_a_store_of_another_key_is_refused(copied: Callable[..., Any], tmp_path: Path) -> None:
    study = copied(**SEGMENTATION)
    store = _store(tmp_path / "store", _cases(study)[:1], key="key-9")
    with pytest.raises(StudyError, match="under key key-9"):
        study.audit(store=store.root)
    with pytest.raises(StudyError, match="name --store"):
        study.audit(rerun=True)
