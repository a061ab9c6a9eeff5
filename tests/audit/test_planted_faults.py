"""Faults planted in a sound study, each named by its check and its exit code.

The ledger is forged where a fault could be hidden that way, so that the check named has to see it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from medssl.audit.result import AuditResult, Status

pytestmark = pytest.mark.usefixtures("no_page")


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


def test_untouched_study_with_a_strong_effect_is_supported(copied: Callable[..., Any]) -> None:
    study = copied(draws=10)
    root = study.lines()[-1]["this"]
    result = study.audit(expect_root=root)
    assert set(statuses(result).values()) == {"PASS"}
    assert (result.verdict, result.exit_code) == ("SUPPORTED", 0)
    assert result.ledger_root == root
    ids = ["I1", "I2", "I3", "L1", "L2", "L4", "S1", "S2", "M1", "C1", "C2"]
    assert [check.id for check in result.checks] == ids


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
    lines = study.lines()
    del lines[len(lines) // 2]
    study.write_lines(lines)
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
