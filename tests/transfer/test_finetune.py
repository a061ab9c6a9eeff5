"""The stage on a small store: it learns, resumes, says when it is done, and refuses leaks."""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from monai.networks.nets import SegResNet

import medssl.engine.loop as loop
from medssl.config import parse_config
from medssl.engine.run_folder import RunFolder
from medssl.errors import CheckpointError, ConfigError, TrainingError
from medssl.models.build import build_encoder
from medssl.models.config import SegResNetConfig
from medssl.models.weights import read_metadata, read_weights, save_weights
from medssl.progress import Progress
from medssl.store import open_store
from medssl.transfer.cases import split_cases
from medssl.transfer.config import FinetuneConfig
from medssl.transfer.finetune import finetune
from medssl.transfer.fit import fit
from medssl.transfer.initial import told_of_pretraining
from medssl.transfer.metrics import all_metrics

from .conftest import ball_scan, write_scans

MODEL = {"name": "segresnet", "init_filters": 4, "blocks_down": [1, 1]}


def configured(store: Path, task: str, **changes: Any) -> FinetuneConfig:
    tasks = {
        "classification": {"name": "classification", "label": "size", "dropout": 0.0},
        "segmentation": {"name": "segmentation"},
    }
    values: dict[str, Any] = {
        "store": str(store),
        "task": tasks[task],
        "model": MODEL,
        "augment": {
            "patch": {"size": [16, 16, 16], "spacing_mm": 1.2},
            "spatial": {"scale": [1.0, 1.0]},
        },
        "optim": {"lr": 0.01, "warmup_steps": 2},
        "runtime": {"num_workers": 0, "threads": 1, "checkpoint_every": 10, "log_every": 5},
        "steps": 40,
        "batch_size": 4,
        "validate_every": 20,
        "split": {"test": 0.3, "val": 0.2},
    }
    return parse_config(FinetuneConfig, {**values, **changes})


class Heard(Progress):
    """A progress that keeps the lines it was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def start(self, what: str, total: int | None, done: int = 0) -> None: ...
    def advance(self, units: int = 1, **figures: float | str) -> None: ...
    def finish(self) -> None: ...
    def say(self, line: str) -> None:
        self.lines.append(line)


def test_segmentation_learns_and_a_second_call_says_that_it_is_done(
    ball_store: Path, tmp_path: Path
) -> None:
    config = configured(ball_store, "segmentation", steps=80)
    heard = Heard()
    result = finetune(config, tmp_path / "run", heard)
    assert not result.was_done
    dice = result.metrics["test/dice_mean"]
    assert dice is not None
    assert dice > 0.8
    frame = pd.read_parquet(result.predictions)
    assert set(frame["split"]) == {"val", "test"}
    test = frame[frame["split"] == "test"]
    for name, value in all_metrics(test).items():
        assert result.metrics[f"test/{name}"] == pytest.approx(value)
        assert f"test/{name}_lo" in result.metrics
    assert {f"{m}_1" for m in ("dice", "nsd", "hd95_mm", "lesion_tp")} <= set(test)
    groups = pd.read_parquet(result.run / "subgroups.parquet")
    told = json.loads((result.run / "summary.json").read_text())["subgroups"]
    assert groups.empty
    assert told == []  # all scans are of one kind
    assert all((result.run / path).is_file() for path in test["mask_path"])
    page = (result.run / "report.html").read_text()
    # Two curves, three worst and two median cases, and the map.
    assert page.count("data:image/png;base64") == 8
    assert "http" not in page.replace("http://www.w3.org", "")
    assert any("2 volumes without this label" in line for line in heard.lines)
    about = read_metadata(result.model)
    assert json.loads(about["classes"]) == ["1"]

    before = result.predictions.stat().st_mtime_ns
    again = finetune(config, tmp_path / "run")
    assert again.was_done
    assert again.metrics == result.metrics
    assert result.predictions.stat().st_mtime_ns == before


def test_classification_is_compared_with_size_alone(ball_store: Path, tmp_path: Path) -> None:
    result = finetune(configured(ball_store, "classification", steps=60), tmp_path / "run")
    names = ("auc_macro", "auprc_macro", "bacc", "brier", "ece", "sensitivity", "specificity")
    for name in (*names, "size_only_auc_macro"):
        assert {f"test/{name}", f"test/{name}_lo", f"test/{name}_hi"} <= result.metrics.keys()
    difference = result.metrics["test/auc_macro_minus_size_only"]
    auc, by_size = result.metrics["test/auc_macro"], result.metrics["test/size_only_auc_macro"]
    assert None not in (auc, by_size, difference)
    assert difference == pytest.approx(auc - by_size)
    frame = pd.read_parquet(result.predictions)
    assert {"volume_uid", "patient_key", "split", "y_true", "logit_0", "logit_1"} <= set(frame)
    test = frame[frame["split"] == "test"]
    for name, value in all_metrics(test).items():
        assert result.metrics[f"test/{name}"] == pytest.approx(value)
    assert test["brier"].mean() == pytest.approx(result.metrics["test/brier"])
    assert (test["confidence"] >= 0.5).all()
    found = (test["predicted"] == test["y_true"]).groupby(test["y_true"]).mean()
    assert found.mean() == pytest.approx(result.metrics["test/bacc"])
    sizes = pd.read_parquet(result.run / "predictions_size_only.parquet")
    assert (
        sizes["volume_uid"].tolist() == frame.loc[frame["split"] == "test", "volume_uid"].tolist()
    )
    page = (result.run / "report.html").read_text()
    for told in ("size alone", "What the answers rest on", "A map of the cases"):
        assert told in page, told


@pytest.mark.parametrize(
    ("task", "wrong", "message"),
    [
        ("segmentation", {"model": {"name": "resnet", "conv1_stride": 1}}, "has no decoder"),
        ("classification", {"regime": {"name": "attention_probe", "heads": 3}}, "heads"),
    ],
)
def test_what_the_network_cannot_do_ends_before_there_is_a_folder(
    ball_store: Path, tmp_path: Path, task: str, wrong: dict[str, Any], message: str
) -> None:
    patch = {"size": [32, 32, 32], "spacing_mm": 1.2}
    with pytest.raises(ConfigError, match=message):
        finetune(configured(ball_store, task, **wrong, augment={"patch": patch}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_weights_of_another_network_end_before_there_is_a_folder(
    ball_store: Path, tmp_path: Path
) -> None:
    wider = SegResNetConfig(init_filters=8, blocks_down=(1, 1))
    weights = {
        f"encoder.{name}": value
        for name, value in build_encoder(wider, 1, (16, 16, 16)).state_dict().items()
    }
    described = SegResNetConfig(init_filters=4, blocks_down=(1, 1)).model_dump_json()
    save_weights(tmp_path / "e.safetensors", weights, {"model": described})
    config = configured(
        ball_store, "classification", init=str(tmp_path / "e.safetensors"), model=None
    )
    with pytest.raises(CheckpointError, match="0% of the encoder's weights match"):
        finetune(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_a_killed_run_goes_on_to_the_same_predictions(
    ball_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    config = configured(ball_store, task, steps=30, validate_every=10)
    whole = finetune(config, tmp_path / "whole")

    class Killed(Exception):
        pass

    advance = loop._Loop._advance

    def dies(self: Any, batch: Any, step: int, stop: Any) -> bool:
        if step == 17:
            raise Killed
        return advance(self, batch, step, stop)

    monkeypatch.setattr(loop._Loop, "_advance", dies)
    with pytest.raises(Killed):
        finetune(config, tmp_path / "broken")
    monkeypatch.undo()
    broken = finetune(config, tmp_path / "broken")
    assert "resumed at step 10" in (broken.run / "run.log").read_text()
    pd.testing.assert_frame_equal(
        pd.read_parquet(whole.predictions), pd.read_parquet(broken.predictions)
    )
    assert whole.model.read_bytes() == broken.model.read_bytes()


def test_a_changed_configuration_is_refused(ball_store: Path, tmp_path: Path) -> None:
    finetune(configured(ball_store, "segmentation", steps=2), tmp_path / "run")
    with pytest.raises(ConfigError, match="steps: 2 -> 3"):
        finetune(configured(ball_store, "segmentation", steps=3), tmp_path / "run")


def test_a_store_that_grew_is_not_resumed_on(
    ball_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Patients are dealt anew: somebody who trained before the stop would test after it."""
    stage = sys.modules["medssl.transfer.finetune"]

    class Killed(Exception):
        pass

    def dies(*_: Any) -> None:
        raise Killed

    monkeypatch.setattr(stage, "tuned_fit", dies)
    store = tmp_path / "store"
    shutil.copytree(ball_store, store)
    config = configured(store, "segmentation")
    for _ in range(2):
        with pytest.raises(Killed):
            finetune(config, tmp_path / "run")
    first = next((store / "labels").glob("*.parquet"))
    marks = pd.read_parquet(first)
    marks[marks["patient_key"] != marks["patient_key"].iloc[0]].to_parquet(first)
    with pytest.raises(ConfigError, match=r"begun with other cases, .*; choose another --out"):
        finetune(config, tmp_path / "run")


def pretrained(folder: Path, store: Path, patients: list[str]) -> Path:
    """What a pretraining run leaves: an encoder, and the record of what it saw."""
    encoder = build_encoder(SegResNetConfig.model_validate(MODEL), 1, (16, 16, 16))
    state = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    about = {
        "model": encoder.config.model_dump_json(),
        "store_key_id": open_store(store).key_id,
    }
    save_weights(folder / "checkpoints" / "encoder.safetensors", state, about)
    pd.DataFrame({"patient_key": patients}).to_parquet(folder / "volumes.parquet")
    return folder


def test_pretrained_weights_are_taken_and_reported(ball_store: Path, tmp_path: Path) -> None:
    config = configured(ball_store, "segmentation", steps=2, model=None, init=str(tmp_path / "pre"))
    _, cases, _ = split_cases(open_store(ball_store), config.task, config.split)
    tested = cases.loc[cases["split"] == "test", "patient_key"].tolist()
    pretrained(tmp_path / "pre", ball_store, [*set(tested[:2]), "nobody"])
    heard = Heard()
    result = finetune(config, tmp_path / "run", heard)
    assert any("100% of the encoder's weights matched" in line for line in heard.lines)
    assert "100% of the encoder" in (result.run / "run.log").read_text()
    assert "100% of the encoder" in (result.run / "report.html").read_text()
    assert any(
        line.startswith(f"LEAK: pretraining saw {len(set(tested[:2]))}") for line in heard.lines
    )


def test_an_encoder_of_another_key_is_told_and_compared_by_voxels(
    ball_store: Path, tmp_path: Path
) -> None:
    store = open_store(ball_store)
    init = pretrained(tmp_path / "pre", ball_store, ["nobody"])
    weights = init / "checkpoints" / "encoder.safetensors"
    about = {**read_metadata(weights), "store_key_id": "another"}
    about.pop("weights_sha256")
    save_weights(weights, read_weights(weights), about)
    test = store.manifest[["volume_uid", "patient_key"]].iloc[:3]
    told = told_of_pretraining(init, store, test)
    assert f"under key another, this store's under {store.key_id}" in told
    assert "not known" in told
    seen = store.manifest[["patient_key", "pixel_sha256"]].iloc[2:5].assign(patient_key="x")
    seen.to_parquet(init / "volumes.parquet")
    assert told_of_pretraining(init, store, test).startswith("LEAK: pretraining saw 1 of the test")
    (init / "volumes.parquet").unlink()
    assert "left no record" in told_of_pretraining(init, store, test)


def test_a_copy_of_a_test_scan_under_another_patient_was_seen_by_pretraining(
    ball_store: Path, tmp_path: Path
) -> None:
    store = open_store(ball_store)
    init = pretrained(tmp_path / "pre", ball_store, ["nobody"])
    seen = store.manifest[["patient_key", "pixel_sha256"]].iloc[:3].assign(patient_key="x")
    seen.to_parquet(init / "volumes.parquet")
    test = store.manifest[["volume_uid", "patient_key"]]
    assert told_of_pretraining(init, store, test.iloc[3:]) == (
        "pretraining saw none of the test patients"
    )
    assert told_of_pretraining(init, store, test.iloc[1:5]).startswith(
        "LEAK: pretraining saw 2 of the test scans"
    )


def test_a_copy_of_a_test_scan_in_training_is_told(ball_store: Path, tmp_path: Path) -> None:
    scans = [ball_scan(number % 6) for number in range(12)]
    named = [(volume, mask, f"p{i}") for i, (volume, mask, _) in enumerate(scans)]
    write_scans(tmp_path / "s", named, [])
    heard = Heard()
    result = finetune(configured(tmp_path / "s", "segmentation", steps=2), tmp_path / "run", heard)
    assert any(re.match(r"LEAK: \d of the test scans are in training", one) for one in heard.lines)
    assert "of the test scans are in training" in (result.run / "report.html").read_text()


def test_a_class_that_masks_lack_cannot_choose_the_weights(
    ball_store: Path, tmp_path: Path
) -> None:
    config = configured(ball_store, "segmentation", steps=2, select_by="dice/9")
    with pytest.raises(ConfigError, match=r"select_by: dice/9 is of no class .* hold 1"):
        finetune(config, tmp_path / "run")
    right = configured(ball_store, "segmentation", steps=2, select_by="dice/1")
    assert finetune(right, tmp_path / "run").metrics["test/dice_mean"] is not None


def test_units_are_those_of_the_scans_that_were_learned(tmp_path: Path) -> None:
    scans = [ball_scan(number) for number in range(9)]
    named = [
        (replace(volume, modality="CT", units="HU") if i == 8 else volume,
         np.zeros(0) if i == 8 else mask, f"p{i}")
        for i, (volume, mask, _) in enumerate(scans)
    ]  # fmt: skip
    write_scans(tmp_path / "s", named, [])
    result = finetune(configured(tmp_path / "s", "segmentation", steps=2), tmp_path / "run")
    assert json.loads(read_metadata(result.model)["units"]) == ["arbitrary"]


def test_head_only_steps_leave_the_encoder_as_it_was(ball_store: Path, tmp_path: Path) -> None:
    init = pretrained(tmp_path / "pre", ball_store, ["nobody"])
    config = configured(
        ball_store, "segmentation", steps=4, head_only_steps=3, init=str(init),
        split={"test": 0.3, "val": 0.0},
    )  # fmt: skip
    store = open_store(ball_store)
    _, cases, _ = split_cases(store, config.task, config.split)
    run = RunFolder.open(tmp_path / "run", config, "finetune")
    seen = []
    advance = loop._Loop._advance

    def watched(self: Any, batch: Any, step: int, stop: Any) -> bool:
        stopping = advance(self, batch, step, stop)
        network = self.module.network
        seen.append((network.encoder.stem.weight.sum().item(), network.head.weight.sum().item()))
        return stopping

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop._Loop, "_advance", watched)
        fitted = fit(config, store, cases, run)
    encoders, heads = zip(*seen, strict=True)
    assert encoders[0] == encoders[1] == encoders[2] != encoders[3]
    assert len(set(heads)) == 4
    assert fitted.outcome.best_step is None
    assert set(fitted.predictions["split"]) == {"test"}


def test_a_model_that_is_not_the_checkpoints_is_refused(ball_store: Path, tmp_path: Path) -> None:
    init = pretrained(tmp_path / "pre", ball_store, ["nobody"])
    other = {**MODEL, "init_filters": 8}
    config = configured(ball_store, "segmentation", model=other, init=str(init))
    with pytest.raises(ConfigError, match=r"model\.init_filters: 4 -> 8"):
        finetune(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    lost = configured(ball_store, "segmentation", model=None, init=str(tmp_path / "none"))
    with pytest.raises(CheckpointError, match="no weights"):
        finetune(lost, tmp_path / "run")


def test_weights_of_another_project_are_taken_and_reported(
    ball_store: Path, tmp_path: Path
) -> None:
    torch.save(SegResNet(init_filters=8, blocks_down=(1, 1), blocks_up=(1,)).state_dict(), (
        file := tmp_path / "model.pt"
    ))  # fmt: skip
    config = configured(ball_store, "segmentation", steps=2, model=None, init=str(file))
    heard = Heard()
    result = finetune(config, tmp_path / "run", heard)
    for told in ("\n".join(heard.lines), (result.run / "run.log").read_text()):
        assert "initial weights: weights of MONAI SegResNet" in told
        assert "initial weights: 100% of the encoder's weights matched" in told
        assert "left no record" in told
    assert "weights of MONAI SegResNet" in (result.run / "report.html").read_text()
    assert json.loads(read_metadata(result.model)["model"])["init_filters"] == 8


def test_fewer_matches_than_usual_are_allowed_by_min_matched(
    ball_store: Path, tmp_path: Path
) -> None:
    init = pretrained(tmp_path / "pre", ball_store, ["nobody"])
    deeper = {**MODEL, "blocks_down": [1, 2]}
    changes = {"steps": 2, "model": deeper, "init": str(init)}
    with pytest.raises(CheckpointError, match=r"model\.blocks_down.*min_matched to 0\.\d"):
        finetune(
            configured(ball_store, "segmentation", **changes, min_matched=0.89), tmp_path / "a"
        )
    heard = Heard()
    config = configured(ball_store, "segmentation", **changes, min_matched=0.3)
    finetune(config, tmp_path / "b", heard)
    (levels,) = (line for line in heard.lines if "initial weights: encoder.levels" in line)
    assert "missing" in levels
    with pytest.raises(ConfigError, match="min_matched: without effect where init is null"):
        configured(ball_store, "segmentation", min_matched=0.5)


def test_a_patch_that_does_not_fit_the_network_is_refused(ball_store: Path, tmp_path: Path) -> None:
    config = configured(ball_store, "segmentation", augment={"patch": {"size": [2, 16, 16]}})
    with pytest.raises(ConfigError, match="patch 2x16x16"):
        finetune(config, tmp_path / "run")


def test_cases_that_share_a_patient_are_refused(ball_store: Path, tmp_path: Path) -> None:
    config = configured(ball_store, "segmentation", steps=2)
    store = open_store(ball_store)
    _, cases, _ = split_cases(store, config.task, config.split)
    shared = cases["patient_key"].duplicated(keep=False)
    leaking = cases.copy()
    leaking.loc[shared, "split"] = np.where(
        leaking[shared].duplicated("patient_key"), "train", "test"
    )
    run = RunFolder.open(tmp_path / "run", config, "finetune")
    with pytest.raises(TrainingError, match="more than one part"):
        fit(config, store, leaking, run)
