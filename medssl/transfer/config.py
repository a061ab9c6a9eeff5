"""Configuration of fine-tuning: the task, where the weights come from, who is in which part."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from medssl.augment.config import AugmentConfig
from medssl.config import Config
from medssl.engine.config import OptimConfig, RuntimeConfig
from medssl.models.config import ModelConfig
from medssl.transfer.regime_config import FullRegime, RegimeConfig
from medssl.transfer.task_config import PRIMARY_METRIC, TaskConfig, is_selection_metric
from medssl.transfer.tuning_config import SearchConfig, Setting


def changed(config: Config, names: set[str], prefix: str = "") -> list[str]:
    """Those of the fields that do not have their default, by name, with `prefix` before each."""
    fields = type(config).model_fields
    return [
        prefix + name
        for name in sorted(names)
        if name in fields and getattr(config, name) != fields[name].default
    ]


class FitConfig(Config):
    """One training on labels; a study runs many that differ in weights, cases and seed."""

    task: TaskConfig = Field(description="What is learned: its name and settings.")
    channels: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="Series that are a case together, each a modality or a contrast of the "
        "manifest, such as [CT, PT] or [T1, FLAIR]. The first carries the label or the mask; the "
        "others are the same patient's, resampled onto its patches. null: every labelled volume "
        "is a case of its own.",
    )
    init: Path | None = Field(
        None,
        description="Folder of a pretraining run, or a safetensors file with its encoder; or "
        "another project's weights (docs/how-to/load-weights.md); null: from scratch.",
    )
    min_matched: float = Field(
        0.9,
        ge=0,
        le=1,
        description="Least share of a pretrained encoder's weights that has to match; below 0.9 "
        "`model` may differ from that of `init`.",
    )
    load_decoder: bool = Field(
        True, description="Segmentation: also take the decoder, where pretraining trained one."
    )
    model: ModelConfig | None = Field(
        None, description="The network: its name and settings; null: as `init` says."
    )
    augment: AugmentConfig = Field(description="Patches and their augmentation.")
    optim: OptimConfig = Field(
        OptimConfig(lr=3e-4, weight_decay=0.01, betas=(0.9, 0.999)),
        description="The optimiser and its schedule.",
    )
    regime: RegimeConfig = Field(
        FullRegime(), description="Which weights the labels may change: its name and settings."
    )
    encoder_lr_factor: float = Field(
        1.0, gt=0, le=1, description="Learning rate of a pretrained encoder, as a share of the rest"
    )
    encoder_lr_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Learning rate of each layer of a pretrained encoder, as a share of the next "
        "one's towards the head; 0.75 to 0.9 is usual for transformers. 1: all alike.",
    )
    head_only_steps: int = Field(
        0, ge=0, description="First steps, in which a pretrained encoder stays as it is."
    )
    runtime: RuntimeConfig = Field(RuntimeConfig(), description="Workers, precision, checkpoints.")
    steps: int = Field(1000, ge=1, description="Optimiser steps.")
    batch_size: int = Field(8, ge=1, description="Patches in a batch.")
    validate_every: int = Field(
        200, ge=1, description="Steps between two looks at the validation part, where there is one."
    )
    select_by: str | None = Field(
        None,
        description="Validation metric whose highest value decides which weights are kept; null: "
        "the task's own, auc_macro, r2 or dice_mean. Without a validation part the last weights "
        "are kept.",
    )
    patience: int | None = Field(
        None,
        ge=1,
        description="Looks at the validation part in a row without a higher metric, after which "
        "training ends; null: all steps are taken.",
    )
    temperature_scaling: bool = Field(
        False,
        description="Classification: divide logits by one temperature, fitted on the validation "
        "part, so that confidence is what it says.",
    )
    test_time_flips: bool = Field(
        False,
        description="Average predicted probabilities over mirror images along every combination "
        "of the axes of augment.spatial.flip; predicting takes 2, 4 or 8 times as long.",
    )

    @model_validator(mode="after")
    def _steps_and_metric(self) -> FitConfig:
        if self.head_only_steps >= self.steps:
            raise ValueError(f"head_only_steps {self.head_only_steps} leaves none of the steps")
        if self.select_by is not None and not is_selection_metric(self.task, self.select_by):
            raise ValueError(
                f"select_by: {self.task.name} has no metric {self.select_by} that grows with "
                f"quality; {PRIMARY_METRIC[self.task.name]} is one"
            )
        return self

    @model_validator(mode="after")
    def _regime_suits(self) -> FitConfig:
        problems = [*_regime_problems(self), *_prediction_problems(self)]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @field_validator("channels")
    @classmethod
    def _channels_differ(cls, channels: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if channels is not None and len(set(channels)) < len(channels):
            raise ValueError("a channel is named twice")
        return channels

    @property
    def in_channels(self) -> int:
        """Channels of the network's input."""
        return len(self.channels or ("",))

    @property
    def selection_metric(self) -> str:
        """The metric that chooses among checkpoints."""
        return self.select_by or PRIMARY_METRIC[self.task.name]


class SplitConfig(Config):
    """Who tests, who validates, who trains; a patient is in one part alone."""

    source: Literal["fractions", "cases", "folds"] = Field(
        "fractions",
        description="fractions: patients are split here; cases: by the split column of --cases "
        "(train, val, test); folds: cross-validation, in which every patient tests once.",
    )
    test: float = Field(0.2, gt=0, lt=1, description="Share of patients that test.")
    val: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Share of patients that validate; of each fold's training patients where "
        "source is folds.",
    )
    folds: int = Field(
        5, ge=2, description="source folds: how many parts the patients are dealt into."
    )
    seed: int = Field(0, description="Another seed deals the patients anew.")

    @model_validator(mode="after")
    def _somebody_trains(self) -> SplitConfig:
        idle = {
            "fractions": {"folds"},
            "folds": {"test"},
            "cases": {"test", "val", "folds", "seed"},
        }
        given = changed(self, idle[self.source])
        if given:
            raise ValueError(f"{', '.join(given)}: without effect where source is {self.source}")
        if self.source == "fractions" and self.test + self.val >= 1:
            raise ValueError("test and val leave no patient to train on")
        return self


class FinetuneConfig(FitConfig):
    """Everything that decides a fine-tuning run, but for the folder that it writes to."""

    store: Path = Field(description="Folder of the store with the labelled volumes.")
    split: SplitConfig = Field(SplitConfig(), description="Training, validation and test part.")
    seed: int = Field(0, description="Decides weights, patches, augmentation and dropout.")
    search: SearchConfig | None = Field(
        None,
        description="Tune settings on the validation part, in cross-validation on that of each "
        "fold; null: train once, with the settings given here.",
    )

    @property
    def alone(self) -> FinetuneConfig:
        """The same training without its search: what a trial changes."""
        return self.model_copy(update={"search": None})

    @property
    def settings(self) -> list[Setting]:
        """What is tried; a single empty setting where there is no search."""
        return self.search.settings(self.alone) if self.search else [{}]

    @model_validator(mode="after")
    def _options_have_an_effect(self) -> FinetuneConfig:
        if self.split.source != "cases" and not self.split.val:
            needing = [n for n in ("patience", "search", "temperature_scaling") if getattr(self, n)]
            if needing:
                raise ValueError(f"{', '.join(needing)}: needs a validation part; set split.val")
        if self.init is not None:
            return self
        if self.model is None:
            raise ValueError("model is required where init is null: there is nothing to take it of")
        if self.regime.name == "lora":
            raise ValueError("regime.name: lora updates pretrained weights; set init")
        pretrained_only = {
            "load_decoder",
            "encoder_lr_decay",
            "encoder_lr_factor",
            "head_only_steps",
            "min_matched",
        }
        idle = changed(self, pretrained_only)
        if idle:
            raise ValueError(f"{', '.join(idle)}: without effect where init is null")
        return self

    @model_validator(mode="after")
    def _search_is_possible(self) -> FinetuneConfig:
        if self.search is not None:
            if self.regime.name in ("linear_probe", "knn"):
                raise ValueError(f"search: nothing to tune where regime is {self.regime.name}")
            try:
                self.search.settings(self.alone)
            except ValueError as error:
                raise ValueError(f"search.{error}") from error
        return self


def _regime_problems(config: FitConfig) -> list[str]:
    regime, task = config.regime.name, config.task
    idle: list[str] = []
    problems = []
    if regime in ("attention_probe", "linear_probe", "knn"):
        idle += changed(config, {"encoder_lr_decay", "encoder_lr_factor", "head_only_steps"})
    if regime in ("linear_probe", "knn"):
        idle += changed(config, {"optim", "patience", "select_by", "steps", "validate_every"})
        idle += changed(task, {"dropout", "label_smoothing"}, "task.")
        used = {"flip"} if config.test_time_flips else set()
        spatial = config.augment.spatial
        idle += changed(spatial, set(type(spatial).model_fields) - used, "augment.spatial.")
        idle += changed(config.augment, {"intensity"}, "augment.")
        if task.name != "classification":
            problems.append(f"regime.name: {regime} is for classification, not {task.name}")
    elif regime == "attention_probe" and task.name == "segmentation":
        problems.append("regime.name: attention_probe pools; a segmenter has nothing to pool")
    if idle:
        problems.append(f"{', '.join(idle)}: without effect where regime is {regime}")
    return problems


def _prediction_problems(config: FitConfig) -> list[str]:
    problems = []
    if config.temperature_scaling and config.task.name != "classification":
        problems.append(f"temperature_scaling: without effect in {config.task.name}")
    if config.test_time_flips and not config.augment.spatial.flip:
        problems.append(
            "test_time_flips: no axis may be mirrored; name them in augment.spatial.flip"
        )
    if config.test_time_flips and config.task.name in ("regression", "multilabel"):
        problems.append(
            f"test_time_flips: averages the probabilities of classes, {config.task.name} has none"
        )
    return problems
