"""Faults planted in a sound study, each named by its check and its exit code.

The ledger is forged where a fault could be hidden that way, so that the check named has to see it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from medssl.audit.audit import audit
from medssl.audit.result import AuditResult, Status

from .made_study import CLAIM, sha_json

pytestmark = pytest.mark.usefixtures("no_page")

IDS = [
    *("I1", "I2", "I3", "I4", "L1", "L2", "L3", "L4", "L5", "L6", "L7", "S1", "S2"),
    *("B1", "B2", "B3", "M1", "M2", "R1", "C1", "C2", "C3", "F1", "K1", "H1"),
]
ENOUGH: dict[str, Any] = {
    "draws": 10,
    "arms": ("scratch", "ssl_ft", "scratch_2x", "permuted_labels"),
    "fractions": (0.25, 0.4, 0.6, 1.0),
    "saved": 4.0,
    "trials": 5,
    "claim": {**CLAIM, "frac": 0.6, "min_lsf": None},
}


@pytest.fixture(scope="module")
def no_page() -> Any:
    """The page is tested apart; drawing its figure takes most of an audit's time."""
    patch = pytest.MonkeyPatch()
    patch.setattr("medssl.audit.page.write_audit_page", lambda *_: None)
    yield
    patch.undo()


def failed(result: AuditResult) -> set[str]:
    return {check.id for check in result.checks if check.status is Status.FAIL}


def statuses(result: AuditResult) -> dict[str, str]:
    return {check.id: str(check.status) for check in result.checks}


@pytest.mark.slow
def test_untouched_study_passes_every_check(copied: Callable[..., Any]) -> None:
    """What needs voxels is tested apart."""
    study = copied(**ENOUGH)
    root = study.lines()[-1]["this"]
    result = study.audit(expect_root=root)
    found = statuses(result)
    assert {found.pop(check) for check in ("L7", "M2", "R1")} == {"NOT RUN"}
    assert set(found.values()) == {"PASS"}, result.checks
    assert (result.verdict, result.exit_code) == ("SUPPORTED", 0)
    assert result.ledger_root == root


def test_two_audits_of_equal_folders_write_equal_bytes(study: Any, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "copy"
    shutil.copytree(study.root, other)
    result = study.audit()
    assert failed(result) == set()
    assert (result.verdict, result.exit_code) == ("SUPPORTED", 0)
    assert [check.id for check in result.checks] == IDS
    audit(other)
    assert (other / "audit.json").read_bytes() == result.audit_json.read_bytes()


def test_five_draws_pass_with_a_warning_that_strict_turns_into_a_failure(study: Any) -> None:
    result = study.audit()
    assert statuses(result)["C1"] == "WARN"
    assert statuses(result)["I1"] == "NOTE"
    assert (result.verdict, result.exit_code) == ("SUPPORTED", 0)
    strict = study.audit(strict=True)
    assert (strict.verdict, strict.exit_code) == ("FAILED", 1)


def test_shared_patient(study: Any) -> None:
    """A test case is really one of a development patient's; everything is told accordingly."""
    cases = pd.read_parquet(study.root / "cases.parquet")
    victim = cases.loc[cases["role"] == "test", "volume_uid"].iloc[0]
    patient = cases.loc[cases["role"] == "dev", "patient_key"].iloc[0]

    def move(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[frame["volume_uid"] == victim, "patient_key"] = patient
        return frame

    study.edit_table("cases.parquet", move)
    for path in sorted((study.root / "predictions").iterdir()):
        study.edit_table(f"predictions/{path.name}", move)
    study.forge()
    result = study.audit()
    assert "L1" in failed(result)
    assert "I1" not in failed(result)
    assert patient[:12] in result.check("L1").observed
    assert (result.verdict, result.exit_code) == ("FAILED", 1)


def test_pretraining_volume_in_the_test_set(study: Any) -> None:
    cases = pd.read_parquet(study.root / "cases.parquet")
    seen = cases.loc[cases["role"] == "test", "pixel_sha256"].iloc[3]
    study.edit_table(
        "pretrain.parquet",
        lambda frame: frame.assign(pixel_sha256=[seen, *frame["pixel_sha256"][1:]]),
    )
    study.forge()
    result = study.audit()
    assert failed(result) == {"L2"}
    assert "1 voxel hash of the test set" in result.check("L2").observed
    assert result.exit_code == 1


def _sharpen(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(logit_1=frame["logit_1"] + (2 * frame["y_true"] - 1))


def test_edited_prediction(study: Any) -> None:
    study.edit_table("predictions/ssl_ft_0.25_1.parquet", _sharpen)
    result = study.audit()
    assert failed(result) == {"I1", "M1"}
    assert "predictions/ssl_ft_0.25_1.parquet" in result.check("I1").observed
    assert result.exit_code == 1
    study.forge()
    assert failed(study.audit()) == {"M1"}


def test_ledger_with_a_line_gone(study: Any) -> None:
    study.write_lines([line for line in study.lines() if line["path"] != "claim.yaml"])
    result = study.audit()
    assert failed(result) == {"I1"}
    assert result.exit_code == 1


def test_ledger_rewritten_whole_against_its_anchor(study: Any) -> None:
    anchored = study.lines()[-1]["this"]
    assert study.audit(expect_root=anchored).check("I1").status is Status.PASS
    lines = study.lines()
    lines[20]["utc"] = "2020-01-01T00:00:00.000Z"
    study.forge(lines)
    assert failed(study.audit()) == set()
    result = study.audit(expect_root=anchored)
    assert failed(result) == {"I1"}
    assert "--expect-root" in result.check("I1").observed
    assert result.exit_code == 1


def test_subset_that_is_not_nested(study: Any) -> None:
    """One arm's cells of draw 1 were trained on the subset of another draw."""
    lines = study.lines()
    trainings = [line for line in lines if line["event"] == "training_started"]
    other = next(t for t in trainings if t["facts"]["cell"] == "ssl_ft_0.25_2")
    for line in trainings:
        if line["facts"]["cell"] == "ssl_ft_0.25_1":
            line["facts"]["subset_sha256"] = other["facts"]["subset_sha256"]
    study.forge(lines)
    result = study.audit()
    assert failed(result) == {"S1"}
    assert "ssl_ft_0.25_1" in result.check("S1").observed
    assert result.exit_code == 1


def test_dealt_again(study: Any) -> None:
    """Hands were dealt until one pleased: two patients of draw 0 change places."""

    def swap(frame: pd.DataFrame) -> pd.DataFrame:
        dealt = frame.index[(frame["draw"] == 0) & (frame["patient_class"] == "1")]
        first, last = dealt[0], dealt[-1]
        frame.loc[[first, last], "patient_key"] = frame.loc[[last, first], "patient_key"].to_numpy()
        return frame

    study.edit_table("splits.parquet", swap)
    study.forge()
    result = study.audit()
    assert "S1" in failed(result)
    assert "I1" not in failed(result)
    assert "not in the order of its hashes" in result.check("S1").observed
    assert result.exit_code == 1


def test_validation_that_is_not_counted(study: Any) -> None:
    planned = {(s["fraction"], s["draw"]): s for s in study.json("plan.json")["subsets"]}

    def forget(values: dict[str, Any]) -> None:
        for cell in values["cells"]:
            subset = planned[cell["fraction"], cell["draw"]]
            cell["labels"] -= subset["val_cases"]

    study.edit_json("analysis.json", forget)
    study.forge()
    result = study.audit()
    assert failed(result) == {"S2"}
    assert result.exit_code == 1


@pytest.mark.parametrize("what", ["metric", "mean", "p", "hi"])
def test_metric_that_does_not_recompute(study: Any, what: str) -> None:
    def flatter(values: dict[str, Any]) -> None:
        if what == "metric":
            values["cells"][3]["metrics"]["brier"] -= 2e-6
        elif what == "mean":
            values["curve"][0]["mean"] += 2e-6
        elif what == "p":
            values["effects"][0]["p"] = 0.001
        else:
            point = values["curve"][0]
            point["hi"] -= 0.5 * (point["hi"] - point["lo"])

    study.edit_json("analysis.json", flatter)
    study.forge()
    result = study.audit()
    assert failed(result) == {"M1"}
    assert result.exit_code == 1


def test_flat_curve_is_vacuous(copied: Callable[..., Any]) -> None:
    result = copied(slope=0.0).audit()
    assert failed(result) == set()
    assert statuses(result)["C2"] == "VACUOUS"
    assert (result.verdict, result.exit_code) == ("VACUOUS", 3)


def test_no_effect_is_unsupported(copied: Callable[..., Any]) -> None:
    result = copied(saved=1.0).audit()
    assert failed(result) == set()
    assert (result.verdict, result.exit_code) == ("UNSUPPORTED", 3)


def test_three_draws_are_inconclusive(copied: Callable[..., Any]) -> None:
    result = copied(draws=3).audit()
    assert statuses(result)["C1"] == statuses(result)["C2"] == "INCONCLUSIVE"
    assert (result.verdict, result.exit_code) == ("INCONCLUSIVE", 4)


def test_three_draws_without_an_effect_say_no_more(copied: Callable[..., Any]) -> None:
    result = copied(draws=3, saved=1.0).audit()
    assert (result.verdict, result.exit_code) == ("INCONCLUSIVE", 4)


def test_three_draws_of_a_flat_curve_are_vacuous(copied: Callable[..., Any]) -> None:
    result = copied(draws=3, slope=0.0).audit()
    assert statuses(result)["C1"] == "INCONCLUSIVE"
    assert (result.verdict, result.exit_code) == ("VACUOUS", 3)


def test_missing_cell(study: Any) -> None:
    path = "predictions/scratch_0.25_3.parquet"
    (study.root / path).unlink()
    study.forge([line for line in study.lines() if line["path"] != path])
    result = study.audit()
    assert failed(result) == {"I3", "M1"}
    assert "scratch_0.25_3" in result.check("I3").observed
    assert result.exit_code == 1


def test_plan_frozen_after_training(study: Any) -> None:
    lines = study.lines()
    frozen = next(line for line in lines if line["event"] == "plan_frozen")
    lines.remove(frozen)
    last = max(i for i, line in enumerate(lines) if line["event"] == "training_finished")
    lines.insert(last, frozen)
    study.forge(lines)
    result = study.audit()
    assert failed(result) == {"I2"}
    assert result.exit_code == 1


@pytest.mark.parametrize(
    ("quality", "status", "code"),
    [("inferred", "WARN", 0), ("scan", "INCONCLUSIVE", 4), ("none", "INCONCLUSIVE", 4)],
)
def test_patients_that_are_not_known_as_such(
    study: Any, quality: str, status: str, code: int
) -> None:
    study.edit_table(
        "cases.parquet",
        lambda f: f.assign(group_quality=["patient", quality] + ["patient"] * (len(f) - 2)),
    )
    study.forge()
    result = study.audit()
    assert failed(result) == set()
    assert statuses(result)["L4"] == status
    assert result.exit_code == code


@pytest.mark.parametrize("manifest", ["missing", "of another key"])
def test_pretraining_that_cannot_be_compared(copied: Callable[..., Any], manifest: str) -> None:
    study = copied(pretraining_key="key-1" if manifest == "missing" else "key-2")
    if manifest == "missing":
        gone = ("pretrain.parquet", "pretrain_instances.parquet")
        for name in gone:
            (study.root / name).unlink()
        study.forge([line for line in study.lines() if line["path"] not in gone])
    result = study.audit()
    assert failed(result) == set()
    assert statuses(result)["L2"] == "INCONCLUSIVE"
    assert (result.verdict, result.exit_code) == ("INCONCLUSIVE", 4)


def _edit_cell(study: Any, name: str, edit: Callable[[dict[str, Any]], None]) -> None:
    study.edit_json(f"cells/{name}/cell.json", edit)


def test_baseline_tuned_with_fewer_trials(copied: Callable[..., Any]) -> None:
    """Three trials for scratch where the others had five; cells and ledger say so alike."""
    study = copied(trials=5)
    lines = []
    for line in study.lines():
        facts = line.get("facts", {})
        if str(facts.get("cell")).startswith("scratch"):
            if line["event"].startswith("training_") and facts["trial"] > 2:
                continue
            facts |= {"values": facts["values"][:3]} if "values" in facts else {}
        lines.append(line)
    for line in lines:
        facts = line.get("facts", {})
        if line["event"] == "trial_chosen" and facts["cell"].startswith("scratch"):
            facts["trial"] = 2
        if line["event"] == "test_look" and facts["cell"].startswith("scratch"):
            facts["weights_sha256"] = next(
                other["facts"]["weights_sha256"]
                for other in lines
                if other["event"] == "training_finished"
                and (other["facts"]["cell"], other["facts"]["trial"]) == (facts["cell"], 2)
            )

    def fewer(values: dict[str, Any]) -> None:
        values.update(trials=values["trials"][:3], chosen=2)
        values["setting"] = values["trials"][2]["setting"]

    for path in sorted((study.root / "cells").glob("scratch_*")):
        _edit_cell(study, path.name, fewer)
    study.forge(lines)
    result = study.audit()
    assert failed(result) == {"B1"}
    assert "3 trials started, 5 planned" in result.check("B1").observed
    assert result.exit_code == 1


@pytest.mark.parametrize("when", ["before the choice", "twice"])
def test_peek_at_the_test_set(study: Any, when: str) -> None:
    lines = study.lines()
    look = next(
        line
        for line in lines
        if line["event"] == "test_look" and line["facts"]["cell"] == "ssl_ft_0.25_1"
    )
    at = lines.index(look)
    if when == "twice":
        other = {**look, "facts": {**look["facts"], "weights_sha256": "e" * 64}}
        lines.insert(at + 1, other)
    else:
        lines[at - 1], lines[at] = lines[at], lines[at - 1]
    study.forge(lines)
    result = study.audit()
    assert failed(result) == {"B3"}
    assert "ssl_ft_0.25_1 looked at the test set" in result.check("B3").observed
    assert result.exit_code == 1


def test_a_crashed_cell_is_hidden(study: Any) -> None:
    """Nothing is left of the cell: no training, no crash, no file."""
    name = "ssl_ft_1_2"
    (study.root / f"predictions/{name}.parquet").unlink()
    shutil.rmtree(study.root / "cells" / name)
    lines = [
        line
        for line in study.lines()
        if line.get("facts", {}).get("cell") != name and name not in str(line["path"])
    ]
    study.edit_json(
        "analysis.json",
        lambda v: v.update(cells=[c for c in v["cells"] if c["cell"] != name], missing=[name]),
    )
    study.forge(lines)
    result = study.audit()
    assert failed(result) == {"I3", "M1"}  # the curve had that draw
    assert f"no crash is recorded: {name}" in result.check("I3").observed
    assert result.exit_code == 1


def test_more_steps_for_one_arm(study: Any) -> None:
    lines = study.lines()
    for line in lines:
        facts = line.get("facts", {})
        if line["event"] == "training_finished" and facts["cell"].startswith("ssl_ft"):
            facts["steps"] = 40
    for path in sorted((study.root / "cells").glob("ssl_ft_*")):
        _edit_cell(study, path.name, lambda values: values["trials"][0].update(steps=40))
    study.forge(lines)
    result = study.audit()
    assert failed(result) == {"B1"}
    assert "trained for 40 steps, the plan gives 4" in result.check("B1").observed
    assert result.exit_code == 1


def test_threshold_fitted_on_the_test_set(study: Any) -> None:
    cases = pd.read_parquet(study.root / "cases.parquet")
    test = sorted(cases.loc[cases["role"] == "test", "volume_uid"])
    _edit_cell(
        study,
        "ssl_ft_0.25_0",
        lambda values: values["fitted_on"].update(temperature=sha_json(test)),
    )
    study.forge()
    result = study.audit()
    assert failed(result) == {"L5"}
    assert "temperature was fitted on the test set" in result.check("L5").observed
    assert result.exit_code == 1


def test_test_labels_permuted(study: Any) -> None:
    def permute(frame: pd.DataFrame) -> pd.DataFrame:
        test = frame.index[frame["split"] == "test"]
        frame.loc[test, "y_true"] = frame.loc[test[::-1], "y_true"].to_numpy()
        return frame

    study.edit_table("predictions/scratch_1_3.parquet", permute)
    study.forge()
    result = study.audit()
    assert failed(result) == {"M1"}
    assert "y_true of" in result.check("M1").observed
    assert result.exit_code == 1


def test_encoder_swapped(study: Any) -> None:
    lines = study.lines()
    for line in lines:
        if line["event"] == "training_started" and line["facts"]["arm"] == "ssl_ft":
            line["facts"]["init_sha256"] = "e" * 64
    study.forge(lines)
    result = study.audit()
    assert failed(result) == {"L2"}
    assert "did not start from the weights that the plan names" in result.check("L2").observed
    assert result.exit_code == 1


def test_another_seed_for_one_arm(study: Any) -> None:
    lines = study.lines()
    for line in lines:
        if line["event"] == "training_started" and line["facts"]["cell"] == "ssl_ft_0.25_1":
            line["facts"]["seed"] += 1
    _edit_cell(study, "ssl_ft_0.25_1", lambda values: values.update(seed=values["seed"] + 1))
    study.forge(lines)
    result = study.audit()
    assert failed(result) == {"B1"}
    assert "draw 1 was trained with 2 seeds" in result.check("B1").observed
    assert result.exit_code == 1
