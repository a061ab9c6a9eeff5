"""Paired tests, controls, calibration and subgroups against naive computations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from scipy.stats import false_discovery_control, wilcoxon
from sklearn.metrics import brier_score_loss, roc_auc_score

from medssl.efficiency.calibration import calibration_rows
from medssl.efficiency.cells import Cell, cells_of_plan
from medssl.efficiency.controls import doubled_steps, permuted_labels
from medssl.efficiency.curve import metric_grid
from medssl.efficiency.paired_tests import paired_tests
from medssl.efficiency.subgroups import subgroup_report, subgroups_of

PATIENTS, DRAWS = 120, 3
ARMS = ("scratch", "ssl_ft", "permuted_labels", "scratch_2x")
SIGNAL = {"scratch": 1.0, "ssl_ft": 1.5, "permuted_labels": 0.0, "scratch_2x": 1.1}


def make_plan(kind: str = "classification") -> dict[str, Any]:
    return {
        "task": {"kind": kind},
        "metric": "auc_macro" if kind == "classification" else "dice_mean",
        "arms": {arm: {} for arm in ARMS},
        "fractions": [0.5, 1.0],
        "draws": DRAWS,
        "subsets": [
            {"fraction": f, "draw": d, "cases": 100 * f, "patients": 100 * f}
            for f in (0.5, 1.0)
            for d in range(DRAWS)
        ],
        "statistics": {"replicates": 300, "seed": 0, "level": 0.95},
    }


@pytest.fixture
def cases() -> pd.DataFrame:
    """Three sites, one of them small; of the others, the second is hard for the pretrained arm."""
    number = np.arange(PATIENTS)
    return pd.DataFrame(
        {
            "volume_uid": [f"v{i:03d}" for i in number],
            "patient_key": [f"p{i:03d}" for i in number],
            "role": "test",
            "label": (number % 2).astype(str),
            "y_true": number % 2,
            "site": np.where(number < 8, "tiny", np.where(number < 64, "north", "south")),
            "sex": "",
        }
    )


@pytest.fixture
def frames(cases: pd.DataFrame) -> dict[Cell, pd.DataFrame]:
    rng = np.random.default_rng(0)
    shown = cases[["volume_uid", "patient_key", "y_true"]].assign(split="test", logit_0=0.0)
    made = {}
    for cell in cells_of_plan(make_plan()):
        signal = np.full(PATIENTS, SIGNAL[cell.arm])
        if cell.arm == "ssl_ft":
            signal[(cases["site"] == "south").to_numpy()] = 0.3
        sign = 2 * cases["y_true"].to_numpy() - 1
        made[cell] = shown.assign(logit_1=signal * sign + rng.normal(0, 1.5, PATIENTS))
    return made


def test_delong_rows_are_of_the_mean_over_draws(frames: dict[Cell, pd.DataFrame]) -> None:
    rows = paired_tests(make_plan(), frames)
    assert {row["arm"] for row in rows} == {"ssl_ft", "permuted_labels", "scratch_2x"}
    for row in rows:
        areas = {
            arm: np.mean(
                [
                    roc_auc_score(f["y_true"], f["logit_1"])
                    for f in (frames[Cell(arm, row["fraction"], d)] for d in range(DRAWS))
                ]
            )
            for arm in (row["arm"], "scratch")
        }
        assert row["test"] == "delong"
        assert row["delta"] == pytest.approx(areas[row["arm"]] - areas["scratch"])
        assert row["p"] <= row["p_holm"] <= 1
        assert (row["draws"], row["patients"]) == (DRAWS, PATIENTS)
    worst = [row for row in rows if row["arm"] == "permuted_labels"]
    assert all(row["p"] < 1e-3 for row in worst)


def test_wilcoxon_is_of_patients_and_a_missing_draw_is_left_out() -> None:
    rng = np.random.default_rng(1)
    plan = make_plan("segmentation") | {"arms": {"scratch": {}, "ssl_ft": {}}}
    patients = np.repeat([f"p{i:02d}" for i in range(30)], 2)
    shown = pd.DataFrame({"volume_uid": [f"v{i:02d}" for i in range(60)], "patient_key": patients})
    frames = {}
    for cell in cells_of_plan(plan):
        found = rng.integers(40, 80, 60) + 6 * (cell.arm == "ssl_ft")
        frames[cell] = shown.assign(split="test", tp_1=found, fp_1=10, fn_1=100 - found)
    del frames[Cell("ssl_ft", 0.5, 1)]
    row = paired_tests(plan, frames)[0]
    dice = {
        arm: np.mean(
            [
                (2 * f["tp_1"] / (2 * f["tp_1"] + f["fp_1"] + f["fn_1"])).groupby(patients).mean()
                for f in (frames[Cell(arm, 0.5, d)] for d in (0, 2))
            ],
            axis=0,
        )
        for arm in ("scratch", "ssl_ft")
    }
    difference = dice["ssl_ft"] - dice["scratch"]
    assert row["draws"] == 2
    assert row["delta"] == pytest.approx(np.median(difference))
    assert row["p"] == pytest.approx(wilcoxon(difference, zero_method="zsplit").pvalue)
    assert calibration_rows(plan, frames) == []


def test_calibration_rows_hold_brier_and_ece_with_their_change(
    frames: dict[Cell, pd.DataFrame],
) -> None:
    rows = {
        (r["arm"], r["fraction"], r["measure"]): r for r in calibration_rows(make_plan(), frames)
    }
    assert len(rows) == 4 * 2 * 2
    expected = {}
    for arm in ("scratch", "ssl_ft"):
        of_draws = []
        for draw in range(DRAWS):
            frame = frames[Cell(arm, 1.0, draw)]
            p = softmax(frame[["logit_0", "logit_1"]].to_numpy(), axis=1)[:, 1]
            of_draws.append(brier_score_loss(frame["y_true"], p))
        expected[arm] = np.mean(of_draws)
    row = rows["ssl_ft", 1.0, "brier"]
    assert row["value"] == pytest.approx(expected["ssl_ft"])
    assert row["delta"] == pytest.approx(expected["ssl_ft"] - expected["scratch"])
    assert row["delta_lo"] < row["delta"] < row["delta_hi"]
    assert rows["scratch", 1.0, "brier"]["delta"] is None
    # Resampling inflates ECE; its interval is moved back, so that it lies about the value.
    assert all(row["lo"] < row["value"] < row["hi"] for row in rows.values())
    assert rows["permuted_labels", 1.0, "ece"]["delta_lo"] > 0


def test_controls_find_chance_and_the_gain_of_more_steps(
    frames: dict[Cell, pd.DataFrame],
) -> None:
    grid = metric_grid(make_plan(), frames, "auc_macro")
    chance = permuted_labels(grid)
    assert [row["holds"] for row in chance] == [True, True]
    leaking = dict(frames)
    for cell in frames:
        if cell.arm == "permuted_labels":
            leaking[cell] = frames[Cell("scratch", cell.fraction, cell.draw)]
    leak = permuted_labels(metric_grid(make_plan(), leaking, "auc_macro"))
    assert [row["holds"] for row in leak] == [False, False]
    gains = doubled_steps(grid)
    expected = grid.theta("scratch_2x", 0.5) - grid.theta("scratch", 0.5)
    assert gains[0]["gain"] == pytest.approx(expected)
    assert gains[0]["lo"] < gains[0]["gain"] < gains[0]["hi"]
    without = make_plan() | {"arms": {"scratch": {}}}
    alone = metric_grid(without, {c: f for c, f in frames.items() if c.arm == "scratch"}, "brier")
    assert permuted_labels(alone) == doubled_steps(alone) == []


def test_subgroups_name_the_one_that_pretraining_serves_less(
    frames: dict[Cell, pd.DataFrame], cases: pd.DataFrame
) -> None:
    report = subgroup_report(make_plan(), frames, cases, ("ssl_ft", 0.5), ("scratch", 1.0))
    rows = {row["group"]: row for row in report["groups"]}
    assert set(rows) == {"north", "south"}
    assert report["left_out"] == [
        {"column": "site", "group": "tiny", "patients": 8, "why": "8 patients, fewer than 10"}
    ]
    value = {
        (arm, f, site): np.mean(
            [
                roc_auc_score(g["y_true"], g["logit_1"])
                for g in (
                    frames[Cell(arm, f, d)][(cases["site"] == site).to_numpy()]
                    for d in range(DRAWS)
                )
            ]
        )
        for arm, f in (("ssl_ft", 0.5), ("scratch", 1.0))
        for site in ("north", "south")
    }
    assert rows["south"]["value"] == pytest.approx(value["ssl_ft", 0.5, "south"])
    assert rows["south"]["patients"] == 56
    gaps = [
        value[arm, f, "north"] - value[arm, f, "south"]
        for arm, f in (("ssl_ft", 0.5), ("scratch", 1.0))
    ]
    assert rows["south"]["change"] == pytest.approx(gaps[0] - gaps[1])
    assert rows["north"]["change"] == pytest.approx(gaps[1] - gaps[0])
    assert rows["south"]["lo"] > 0.05
    assert [r["p_bh"] for r in report["groups"]] == pytest.approx(
        false_discovery_control([r["p"] for r in report["groups"]])
    )
    (gap,) = report["gaps"]
    assert gap["change"] == pytest.approx(abs(gaps[0]) - abs(gaps[1]))
    assert gap["lo"] < gap["change"] < gap["hi"]


def test_groups_need_ten_patients_and_five_of_each_class(cases: pd.DataFrame) -> None:
    cases.loc[cases["site"] == "south", "label"] = "0"
    groups, left_out = subgroups_of(cases, "classification")
    assert groups == []
    why = {row["group"]: row["why"] for row in left_out}
    assert why["south"] == "0 patients of class 1, fewer than 5"
    assert "no other group" in why["north"]
    masks = cases.assign(label=np.where(np.arange(PATIENTS) % 3 == 0, "1", "1,2"))
    assert {g.name for g in subgroups_of(masks, "segmentation")[0]} == {"north", "south"}
