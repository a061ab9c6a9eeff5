"""Cross-validation on a small store, against fits of the same folds one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

import medssl.engine.loop as loop
from medssl.config import parse_config
from medssl.engine.run_folder import RunFolder
from medssl.errors import ConfigError
from medssl.export.card import write_card
from medssl.models.weights import read_metadata
from medssl.store import open_store
from medssl.transfer.config import FinetuneConfig
from medssl.transfer.ensemble import read_ensemble
from medssl.transfer.finetune import finetune
from medssl.transfer.fit import fit
from medssl.transfer.folds import cases_of_fold
from medssl.transfer.metrics import with_case_columns
from medssl.transfer.operating_point import with_operating_point
from medssl.transfer.size_baseline import size_only_predictions


def configured(store: Path, task: str, **changes: Any) -> FinetuneConfig:
    tasks = {
        "classification": {"name": "classification", "label": "size", "dropout": 0.0},
        "segmentation": {"name": "segmentation"},
    }
    values: dict[str, Any] = {
        "store": str(store),
        "task": tasks[task],
        "model": {"name": "segresnet", "init_filters": 4, "blocks_down": [1, 1]},
        "augment": {
            "patch": {"size": [16, 16, 16], "spacing_mm": 1.2},
            "spatial": {"scale": [1.0, 1.0]},
        },
        "optim": {"lr": 0.01, "warmup_steps": 2},
        "runtime": {"num_workers": 0, "threads": 1, "checkpoint_every": 5, "log_every": 5},
        "steps": 10,
        "batch_size": 4,
        "validate_every": 5,
        "split": {"source": "folds", "folds": 3, "val": 0.25, "seed": 0},
    }
    return parse_config(FinetuneConfig, {**values, **changes})


def test_out_of_fold_predictions_are_those_of_the_folds_fitted_alone(
    ball_store: Path, tmp_path: Path
) -> None:
    config = configured(ball_store, "classification")
    result = finetune(config, tmp_path / "run")
    frame = pd.read_parquet(result.predictions)
    store = open_store(ball_store)
    assert len(frame) == 24
    assert frame["volume_uid"].is_unique
    folds = pd.read_parquet(result.run / "folds.parquet")
    sizes = []
    for number in range(3):
        cases = cases_of_fold(folds, number)
        alone = fit(config, store, cases, RunFolder.open(tmp_path / str(number), config, "fold"))
        predictions = with_case_columns(with_operating_point(alone.predictions, alone.threshold))
        tested = predictions[predictions["split"] == "test"].reset_index(drop=True)
        ours = frame[frame["fold"] == number].drop(columns="fold").reset_index(drop=True)
        pd.testing.assert_frame_equal(ours[tested.columns], tested)
        sizes.append(size_only_predictions(store.manifest, cases, 2))
    auc = roc_auc_score(frame["y_true"], frame["logit_1"] - frame["logit_0"])
    assert result.metrics["test/auc_macro"] == pytest.approx(auc)
    by_size = pd.concat(sizes)
    expected = roc_auc_score(by_size["y_true"], by_size["logit_1"] - by_size["logit_0"])
    assert result.metrics["test/size_only_auc_macro"] == pytest.approx(expected)
    assert result.metrics["test/auc_macro_minus_size_only"] == pytest.approx(auc - expected)
    assert read_ensemble(result.run) == [
        result.run / "folds" / str(n) / "checkpoints" / "model.safetensors" for n in range(3)
    ]
    assert result.model.name == "ensemble.json"
    card = write_card(result.run, tmp_path / "card.md").read_text()
    tested = frame["fold"].value_counts()
    for fold, patients in frame.groupby("fold")["patient_key"].nunique().items():
        assert f"| fold {fold}: test | {tested[fold]} | {patients} |" in card
    assert "Tested on 24 scans of 20 patients" in card
    page = (result.run / "report.html").read_text()
    assert "Fold by fold" in page
    assert page.count("data:image/png;base64") == 2
    assert any("over 3 folds: auc_macro" in line for line in result.lines)


def test_masks_of_all_folds_are_found_from_the_runs_folder(
    ball_store: Path, tmp_path: Path
) -> None:
    result = finetune(configured(ball_store, "segmentation"), tmp_path / "run")
    frame = pd.read_parquet(result.predictions)
    assert len(frame) == 24
    assert all((result.run / path).is_file() for path in frame["mask_path"])
    # GroupKFold shuffles and evens the numbers of patients, of which there are 20.
    assert sorted(frame.groupby("fold")["patient_key"].nunique()) == [6, 7, 7]
    assert "The worst test cases" in (result.run / "report.html").read_text()


def test_a_killed_cross_validation_goes_on_inside_its_fold(
    ball_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(ball_store, "classification")
    whole = finetune(config, tmp_path / "whole")

    class Killed(Exception):
        pass

    advance, taken = loop._Loop._advance, []

    def dies(self: Any, batch: Any, step: int, stop: Any) -> bool:
        taken.append(step)
        if len(taken) == 18:  # in the second fold, three steps after its checkpoint
            raise Killed
        return advance(self, batch, step, stop)

    monkeypatch.setattr(loop._Loop, "_advance", dies)
    with pytest.raises(Killed):
        finetune(config, tmp_path / "broken")
    assert not (tmp_path / "broken" / "summary.json").exists()
    broken = finetune(config, tmp_path / "broken")
    # The first fold was not trained again, the second one went on at its checkpoint.
    assert taken[18:] == [*range(5, 10), *range(10)]
    pd.testing.assert_frame_equal(
        pd.read_parquet(whole.predictions), pd.read_parquet(broken.predictions)
    )
    assert finetune(config, tmp_path / "broken").was_done


def test_each_fold_tunes_on_its_own_validation_part_and_the_reader_is_told(
    ball_store: Path, tmp_path: Path
) -> None:
    config = configured(
        ball_store,
        "classification",
        steps=4,
        validate_every=2,
        split={"source": "folds", "folds": 2, "val": 0.3},
        search={"trials": 2, "space": {"optim.lr": [0.001]}},
    )
    result = finetune(config, tmp_path / "run")
    told = [json.loads(p.read_text()) for p in sorted(result.run.glob("folds/*/summary.json"))]
    assert result.seconds == sum(t["seconds"] for fold in told for t in fold["trials"])
    page = (result.run / "report.html").read_text()
    assert "trial chosen" in page
    card = write_card(result.run, tmp_path / "card.md").read_text()
    for number, fold in enumerate(told):
        chosen = fold["trials"][fold["chosen"]]
        assert f"optim.lr {chosen['setting']['optim.lr']}" in card
        weights = result.run / "folds" / str(number) / "checkpoints" / "model.safetensors"
        assert read_metadata(weights)["weights_sha256"] == chosen["weights_sha256"]


def test_a_store_with_other_labels_does_not_go_on(ball_store: Path, tmp_path: Path) -> None:
    config = configured(ball_store, "classification", steps=2)
    finetune(config, tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    path = tmp_path / "run" / "folds.parquet"
    folds = pd.read_parquet(path)
    folds["y_true"] = np.where(folds.index == 0, 1 - folds["y_true"], folds["y_true"])
    folds.to_parquet(path)
    with pytest.raises(ConfigError, match="holds other folds"):
        finetune(config, tmp_path / "run")
