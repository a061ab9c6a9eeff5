"""Configuration of what is learned: one class a task."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from medssl.config import Config

PRIMARY_METRIC = {
    "classification": "auc_macro",
    "multilabel": "auc_macro",
    "ordinal": "auc_macro",
    "regression": "r2",
    "segmentation": "dice_mean",
}
"""By the task's name: what is read first, and chooses among checkpoints unless told otherwise."""

Dropout = Annotated[float, Field(ge=0, lt=1, description="Dropout before the last layer.")]


class ClassificationTask(Config):
    """One class for each volume."""

    name: Literal["classification"] = "classification"
    label: str = Field(description="Name of the class label in the store.")
    classes: tuple[str, ...] | None = Field(
        None,
        min_length=2,
        description="Its values in order, the last of two being the positive one; volumes with "
        "another value are left out. null: all values that the store has, in ascending order.",
    )
    dropout: Dropout = 0.2
    label_smoothing: float = Field(
        0.1, ge=0, lt=1, description="Share of the target that is spread over all classes."
    )

    @field_validator("classes")
    @classmethod
    def _classes_differ(cls, classes: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return _different(classes)


class OrdinalTask(Config):
    """One class for each volume, of classes that stand in an order: grades, stages, scores."""

    name: Literal["ordinal"] = "ordinal"
    label: str = Field(description="Name of the class label in the store.")
    classes: tuple[str, ...] | None = Field(
        None,
        min_length=2,
        description="Its values from the lowest to the highest; volumes with another value are "
        "left out. null: all values that the store has, in ascending order; they must be numbers.",
    )
    dropout: Dropout = 0.2

    @field_validator("classes")
    @classmethod
    def _classes_differ(cls, classes: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return _different(classes)


class MultilabelTask(Config):
    """Several findings in each volume, each present or not."""

    name: Literal["multilabel"] = "multilabel"
    labels: tuple[str, ...] = Field(
        min_length=1,
        description="Names of the class labels in the store. Each has two values, the last in "
        "ascending order being the positive one (0 and 1, no and yes). A volume may lack some of "
        "them: these have no part in the loss.",
    )
    dropout: Dropout = 0.2

    @field_validator("labels")
    @classmethod
    def _labels_differ(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(labels)) < len(labels):
            raise ValueError("a label is named twice")
        return labels


class RegressionTask(Config):
    """One number for each volume."""

    name: Literal["regression"] = "regression"
    label: str = Field(description="Name of the label in the store; its values are numbers.")
    loss: Literal["huber", "mse"] = Field(
        "huber",
        description="Of the standardised label: mse, the squared error; huber, the same up to one "
        "standard deviation and linear beyond, so that outliers pull less.",
    )
    dropout: Dropout = 0.2


class SegmentationTask(Config):
    """One class for each voxel."""

    name: Literal["segmentation"] = "segmentation"
    mask: str = Field("mask", description="Name of the mask in the store.")
    classes: tuple[int, ...] | None = Field(
        None,
        min_length=1,
        description="Values of the mask that are told apart; every other value is background. "
        "null: all values above 0 that the store's masks have.",
    )
    regions: dict[str, tuple[int, ...]] | None = Field(
        None,
        min_length=1,
        description="Instead of classes: named regions that may overlap, each a union of values of "
        "the mask, {whole: [1, 2], core: [2]}; one sigmoid output each.",
    )
    labelled_share: float = Field(
        0.67,
        ge=0,
        le=1,
        description="Share of training patches centred on a labelled voxel; the others are cut "
        "anywhere in the foreground.",
    )
    nsd_tolerance_mm: float = Field(
        2.0,
        gt=0,
        description="Normalised surface Dice: how far apart two surfaces may be and still agree; "
        "best the distance between two readers.",
    )

    @field_validator("classes")
    @classmethod
    def _classes_are_foreground(cls, classes: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if classes is not None and (min(classes) < 1 or len(set(classes)) < len(classes)):
            raise ValueError("classes are different values of at least 1; 0 is the background")
        return classes

    @model_validator(mode="after")
    def _regions_are_unions(self) -> SegmentationTask:
        if self.regions is None:
            return self
        if self.classes is not None:
            raise ValueError("classes: without effect beside regions, which name the values")
        for name, values in self.regions.items():
            if not name.isidentifier():
                raise ValueError(f"regions: {name} is no name of letters, digits and _")
            if not values or min(values) < 1 or len(set(values)) < len(values):
                raise ValueError(f"regions.{name}: different values of at least 1 are needed")
        if len({frozenset(values) for values in self.regions.values()}) < len(self.regions):
            raise ValueError("regions: two of them are the same values")
        return self


TaskConfig = Annotated[
    ClassificationTask | MultilabelTask | OrdinalTask | RegressionTask | SegmentationTask,
    Field(discriminator="name"),
]


def is_selection_metric(task: TaskConfig, metric: str) -> bool:
    """Whether validation gives this metric for the task, and a higher value is a better one."""
    match task:
        case ClassificationTask():
            return metric in ("auc_macro", "bacc")
        case OrdinalTask():
            return metric in ("auc_macro", "bacc", "kappa_quadratic")
        case MultilabelTask():
            return metric == "auc_macro" or metric.removeprefix("auc/") in task.labels
        case RegressionTask():
            return metric in ("r2", "pearson", "spearman")
        case SegmentationTask():
            named = metric[5:] in task.regions if task.regions else metric[5:].isdigit()
            return metric == "dice_mean" or (metric.startswith("dice/") and named)


def _different(classes: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if classes is not None and len(set(classes)) < len(classes):
        raise ValueError("a class is named twice")
    return classes
