"""Configuration of a label-efficiency study, and of the claim that it is to judge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from medssl.config import Config
from medssl.engine.config import HoldoutConfig
from medssl.transfer.config import FitConfig
from medssl.transfer.task_config import SegmentationTask
from medssl.transfer.tuning_config import SearchConfig, Setting

Arm = Literal[
    "scratch",
    "ssl_ft",
    "ssl_linear",
    "ssl_knn",
    "random_linear",
    "scratch_2x",
    "permuted_labels",
]
Metric = Literal["auc_macro", "dice_mean"]
_OF_CLASSES = ("ssl_linear", "ssl_knn", "random_linear", "permuted_labels")
_OF_ENCODERS = ("encoder_lr_decay", "encoder_lr_factor", "head_only_steps")
_STUDIED = ("classification", "segmentation")
Share = Annotated[float, Field(gt=0, le=1)]


class ClaimConfig(Config):
    """`arm` with a fraction `frac` of the labels does as well as `versus` with `vs_frac`."""

    arm: str = Field("ssl_ft", description="The arm that is said to save labels.")
    frac: Share = Field(description="Fraction of the labels that it is said to need.")
    versus: str = Field("scratch", description="The arm it is compared with.")
    vs_frac: Share = Field(description="Fraction of the labels that the other arm has.")
    metric: Metric = Field(description="The metric that the claim is about.")
    margin: float = Field(
        0.02, gt=0, description="The most by which the arm may be worse and still count as equal."
    )
    min_lsf: float | None = Field(
        None, gt=0, description="Label-savings factor that is claimed; null: none is."
    )

    @model_validator(mode="after")
    def _saves_labels(self) -> ClaimConfig:
        if self.frac >= self.vs_frac:
            raise ValueError(
                f"frac {self.frac:g} is not below vs_frac {self.vs_frac:g}: no label would be saved"
            )
        return self


class StudyConfig(Config):
    """Everything that decides a study, but for the folder that it writes to."""

    store: Path = Field(description="Folder of the store with the labelled volumes.")
    encoder: Path | None = Field(
        None,
        description="What the arms ssl_* start from: the folder of a pretraining run. A "
        "safetensors file is read too, but says nothing of what the encoder saw.",
    )
    arms: tuple[Arm, ...] = Field(
        ("scratch", "ssl_ft"),
        description="Arms that are compared. Of classification alone: ssl_linear and ssl_knn, "
        "probes on the frozen encoder; random_linear, a probe on an untrained one; "
        "permuted_labels, scratch with the labels dealt out anew, which must learn nothing. "
        "scratch_2x has twice the steps.",
    )
    fractions: tuple[Share, ...] = Field(
        (0.05, 0.1, 0.2, 0.4, 0.7, 1.0),
        min_length=1,
        description="Shares of the development patients that are labelled, ascending.",
    )
    draws: int = Field(
        10,
        ge=1,
        le=20,
        description="Draws of patients. With five to nine nothing is called significant; under "
        "five the verdict is at most INCONCLUSIVE.",
    )
    test: HoldoutConfig | None = Field(
        None,
        description="Patients of the sealed test set: give pretraining the same values as its "
        "`holdout`. null: the split `test` of --cases.",
    )
    fit: FitConfig = Field(description="The training of every cell, the same for all arms.")
    search: SearchConfig = Field(
        SearchConfig(),
        description="Tuning of each cell on its own validation part; all arms that train try the "
        "same settings.",
    )
    metric: Metric = Field(description="The metric of the curve.")
    margin: float = Field(0.02, gt=0, description="Largest difference that counts as equal.")
    reference_fraction: Share = Field(
        1.0, description="Fraction at which arm scratch sets the target of the savings factor."
    )
    claim: ClaimConfig | None = Field(None, description="The claim to judge; null: none.")
    replicates: int = Field(2000, ge=100, description="Replicates of the crossed bootstrap.")
    seed: int = Field(0, description="Decides weights and batches; the same for all arms.")

    @model_validator(mode="after")
    def _parts_fit(self) -> StudyConfig:
        problems = [
            *self._grid_problems(),
            *self._arm_problems(),
            *self._search_problems(),
            *self._claim_problems(),
        ]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _grid_problems(self) -> list[str]:
        problems = []
        if list(self.fractions) != sorted(set(self.fractions)):
            problems.append(f"fractions {list(self.fractions)} are not ascending")
        if len(set(self.arms)) != len(self.arms) or "scratch" not in self.arms:
            problems.append("arms are named once each, and scratch is among them")
        if self.reference_fraction not in self.fractions:
            problems.append(f"reference_fraction {self.reference_fraction:g} is no fraction")
        if self.fit.task.name not in _STUDIED:
            problems.append(
                f"fit.task.name {self.fit.task.name}: a study is of {' or '.join(_STUDIED)}"
            )
        if self.fit.channels is not None:
            problems.append("fit.channels: a case of a study is one volume; leave it null")
        if isinstance(self.fit.task, SegmentationTask) and self.fit.task.regions is not None:
            problems.append(
                "fit.task.regions: a study is of classes; name them in fit.task.classes"
            )
        kind = "auc_macro" if self.fit.task.name == "classification" else "dice_mean"
        if self.metric != kind:
            problems.append(f"metric {self.metric}: the metric of {self.fit.task.name} is {kind}")
        return problems

    def _arm_problems(self) -> list[str]:
        problems = []
        if self.fit.init is not None:
            problems.append("fit.init: a study's arms differ in it; set encoder instead")
        if self.fit.regime.name != "full":
            problems.append("fit.regime: a study's arms differ in it; name probes among the arms")
        pretrained = [arm for arm in self.arms if arm.startswith("ssl_")]
        if pretrained and self.encoder is None:
            problems.append(f"arm {pretrained[0]} needs encoder: the folder of a pretraining run")
        if not pretrained and self.encoder is not None:
            problems.append("encoder: without effect, for no arm ssl_* is among the arms")
        wrong = [arm for arm in self.arms if arm in _OF_CLASSES]
        if wrong and self.fit.task.name != "classification":
            problems.append(f"arms {', '.join(wrong)}: of classification alone")
        if self.encoder is None and self.fit.model is None:
            problems.append("fit.model is required where there is no encoder to take it of")
        return problems

    @property
    def settings(self) -> list[Setting]:
        """What is tried in each cell that trains."""
        return self.search.settings(self.fit)

    def _search_problems(self) -> list[str]:
        if "batch_size" in self.search.space:
            return ["search.space.batch_size: cannot be searched, every arm has the same batch"]
        idle = [key for key in self.search.space if key in _OF_ENCODERS]
        if idle and self.search.trials > 1:
            return [f"search.space.{idle[0]}: without effect in arm scratch, which has no encoder"]
        try:
            self.search.settings(self.fit)
        except ValueError as error:
            return [f"search.{error}"]
        return []

    def _claim_problems(self) -> list[str]:
        if self.claim is None:
            return []
        problems = []
        for name in (self.claim.arm, self.claim.versus):
            if name not in self.arms:
                problems.append(f"claim: arm {name} is not among the arms")
        for fraction in (self.claim.frac, self.claim.vs_frac):
            if fraction not in self.fractions:
                problems.append(f"claim: {fraction:g} is not among the fractions")
        if self.claim.metric != self.metric:
            problems.append(f"claim.metric {self.claim.metric} is not the metric {self.metric}")
        return problems
