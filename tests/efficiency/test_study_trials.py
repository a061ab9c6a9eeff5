"""Trials within a study's cells: what is chosen, what is told, and that the test part waits."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient

from medssl.efficiency.arms import ARMS
from medssl.efficiency.canonical import canonical_json, sha256_json
from medssl.efficiency.config import StudyConfig
from medssl.efficiency.ledger import read_ledger, verify_chain
from medssl.efficiency.study import run_study
from medssl.errors import StudyError

Make = Callable[..., StudyConfig]
LR = "optim.lr"
MODEL = {"name": "segresnet", "init_filters": 4, "blocks_down": [1, 1]}
SEARCH = {"trials": 3, "space": {LR: [1e-3, 1e-2, 1e-1]}}


def tuned(make_config: Make, **changes: Any) -> StudyConfig:
    """Two draws at two fractions, the smaller of which has no validation part."""
    values = {"fractions": [0.1, 1.0], "draws": 2, "search": SEARCH, **changes}
    return make_config(**values)


def best_of(config: StudyConfig, place: int) -> dict[float, float]:
    """Validation values by learning rate that make the setting at `place` the best."""
    return {s[LR]: 0.9 if at == place else 0.5 for at, s in enumerate(config.settings)}


@pytest.mark.usefixtures("no_tracking")
@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_planted_best_setting_is_chosen_and_only_then_is_the_test_part_seen(
    make_config: Make, tmp_path: Path, fake_train: Any, place: int
) -> None:
    config = tuned(make_config, arms=["scratch", "ssl_ft"])
    fake_train.values = best_of(config, place)
    run_study(config, tmp_path / "study", train=fake_train)
    of_cell = [line for line in fake_train.log if "ssl_ft_1_0" in line]
    trained = [f"train ssl_ft_1_0/{trial}" for trial in range(3)]
    again = [f"train ssl_ft_1_0/{place}"] if place < 2 else []
    assert of_cell == [*trained, *again, f"test ssl_ft_1_0/{place}"]
    record = json.loads((tmp_path / "study/cells/ssl_ft_1_0/cell.json").read_bytes())
    assert record["chosen"] == place
    assert record["setting"] == config.settings[place]
    assert [trial["setting"] for trial in record["trials"]] == config.settings
    assert [trial["val"] for trial in record["trials"]] == [
        0.9 if at == place else 0.5 for at in range(3)
    ]
    assert not list((tmp_path / "study/cells").glob("*/trials/*/checkpoints"))
    # Without a validation part the settings of `fit` alone.
    assert [line for line in fake_train.log if "scratch_0.1_1" in line] == [
        "train scratch_0.1_1",
        "test scratch_0.1_1",
    ]


@pytest.mark.usefixtures("no_tracking")
def test_the_ledger_tells_every_trial_then_the_choice_then_the_look(
    make_config: Make, tmp_path: Path, fake_train: Any
) -> None:
    config = tuned(make_config)
    fake_train.values = best_of(config, 1)
    run_study(config, tmp_path / "study", train=fake_train)
    entries = read_ledger(tmp_path / "study" / "ledger.jsonl")
    assert verify_chain(entries) == []
    told = [
        (e.event, e.facts.get("trial"))
        for e in entries
        if e.facts.get("cell") == "scratch_1_1" or "scratch_1_1" in str(e.path)
    ]
    assert told == [
        *[(f"training_{what}", n) for n in range(3) for what in ("started", "finished")],
        ("trial_chosen", 1),
        ("test_look", None),
        ("file_written", None),
        ("file_written", None),
    ]
    chosen = [e for e in entries if e.event == "trial_chosen" and "scratch_1" in e.facts["cell"]]
    assert [e.facts["values"] for e in chosen] == [[0.5, 0.9, 0.5]] * 2
    assert {e.facts["metric"] for e in chosen} == {"auc_macro"}
    finished = {
        e.facts["trial"]: e.facts
        for e in entries
        if e.event == "training_finished" and e.facts["cell"] == "scratch_1_1"
    }
    assert [finished[n]["val"] for n in range(3)] == [0.5, 0.9, 0.5]
    look = next(e for e in entries if e.event == "test_look" and e.facts["cell"] == "scratch_1_1")
    assert look.facts["weights_sha256"] == finished[1]["weights_sha256"]


@pytest.mark.usefixtures("no_tracking")
def test_cell_json_says_what_was_fitted_on_whom_and_what_it_cost(
    make_config: Make, tmp_path: Path, fake_train: Any
) -> None:
    study = tmp_path / "study"
    run_study(tuned(make_config), study, train=fake_train)
    path = study / "cells/scratch_1_0/cell.json"
    record = json.loads(path.read_bytes())
    assert canonical_json(record) == path.read_bytes()
    assert record["schema"] == "medssl.cell/1"
    frame = pd.read_parquet(study / "predictions/scratch_1_0.parquet")
    cases = pd.read_parquet(study / "cases.parquet")
    val = sorted(frame.loc[frame["split"] == "val", "volume_uid"])
    dev = set(cases.loc[cases["role"] == "dev", "volume_uid"])
    assert record["fitted_on"] == {
        "normalisation": None,
        "tuning": sha256_json(val),
        "weights": sha256_json(sorted(dev - set(val))),
        "temperature": None,
    }
    small = json.loads((study / "cells/scratch_0.1_0/cell.json").read_bytes())
    assert small["fitted_on"]["tuning"] is None
    assert len(small["trials"]) == 1
    assert record["cost"]["seconds"] >= 3.0  # of three pretended trials of a second each
    assert 10e6 < record["cost"]["peak_memory_bytes"] < 100e9
    assert {"git_commit", "env_sha256", "torch", "threads", "device", "deterministic"} <= set(
        record["provenance"]
    )


@pytest.mark.usefixtures("no_tracking")
def test_a_cell_that_was_cut_short_says_what_both_its_parts_cost(
    make_config: Make, tmp_path: Path, fake_train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tracker(output_handlers: list[Any], **_: Any) -> Any:
        """In the place of codecarbon's: 0.25 kWh are drawn until it is stopped."""
        told = SimpleNamespace(energy_consumed=0.25)
        stop = lambda: output_handlers[0].out(told, None)  # noqa: E731
        return SimpleNamespace(start=lambda: None, stop=stop)

    module = ModuleType("codecarbon")
    module.OfflineEmissionsTracker = tracker  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "codecarbon", module)
    study, config = tmp_path / "study", make_config(fractions=[1.0], draws=1)
    fake_train.fails = {"scratch_1_0"}
    with pytest.raises(StudyError):
        run_study(config, study, train=fake_train)
    fake_train.fails = set()
    run_study(config, study, train=fake_train)
    cost = {
        arm: json.loads((study / f"cells/{arm}_1_0/cell.json").read_bytes())["cost"]
        for arm in ("scratch", "ssl_ft")
    }
    assert (cost["scratch"]["kwh"], cost["ssl_ft"]["kwh"]) == (0.5, 0.25)


@pytest.mark.usefixtures("no_tracking")
def test_probes_train_nothing_and_permuted_labels_are_judged_by_the_truth(
    make_config: Make, tmp_path: Path, fake_train: Any
) -> None:
    study = tmp_path / "study"
    seen: dict[str, pd.DataFrame] = {}

    def noted(config: Any, store: Any, cases: pd.DataFrame, run: Any, *rest: Any) -> Any:
        seen[config.arm] = cases
        return fake_train(config, store, cases, run, *rest)

    config = tuned(make_config, arms=list(ARMS), fractions=[1.0], draws=1)
    run_study(config, study, train=noted)
    record = json.loads((study / "cells/ssl_linear_1_0/cell.json").read_bytes())
    assert [trial["steps"] for trial in record["trials"]] == [0]
    assert record["fitted_on"]["tuning"] is None
    longer = json.loads((study / "cells/scratch_2x_1_0/cell.json").read_bytes())
    assert [trial["steps"] for trial in longer["trials"]] == [8, 8, 8]
    scratch, permuted = seen["scratch"], seen["permuted_labels"]
    assert scratch["volume_uid"].equals(permuted["volume_uid"])
    assert not scratch["y_true"].equals(permuted["y_true"])
    truth = pd.read_parquet(study / "predictions/scratch_1_0.parquet")
    judged = pd.read_parquet(study / "predictions/permuted_labels_1_0.parquet")
    test = truth["split"] == "test"
    assert judged.loc[test, "y_true"].equals(truth.loc[test, "y_true"])


def test_mlflow_has_a_grandchild_for_each_trial(
    make_config: Make, tmp_path: Path, fake_train: Any
) -> None:
    fit = make_config().fit.model_dump(mode="json") | {"model": MODEL}
    config = tuned(make_config, arms=["scratch"], encoder=None, fractions=[1.0], draws=1, fit=fit)
    fake_train.values = best_of(config, 2)
    run_study(config, tmp_path / "study", train=fake_train)
    client = MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    cell = client.get_run((tmp_path / "study/cells/scratch_1_0/.mlflow_run").read_text())
    trials = client.search_runs(
        [cell.info.experiment_id], f"tags.`mlflow.parentRunId` = '{cell.info.run_id}'"
    )
    assert {t.info.run_name: t.data.params[LR] for t in trials} == {
        f"trial/{number}": str(s[LR]) for number, s in enumerate(config.settings)
    }
    assert {t.info.status for t in trials} == {cell.info.status} == {"FINISHED"}
    by_name = {t.info.run_name: t.data.metrics for t in trials}
    assert by_name["trial/2"]["val/chosen_by"] == 0.9
    assert by_name["trial/0"]["train/loss"] == 0.5
    assert {"cost/seconds", "cost/peak_mem", "test/auc_macro"} <= set(cell.data.metrics)
