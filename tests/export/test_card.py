"""A model card tells what the run's records hold, and no more."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from torch import nn

from medssl.errors import ConfigError
from medssl.export.bundle import export_bundle
from medssl.export.card import write_card
from medssl.export.finetuned import load_finetuned
from medssl.export.onnx_file import export_onnx
from medssl.models.weights import read_metadata
from medssl.transfer.ensemble import write_ensemble

METRICS = {
    "test/auc_macro": 0.81234, "test/auc_macro_lo": 0.70111, "test/auc_macro_hi": 0.90222,
    "test/ece": 0.05, "test/ece_lo": 0.02, "test/ece_hi": None,
    "test/auc_macro_minus_size_only": 0.01, "test/auc_macro_minus_size_only_lo": -0.03,
    "test/auc_macro_minus_size_only_hi": 0.06,
}  # fmt: skip


@pytest.fixture
def run(tmp_path: Path, finetuned_run: Callable[..., nn.Module]) -> Path:
    """A run with the records that fine-tuning leaves."""
    folder = tmp_path / "run"
    finetuned_run(folder, "classification")
    config: dict[str, Any] = yaml.safe_load((folder / "config.yaml").read_text())
    config["task"]["label"] = "malignant"
    config |= {
        "store": str(tmp_path / "secret_hospital"), "init": str(tmp_path / "weights.pt"),
        "batch_size": 4, "optim": {"lr": 0.001, "clip_norm": None}, "seed": 7,
        "regime": {"name": "full"},
        "split": {"source": "fractions", "test": 0.2},
    }  # fmt: skip
    (folder / "config.yaml").write_text("# finetune\n" + yaml.safe_dump(config))
    summary = {
        "metrics": METRICS, "steps": 100, "selected_step": 60, "seconds": 12.0,
        "parts": {
            "train": {"cases": 6, "patients": 5},
            "val": {"cases": 0, "patients": 0},
            "test": {"cases": 3, "patients": 2},
        },
        "data_sha256": {"train": "ab" * 32},
        "notes": ["LEAK: pretraining saw 1 of the test patients"],
        "load_report": ["weights of MONAI SegResNet", "97% of the encoder's weights matched"],
    }  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(summary))
    cases = pd.DataFrame(
        {"volume_uid": ["b", "a"], "patient_key": ["q", "p"], "split": ["test", "train"]}
    )
    cases.to_parquet(folder / "cases.parquet")
    return folder


@pytest.fixture
def folds(tmp_path: Path, run: Path, finetuned_run: Callable[..., nn.Module]) -> Path:
    """A cross-validation of two folds, with the records that it leaves."""
    folder = tmp_path / "folds_run"
    config = yaml.safe_load((run / "config.yaml").read_text())
    one = json.loads((run / "summary.json").read_text())
    told = []
    for number in range(2):
        fold = folder / "folds" / str(number)
        finetuned_run(fold, "classification", store_key_id=f"key{number}")
        (fold / "config.yaml").write_text("# fold\n" + yaml.safe_dump({**config, "fold": number}))
        told.append(
            {
                **{key: one[key] for key in ("steps", "seconds", "load_report")},
                "metrics": {"test/auc_macro": 0.7 + 0.1 * number},
                "selected_step": 40 + number,
                "calibration": {"temperature": 1.5 + number},
                "parts": {
                    "train": {"cases": 3, "patients": 3},
                    "val": {"cases": 1, "patients": 1},
                    "test": {"cases": 2 + number, "patients": 1},
                },
            }
        )
        (fold / "summary.json").write_text(json.dumps(told[-1]))
    write_ensemble(folder, [folder / "folds" / n / "checkpoints/model.safetensors" for n in "01"])
    (folder / "config.yaml").write_text("# finetune\n" + yaml.safe_dump(config))
    whole = {"metrics": METRICS, "seconds": 24.0, "folds": told, "notes": ["2 folds of 5 cases"]}
    (folder / "summary.json").write_text(json.dumps(whole))
    pd.DataFrame(
        {
            "fold": [0, 0, 1, 1],
            "volume_uid": ["a", "b", "a", "b"],
            "patient_key": ["p", "q", "p", "q"],
            "split": ["test", "train", "train", "test"],
        }
    ).to_parquet(folder / "folds.parquet")
    return folder


def test_the_card_of_a_cross_validation_tells_of_every_fold(folds: Path, tmp_path: Path) -> None:
    card = write_card(folds, tmp_path / "card.md").read_text()
    for told in (
        "0.8123", "The probabilities of 2 networks are averaged.", "| fold | auc_macro |",
        "| 0 | 0.7 |", "| 1 | 0.8 |", "Each patient was tested once", "of all folds;",
        "Logits are divided by 1.500, 2.500", "Tested on 5 scans of 2 patients",
        "| fold 1: test | 3 | 1 |", "| weights of step | 40, 41 |", "2 folds of 5 cases",
        "the weights of fold 1",
    ):  # fmt: skip
        assert told in card, told
    assert "There was no validation part" not in card
    for fold in "01":
        weights = folds / "folds" / fold / "checkpoints" / "model.safetensors"
        assert read_metadata(weights)["weights_sha256"] in card
    assert hashlib.sha256(b"a fold 0\nb fold 1").hexdigest() in card
    assert str(tmp_path) not in card


@pytest.mark.parametrize("export", [export_onnx, export_bundle])
def test_one_network_of_a_cross_validation_is_exported_and_not_all(
    folds: Path, tmp_path: Path, export: Callable[[Path, Path], Any]
) -> None:
    with pytest.raises(ConfigError, match=r"cross-validation, of 2 networks .*folds/0") as refused:
        export(folds, tmp_path / "out")
    assert "medssl export card" in str(refused.value)
    assert load_finetuned(folds / "folds" / "1").about["store_key_id"] == "key1"


def test_the_card_tells_from_where_the_second_class_is_answered(
    run: Path, finetuned_run: Callable[..., nn.Module], tmp_path: Path
) -> None:
    told = "| medssl predict answers malignant from | a probability of "
    assert f"{told}0.5: this run has no threshold" in write_card(run, tmp_path / "a.md").read_text()
    settings = {name: (run / name).read_text() for name in ("config.yaml", "summary.json")}
    finetuned_run(run, "classification", threshold=json.dumps(math.log(0.2 / 0.8)))
    for name, text in settings.items():
        (run / name).write_text(text)
    assert f"{told}0.2, chosen on" in write_card(run, tmp_path / "b.md").read_text()


def trials(*rates: float, chosen: int) -> dict[str, Any]:
    """What a search over learning rate and batch leaves in a summary."""
    tried = [{"setting": {"optim.lr": lr, "batch_size": 16}, "value": 0.5} for lr in rates]
    return {"trials": tried, "chosen": chosen}


def test_the_card_tells_the_setting_that_was_chosen_and_not_the_first(
    run: Path, folds: Path, tmp_path: Path
) -> None:
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps({**summary, **trials(0.001, 0.05, chosen=1)}))
    page = write_card(run, tmp_path / "card.md").read_text()
    assert "validation part chose optim.lr 0.05, batch_size 16 |" in page
    assert "| optimiser | lr 0.05 |" in page
    assert "| patches in a batch | 16 |" in page
    whole = json.loads((folds / "summary.json").read_text())
    for number, fold in enumerate(whole["folds"]):
        fold |= trials(0.01, 0.02, chosen=number)
    (folds / "summary.json").write_text(json.dumps(whole))
    page = write_card(folds, tmp_path / "folds.md").read_text()
    assert "each fold's validation part chose optim.lr 0.01, batch_size 16; optim.lr 0.02" in page
    assert "| optimiser | lr 0.01; lr 0.02 |" in page


def test_one_patient_is_a_patient(run: Path, tmp_path: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    summary["parts"]["test"] = {"cases": 1, "patients": 1}
    (run / "summary.json").write_text(json.dumps(summary))
    card = write_card(run, tmp_path / "card.md").read_text()
    assert "Tested on 1 scan of 1 patient of the archive" in card
    assert not re.search(r"\b1 (patients|scans)\b", card)


@pytest.mark.parametrize("suffix", [".md", ".html"])
def test_a_card_holds_the_records_and_no_path(run: Path, tmp_path: Path, suffix: str) -> None:
    card = write_card(run, tmp_path / f"card{suffix}").read_text()
    for told in ("0.8123", "0.7011", "0.9022", "ab" * 32, "MONAI SegResNet", "97%", "malignant"):
        assert told in card, told
    assert hashlib.sha256(b"a train\nb test").hexdigest() in card
    assert str(tmp_path) not in card
    assert "secret_hospital" not in card
    assert "http" not in card.replace("http://www.w3.org", "")
    assert "3 scans of 2 patients" in card
    for limit in (
        "No gain over the size",
        "There was no validation part",
        "LEAK",
        "fewer than 100",
    ):
        assert limit in card, limit
    assert "Not a medical device" in card


def test_limits_and_subgroups_follow_the_records(run: Path, tmp_path: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    summary["metrics"]["test/auc_macro_minus_size_only_lo"] = 0.005
    summary["parts"]["val"] = {"cases": 2, "patients": 2}
    summary["parts"]["test"] = {"cases": 300, "patients": 120}
    summary["load_report"], summary["notes"] = [], []
    (run / "summary.json").write_text(json.dumps(summary))
    row = ("site", "North", 20, 12, "auc_macro", 0.71, 0.55, 0.84)
    columns = ["column", "value", "cases", "patients", "metric", "estimate", "low", "high"]
    small = ("site", "South", 3, 2, "auc_macro", None, None, None)
    pd.DataFrame([row, small], columns=columns).to_parquet(run / "subgroups.parquet")
    card = write_card(run, tmp_path / "card.md").read_text()
    for absent in (
        "No gain over",
        "no validation part",
        "LEAK",
        "fewer than 100",
        "not taken apart",
    ):
        assert absent not in card, absent
    assert "Trained from scratch" in card
    assert "Too few patients for a number: site South (2 patients)." in card
    assert "| South" not in card
    assert re.search(r"\| site \| North \| 20 \| 12 \| auc_macro \| 0.71 \| 0.55 \| 0.84 \|", card)


def test_other_files_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\.html or \.md"):
        write_card(run, tmp_path / "card.pdf")


@pytest.mark.parametrize(
    ("regime", "told"),
    [
        ("full", "Trained from scratch; no other weights"),
        ("knn", "Trained from an untrained encoder; no other weights"),
    ],
)
def test_without_initial_weights_it_says_what_the_head_stands_on(
    run: Path, tmp_path: Path, regime: str, told: str
) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["regime"] = {"name": regime}
    (run / "config.yaml").write_text("# finetune\n" + yaml.safe_dump(config))
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps({**summary, "load_report": []}))
    assert told in write_card(run, tmp_path / "card.md").read_text()
