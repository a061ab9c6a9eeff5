"""The plan: deterministic, frozen, and refused where data or configuration do not allow it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pandas as pd
import pytest
import yaml

from medssl.efficiency import subsets
from medssl.efficiency.canonical import canonical_json, sha256_file
from medssl.efficiency.cells import StudyPaths
from medssl.efficiency.config import StudyConfig
from medssl.efficiency.ledger import read_ledger, verify_chain
from medssl.efficiency.plan import plan_study, read_plan
from medssl.efficiency.study import run_study
from medssl.engine.config import HoldoutConfig
from medssl.engine.population import held_out_patients
from medssl.errors import ConfigError, StudyError
from medssl.store import open_store

Make = Callable[..., StudyConfig]
CLAIM = {"frac": 0.5, "vs_frac": 1.0, "metric": "auc_macro", "margin": 0.05}


def test_plan_is_canonical_and_the_ledger_vouches_for_every_file(
    make_config: Make, tmp_path: Path
) -> None:
    result = plan_study(make_config(claim=CLAIM), tmp_path / "study")
    paths = StudyPaths(tmp_path / "study")
    assert paths.plan.read_bytes() == canonical_json(result.plan)
    entries = read_ledger(paths.ledger)
    assert verify_chain(entries) == []
    assert entries[-1].event == "plan_frozen"
    told = {e.path for e in entries}
    assert told == {
        "cases.parquet",
        "instances.parquet",
        "splits.parquet",
        "pretrain.parquet",
        "pretrain_instances.parquet",
        "pretraining.json",
        "claim.yaml",
        "config.yaml",
        "plan.json",
    }
    for entry in entries:
        assert entry.path is not None
        assert sha256_file(paths.root / entry.path) == entry.sha256
    assert yaml.safe_load(paths.claim.read_text())["vs_frac"] == 1.0


def test_same_data_give_the_same_plan_and_a_second_call_changes_nothing(
    make_config: Make, tmp_path: Path
) -> None:
    first = plan_study(make_config(), tmp_path / "a")
    again = plan_study(make_config(), tmp_path / "a")
    other = plan_study(make_config(), tmp_path / "b")
    assert again.was_there
    assert not first.was_there
    assert first.plan_sha256 == again.plan_sha256 == other.plan_sha256
    for name in ("cases.parquet", "splits.parquet", "plan.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_test_patients_are_those_that_pretraining_holds_out(
    make_config: Make, tmp_path: Path, labelled_store: Path
) -> None:
    plan_study(make_config(), tmp_path / "study")
    cases = pd.read_parquet(tmp_path / "study" / "cases.parquet")
    held_out = held_out_patients(
        open_store(labelled_store), HoldoutConfig(fraction=0.25, seed=0, label="malignant")
    )
    assert set(cases.loc[cases["role"] == "test", "patient_key"]) == held_out
    assert cases["label"].map({"0": 0, "1": 1}).equals(cases["y_true"])


def test_subsets_in_the_plan_are_rederived_from_the_tables(
    make_config: Make, tmp_path: Path
) -> None:
    plan = plan_study(make_config(), tmp_path / "study").plan
    cases = pd.read_parquet(tmp_path / "study" / "cases.parquet")
    splits = pd.read_parquet(tmp_path / "study" / "splits.parquet")
    assert subsets.cases_sha256(cases) == plan["data"]["cases_sha256"]
    assert subsets.draw_splits(cases, "classification", 3).equals(splits)
    for told in plan["subsets"]:
        subset = subsets.subset_of(splits, cases, told["fraction"], told["draw"])
        labelled = subset[subset["split"] != "test"]
        assert subsets.subset_sha256(subset) == told["sha256"]
        assert len(labelled) == told["cases"]
        assert (labelled["split"] == "val").sum() == told["val_cases"]


def test_changed_configuration_is_refused_with_its_keys(make_config: Make, tmp_path: Path) -> None:
    plan_study(make_config(), tmp_path / "study")
    with pytest.raises(ConfigError, match=r"draws: 3 -> 4"):
        plan_study(make_config(draws=4), tmp_path / "study")


def test_an_encoder_or_a_store_of_another_key_is_told(
    make_config: Make, tmp_path: Path, labelled_store: Path
) -> None:
    class Heard:
        lines: ClassVar[list[str]] = []

        def say(self, line: str) -> None:
            self.lines.append(line)

    plan_study(make_config(), tmp_path / "same", Heard())  # type: ignore[arg-type]
    assert not any("coded under" in line for line in Heard.lines)
    about = labelled_store / "store.json"
    about.write_text(about.read_text().replace("key-1", "key-2"))
    plan_study(make_config(), tmp_path / "other", Heard())  # type: ignore[arg-type]
    assert any("under key key-1, the store's under key-2" in line for line in Heard.lines)
    with pytest.raises(StudyError, match=r"planned on a store under key key-1, .* under key-2 now"):
        run_study(make_config(), tmp_path / "same")


def test_edited_plan_is_refused(make_config: Make, tmp_path: Path) -> None:
    plan_study(make_config(), tmp_path / "study")
    paths = StudyPaths(tmp_path / "study")
    plan = json.loads(paths.plan.read_bytes())
    paths.plan.write_bytes(canonical_json({**plan, "margin": 0.5}))
    with pytest.raises(StudyError, match="not the plan that was frozen"):
        read_plan(paths)


def test_encoder_that_saw_a_test_patient_is_refused(
    make_config: Make, tmp_path: Path, labelled_store: Path, pretrained_run: Path
) -> None:
    store = open_store(labelled_store)
    patient = min(held_out_patients(store, HoldoutConfig(fraction=0.25, label="malignant")))
    volumes = pd.read_parquet(pretrained_run / "volumes.parquet")
    leaked = volumes.assign(patient_key=patient)
    leaked.to_parquet(pretrained_run / "volumes.parquet", index=False)
    with pytest.raises(StudyError, match=r"saw 1 patients and 0 scans of the test set"):
        plan_study(make_config(), tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_fractions_too_small_for_a_class_are_all_named(make_config: Make, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"fraction 0\.01 .*fraction 0\.02 "):
        plan_study(make_config(fractions=[0.01, 0.02, 1.0]), tmp_path / "study")


def test_encoder_without_a_record_plans_but_says_so(
    make_config: Make, tmp_path: Path, pretrained_run: Path
) -> None:
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes((pretrained_run / "checkpoints" / "encoder.safetensors").read_bytes())
    plan = plan_study(make_config(encoder=alone), tmp_path / "study").plan
    assert plan["arms"]["ssl_ft"]["encoder"]["volumes"] == 0
    assert not (tmp_path / "study" / "pretrain.parquet").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fractions": [0.5, 0.25]}, "not ascending"),
        ({"encoder": None, "arms": ["scratch"]}, "fit.model is required"),
        ({"encoder": None}, "arm ssl_ft needs encoder"),
        ({"reference_fraction": 0.3}, "reference_fraction 0.3 is no fraction"),
        ({"metric": "dice_mean"}, "the metric of classification is auc_macro"),
        ({"claim": {**CLAIM, "frac": 0.3}}, "claim: 0.3 is not among the fractions"),
        ({"claim": {**CLAIM, "frac": 1.0}}, "no label would be saved"),
        ({"drawz": 3}, "did you mean draws"),
    ],
)
def test_impossible_configurations_are_explained(
    make_config: Make, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make_config(**changes)


def test_a_study_is_of_one_series_a_case(make_config: Make) -> None:
    fit = make_config().fit.model_dump(mode="json", exclude_unset=True)
    with pytest.raises(ConfigError, match=r"fit.channels: a case of a study is one volume"):
        make_config(fit={**fit, "channels": ["CT", "PT"]})
