"""Single checks, where a whole audit would say no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from medssl.audit.checks import CHECKS, cells, labels, ledger, patients, plan, pretraining, subsets
from medssl.audit.result import Status


@pytest.mark.parametrize("column", ["patient_key", "series_key", "pixel_sha256"])
def test_l2_sees_each_key_of_a_volume(study: Any, column: str) -> None:
    cases = pd.read_parquet(study.root / "cases.parquet")
    shared = cases.loc[cases["role"] == "test", column].iloc[0]
    study.edit_table("pretrain.parquet", lambda f: f.assign(**{column: [*f[column][1:], shared]}))
    assert study.check(pretraining.CHECK).status is Status.FAIL


@pytest.mark.parametrize("column", ["instance_key", "file_sha256"])
def test_l2_sees_each_key_of_a_source_file(study: Any, column: str) -> None:
    cases = pd.read_parquet(study.root / "cases.parquet")
    sources = pd.read_parquet(study.root / "instances.parquet")
    test = cases.loc[cases["role"] == "test", "volume_uid"]
    shared = sources.loc[sources["volume_uid"].isin(test), column].iloc[0]
    study.edit_table(
        "pretrain_instances.parquet", lambda f: f.assign(**{column: [*f[column][1:], shared]})
    )
    assert study.check(pretraining.CHECK).status is Status.FAIL


def test_l2_lets_development_patients_be_pretrained_on(study: Any) -> None:
    cases = pd.read_parquet(study.root / "cases.parquet")
    dev = cases.loc[cases["role"] == "dev", "patient_key"].iloc[0]
    study.edit_table(
        "pretrain.parquet", lambda f: f.assign(patient_key=[*f["patient_key"][1:], dev])
    )
    assert study.check(pretraining.CHECK).status is Status.PASS


def test_l2_compares_hashes_under_another_key(copied: Callable[..., Any]) -> None:
    study = copied(pretraining_key="key-2")
    cases = pd.read_parquet(study.root / "cases.parquet")
    shared = cases.loc[cases["role"] == "test", "pixel_sha256"].iloc[0]
    study.edit_table(
        "pretrain.parquet", lambda f: f.assign(pixel_sha256=[*f["pixel_sha256"][1:], shared])
    )
    assert study.check(pretraining.CHECK).status is Status.FAIL


def test_l2_wants_the_manifest_whole_and_the_planned_weights(study: Any) -> None:
    study.edit_table("pretrain.parquet", lambda f: f.iloc[1:])
    assert "lists 3" in study.check(pretraining.CHECK).observed
    lines = study.lines()
    for line in lines:
        if line.get("facts", {}).get("arm") == "ssl_ft" and "init_sha256" in line["facts"]:
            line["facts"]["init_sha256"] = "e" * 64
    study.forge(lines)
    finding = study.check(pretraining.CHECK)
    assert finding.status is Status.FAIL
    assert "did not start from the weights" in finding.observed


@pytest.mark.parametrize("column", ["series_key", "file_sha256", "pixel_sha256"])
def test_l1_sees_one_scan_under_two_patients(study: Any, column: str) -> None:
    cases = pd.read_parquet(study.root / "cases.parquet")
    shared = cases.loc[cases["role"] == "dev", column].iloc[0]
    at = cases.index[cases["role"] == "test"][0]

    def share(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[at, column] = shared
        return frame

    study.edit_table("cases.parquet", share)
    assert study.check(patients.CHECK).status is Status.FAIL


def test_l1_sees_a_patient_who_validates_and_is_tested(study: Any) -> None:
    path = "predictions/scratch_0.25_0.parquet"
    frame = pd.read_parquet(study.root / path)
    patient = frame.loc[frame["split"] == "val", "patient_key"].iloc[0]
    at = frame.index[frame["split"] == "test"][0]

    def share(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[at, "patient_key"] = patient
        return table

    study.edit_table(path, share)
    finding = study.check(patients.CHECK)
    assert finding.status is Status.FAIL
    assert "both in val and test" in finding.observed


def _without(study: Any, names: list[str], error: str | None) -> None:
    lines = [
        line
        for line in study.lines()
        if line["path"] not in {f"predictions/{n}.parquet" for n in names}
    ]
    for name in names:
        (study.root / f"predictions/{name}.parquet").unlink()
        if error:
            crash = {"event": "cell_failed", "path": None, "sha256": None, "utc": "x"}
            lines.append({**crash, "facts": {"cell": name, "error": error}})
    study.forge(lines)


def test_i3_lists_cells_that_crashed_alike_in_every_arm(study: Any) -> None:
    _without(study, ["scratch_1_4", "ssl_ft_1_4"], "OutOfMemoryError")
    finding = study.check(cells.CHECK)
    assert finding.status is Status.PASS
    assert "ssl_ft_1_4 (OutOfMemoryError)" in finding.observed


def test_i3_fails_cells_that_crashed_in_one_arm(study: Any) -> None:
    _without(study, ["scratch_1_4"], "OutOfMemoryError")
    finding = study.check(cells.CHECK)
    assert finding.status is Status.FAIL
    assert "unevenly" in finding.observed


def test_i3_fails_cells_that_nobody_planned(study: Any) -> None:
    predictions = study.root / "predictions"
    (predictions / "scratch_1_9.parquet").write_bytes(
        (predictions / "scratch_1_0.parquet").read_bytes()
    )
    finding = study.check(cells.CHECK)
    assert finding.status is Status.FAIL
    assert "scratch_1_9" in finding.observed
    assert study.check(ledger.CHECK).status is Status.FAIL


def test_i1_fails_predictions_told_twice_with_other_content(study: Any) -> None:
    lines = study.lines()
    again = next(dict(line) for line in lines if str(line["path"]).startswith("predictions/"))
    position = lines.index(again)
    lines.insert(position, {**again, "sha256": "d" * 64})
    study.forge(lines, rehash=False)
    finding = study.check(ledger.CHECK)
    assert finding.status is Status.FAIL
    assert "written again" in finding.observed


def test_i1_forgives_a_torn_last_line(study: Any) -> None:
    path = study.root / "ledger.jsonl"
    path.write_bytes(path.read_bytes() + b'{"event":"file_wr')
    assert study.check(ledger.CHECK).status is Status.NOTE


def test_i2_fails_a_run_of_another_plan(study: Any) -> None:
    lines = study.lines()
    training = next(line for line in lines if line["event"] == "training_finished")
    training["facts"]["plan_sha256"] = "c" * 64
    study.forge(lines, rehash=False)
    finding = study.check(plan.CHECK)
    assert finding.status is Status.FAIL
    assert "names another plan" in finding.observed


def test_s1_fails_cases_that_the_plan_was_not_made_for(study: Any) -> None:
    study.edit_table("cases.parquet", lambda f: f.iloc[1:])
    assert study.check(subsets.CHECK).status is Status.FAIL


def test_s2_fails_validation_outside_the_budget(study: Any) -> None:
    path = "predictions/scratch_0.25_0.parquet"
    cases = pd.read_parquet(study.root / "cases.parquet")
    used = set(pd.read_parquet(study.root / path)["volume_uid"])
    extra = cases[(cases["role"] == "dev") & ~cases["volume_uid"].isin(used)].head(6)

    def add(frame: pd.DataFrame) -> pd.DataFrame:
        rows = extra[["volume_uid", "patient_key", "y_true"]]
        return pd.concat([frame, rows.assign(split="val", logit_0=0.0, logit_1=1.0)])

    study.edit_table(path, add)
    finding = study.check(labels.CHECK)
    assert finding.status is Status.FAIL
    assert "validated on 6 cases outside its budget" in finding.observed


def test_ids_are_named_once() -> None:
    ids = [check.id for check in CHECKS]
    assert len(set(ids)) == len(ids)
