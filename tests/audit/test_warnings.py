"""Checks that warn: what makes them do so, alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from medssl.audit.checks import (
    baseline,
    calibration,
    collapse,
    near_duplicates,
    permuted,
    provenance,
)
from medssl.audit.result import Status
from medssl.audit.study_files import DamagedFile
from medssl.leaks.rulings import add_ruling


def _each_cell(study: Any, pattern: str, edit: Callable[[dict[str, Any]], None]) -> None:
    for path in sorted((study.root / "cells").glob(pattern)):
        study.edit_json(f"cells/{path.name}/cell.json", edit)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("git_dirty", "true", "changes not committed"),
        ("git_dirty", "unknown", "clean is not known"),
        ("git_commit", "none", "commit not recorded"),
        ("device", None, "device not recorded"),
    ],
)
def test_i4_warns_of_what_is_not_known(study: Any, name: str, value: str, told: str) -> None:
    assert study.check(provenance.CHECK).status is Status.PASS
    _each_cell(study, "ssl_ft_1_*", lambda v: v["provenance"].update({name: value}))
    finding = study.check(provenance.CHECK)
    assert finding.status is Status.WARN
    assert told in finding.observed
    assert "5 cells" in finding.observed


def test_i4_warns_of_arms_on_other_machines_and_of_seeds(study: Any) -> None:
    _each_cell(study, "ssl_ft_*", lambda v: v["provenance"].update(device="another"))
    _each_cell(study, "scratch_1_0", lambda v: v.update(seed=3))
    finding = study.check(provenance.CHECK)
    assert finding.status is Status.WARN
    assert "device differs between cells (another, cpu), and not alike" in finding.observed
    assert "the seed in the ledger is another one for scratch_1_0" in finding.observed


def _flipped(perceptual_hash: str, bits: int) -> str:
    return f"{int(perceptual_hash, 16) ^ (2**bits - 1):064x}"


@pytest.mark.parametrize(("bits", "status"), [(5, Status.WARN), (20, Status.PASS)])
@pytest.mark.parametrize("where", ["cases.parquet", "pretrain.parquet"])
def test_l3_warns_of_another_patient_who_looks_the_same(
    study: Any, where: str, bits: int, status: Status
) -> None:
    cases = pd.read_parquet(study.root / "cases.parquet")
    test = cases[cases["role"] == "test"].iloc[2]

    def copy(frame: pd.DataFrame) -> pd.DataFrame:
        at = frame.index[frame["role"] == "dev"][0] if "role" in frame else frame.index[0]
        frame.loc[at, "perceptual_hash"] = _flipped(test["perceptual_hash"], bits)
        return frame

    study.edit_table(where, copy)
    finding = study.check(near_duplicates.CHECK)
    assert finding.status is status
    assert (f"test {test['volume_uid'][:12]}" in finding.observed) == (status is Status.WARN)


def test_l3_takes_a_persons_word(study: Any) -> None:
    """A pair that was ruled on is no longer open; the same patient in both parts is a leak."""
    cases = pd.read_parquet(study.root / "cases.parquet")
    test = cases[cases["role"] == "test"].iloc[2]
    other = cases[cases["role"] == "dev"].iloc[0]

    def copy(frame: pd.DataFrame) -> pd.DataFrame:
        at = frame.index[frame["role"] == "dev"][0]
        frame.loc[at, "perceptual_hash"] = _flipped(test["perceptual_hash"], 3)
        return frame

    study.edit_table("cases.parquet", copy)
    assert study.check(near_duplicates.CHECK).status is Status.WARN
    rulings = study.root / near_duplicates.RULED
    rulings.parent.mkdir()
    pixels = (test["pixel_sha256"], other["pixel_sha256"])
    add_ruling(rulings, pixels, "different", "A. Reader", "perceptual", 3.0)
    finding = study.check(near_duplicates.CHECK)
    assert finding.status is Status.PASS
    assert "1 pair ruled to be different" in finding.observed
    add_ruling(rulings, pixels, "same", "A. Reader", "perceptual", 3.0)
    finding = study.check(near_duplicates.CHECK)
    assert finding.status is Status.FAIL
    assert test["volume_uid"][:12] in finding.observed
    lines = rulings.read_text().splitlines()
    rulings.write_text(lines[1] + "\n")
    with pytest.raises(DamagedFile, match=r"leaks/rulings.jsonl: line 1 has seq 2"):
        study.check(near_duplicates.CHECK)


def test_l6_warns_where_permuted_labels_teach_something(copied: Callable[..., Any]) -> None:
    study = copied(arms=("scratch", "permuted_labels"), claim=None)
    assert study.check(permuted.CHECK).status is Status.PASS
    for draw in range(5):
        for fraction in ("0.25", "1"):
            cell = f"{fraction}_{draw}.parquet"
            shutil.copyfile(
                study.root / f"predictions/scratch_{cell}",
                study.root / f"predictions/permuted_labels_{cell}",
            )
    finding = study.check(permuted.CHECK)
    assert finding.status is Status.WARN
    assert "does not contain 0.5" in finding.observed


def test_l6_without_such_an_arm_is_a_note(study: Any) -> None:
    assert study.check(permuted.CHECK).status is Status.NOTE


def test_b2_warns_of_a_best_setting_on_the_edge(copied: Callable[..., Any]) -> None:
    study = copied(trials=5)
    assert study.check(baseline.CHECK).status is Status.PASS

    def edge(values: dict[str, Any]) -> None:
        values["setting"] = {"optim.lr": 0.005}

    _each_cell(study, "ssl_ft_*", edge)
    assert study.check(baseline.CHECK).status is Status.PASS
    _each_cell(study, "scratch_*", edge)
    finding = study.check(baseline.CHECK)
    assert finding.status is Status.WARN
    assert "10 of 10 tuned cells of scratch chose optim.lr 0.005, the highest" in finding.observed


def test_b2_with_fewer_trials_is_a_note(study: Any) -> None:
    assert study.check(baseline.CHECK).status is Status.NOTE


def test_b2_warns_where_twice_the_steps_help(copied: Callable[..., Any]) -> None:
    study = copied(arms=("scratch", "scratch_2x"), claim=None)
    assert study.check(baseline.CHECK).status is Status.NOTE  # one trial

    def sharpen(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(logit_1=frame["logit_1"] + (2 * frame["y_true"] - 1))

    for draw in range(5):
        study.edit_table(f"predictions/scratch_2x_0.25_{draw}.parquet", sharpen)
    finding = study.check(baseline.CHECK)
    assert finding.status is Status.WARN
    assert "twice the steps bring scratch +" in finding.observed


def test_k1_warns_where_pretraining_is_worse(study: Any) -> None:
    assert study.check(calibration.CHECK).status is Status.PASS
    for path in sorted((study.root / "predictions").glob("ssl_ft_*")):
        study.edit_table(f"predictions/{path.name}", lambda f: f.assign(logit_1=-f["logit_1"]))
    finding = study.check(calibration.CHECK)
    assert finding.status is Status.WARN
    assert "Brier score of ssl_ft is" in finding.observed


def test_k1_tells_the_brier_score_of_each_arm(study: Any) -> None:
    scores = []
    for path in sorted((study.root / "predictions").glob("scratch_*")):
        frame = pd.read_parquet(path).query("split == 'test'")
        scores.append(((expit(frame["logit_1"]) - frame["y_true"]) ** 2).mean())
    told = study.check(calibration.CHECK).observed
    assert f"Brier score: scratch {np.mean(scores):.3f}" in told


def test_h1_warns_of_a_collapse(study: Any) -> None:
    assert study.check(collapse.CHECK).status is Status.PASS
    study.edit_json("pretraining.json", lambda v: v["health"].append({"step": 20, "rankme": 9.0}))
    assert "less than half" in study.check(collapse.CHECK).observed
    study.edit_json("pretraining.json", lambda v: v.update(alarms=["loss at chance"]))
    finding = study.check(collapse.CHECK)
    assert finding.status is Status.WARN
    assert "pretraining: loss at chance" in finding.observed


def test_h1_looks_at_cells_that_started_from_the_encoder(study: Any) -> None:
    shape = {"rankme": 1.0, "collapse": True}
    _each_cell(study, "scratch_1_0", lambda v: v.update(representation=shape))
    assert study.check(collapse.CHECK).status is Status.PASS
    _each_cell(study, "ssl_ft_1_0", lambda v: v.update(representation=shape))
    finding = study.check(collapse.CHECK)
    assert finding.status is Status.WARN
    assert "cell ssl_ft_1_0" in finding.observed
    (study.root / "pretraining.json").unlink()
    _each_cell(study, "*_1_0", lambda v: v.update(representation=None))
    assert study.check(collapse.CHECK).status is Status.NOTE
