"""The shape of a study's JSON files, as far as the audit reads them.

These models are the audit's own, apart from those that write a study: a study made by another
version, or by hand, is read by the documented layout (docs/reference/study-schema.md) alone. Keys
that are not listed here are let through.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Record(BaseModel):
    """Frozen; unknown keys are let through, values are not converted."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)


Text = str
Real = float | int


class TaskRecord(Record):
    kind: Literal["classification", "segmentation"]
    label: Text
    classes: list[Text] = Field(min_length=1)


class DataRecord(Record):
    key_id: Text
    cases_sha256: Text
    cases: int
    patients: int
    test_cases: int
    test_patients: int


class TestRecord(Record):
    rule: Literal["holdout", "split"]
    fraction: Real | None = None
    seed: int | None = None
    label: Text | None = None


class EncoderRecord(Record):
    weights_sha256: Text
    store_key_id: Text | None = None
    volumes: int


class ArmRecord(Record):
    init: Literal["random", "encoder"]
    encoder: EncoderRecord | None = None
    regime: Literal["full", "linear_probe", "knn"]
    steps: int = Field(ge=0)
    labels: Literal["given", "permuted"]
    trials: int = Field(ge=1)


class SearchRecord(Record):
    trials: int = Field(ge=1)
    space: dict[Text, list[Any]]
    settings: list[dict[Text, Any]] = Field(min_length=1)


class SubsetRecord(Record):
    fraction: Real
    draw: int
    patients: int
    cases: int
    val_patients: int
    val_cases: int
    sha256: Text


class ValidationRecord(Record):
    every: int = Field(ge=2)
    least: int = Field(ge=1)


class ClaimRecord(Record):
    arm: Text
    frac: Real
    versus: Text
    vs_frac: Real
    metric: Text
    margin: Real
    min_lsf: Real | None = None


class StatisticsRecord(Record):
    replicates: int = Field(ge=1, le=100_000)
    seed: int
    level: Real = Field(gt=0, lt=1)


class PlanRecord(Record):
    """plan.json."""

    schema_: Literal["medssl.plan/2"] = Field(alias="schema")
    task: TaskRecord
    data: DataRecord
    test: TestRecord
    arms: dict[Text, ArmRecord] = Field(min_length=1)
    fractions: list[Real] = Field(min_length=1)
    draws: int = Field(ge=1, le=20)  # as far as the exact sign-flip test goes
    subsets: list[SubsetRecord]
    validation: ValidationRecord
    search: SearchRecord
    fit: dict[Text, Any]
    metric: Text
    margin: Real
    reference_fraction: Real
    claim: ClaimRecord | None = None
    statistics: StatisticsRecord


class TrialRecord(Record):
    setting: dict[Text, Any]
    steps: int
    selected_step: int | None = None
    val: Real | None = None
    seconds: Real | None = None


class ProvenanceRecord(Record):
    git_commit: Text | None = None
    git_dirty: Text | bool | None = None
    env_sha256: Text | None = None
    device: Text | None = None
    torch: Text | None = None
    threads: int | None = None
    deterministic: bool | None = None


class CostRecord(Record):
    seconds: Real | None = None


class CellFile(Record):
    """cells/<cell>/cell.json."""

    schema_: Literal["medssl.cell/1"] = Field(alias="schema")
    cell: Text
    arm: Text
    fraction: Real
    draw: int
    seed: int
    trials: list[TrialRecord] = Field(min_length=1)
    chosen: int = Field(ge=0)
    setting: dict[Text, Any]
    provenance: ProvenanceRecord
    fitted_on: dict[Text, Text | None]
    cost: CostRecord
    representation: dict[Text, Any] | None = None


class PretrainingFile(Record):
    """pretraining.json."""

    schema_: Literal["medssl.pretraining/1"] = Field(alias="schema")
    method: Text | None = None
    alarms: list[Text]
    health: list[dict[Text, Any]] = []


class CellRow(Record):
    """A cell in analysis.json."""

    cell: Text
    arm: Text
    fraction: Real
    draw: int
    labels: int
    patients: int
    predictions_sha256: Text
    metrics: dict[Text, Real | None]


class CurveRecord(Record):
    arm: Text
    fraction: Real
    labels: Real
    patients: Real
    mean: Real | None
    lo: Real | None
    hi: Real | None
    draws: list[Real | None]


class EffectRecord(Record):
    fraction: Real
    arm: Text
    versus: Text
    delta: Real | None
    lo: Real | None
    hi: Real | None
    p: Real | None = None
    p_holm: Real | None = None
    significant: bool | None = None


class IntervalsRecord(Record):
    replicates: int
    level: Real
    seed: int
    draws: int
    test_patients: int


class ClaimOutcomeRecord(ClaimRecord):
    verdict: Text


class AnalysisRecord(Record):
    """analysis.json."""

    schema_: Literal["medssl.analysis/2"] = Field(alias="schema")
    plan_sha256: Text
    metric: Text
    missing: list[Text]
    cells: list[CellRow]
    curve: list[CurveRecord]
    effects: list[EffectRecord]
    aulc: dict[Text, dict[str, Any] | None]
    lsf: dict[str, Any] | None = None
    claim: ClaimOutcomeRecord | None = None
    intervals: IntervalsRecord | None = None
    calibration: list[dict[str, Any]] | None = None
    subgroups: dict[str, Any] | None = None
    controls: dict[str, Any] | None = None
    paired_tests: list[dict[str, Any]] | None = None
