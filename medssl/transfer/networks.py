"""The network of a task: what training starts with, and what its weights are loaded into."""

from __future__ import annotations

from collections.abc import Sequence

from medssl.models.build import Classifier, Segmenter, build_classifier, build_segmenter
from medssl.models.config import ModelConfig, PatchSize
from medssl.transfer.task_config import (
    ClassificationTask,
    MultilabelTask,
    OrdinalTask,
    RegressionTask,
    SegmentationTask,
    TaskConfig,
)


def network_of(
    task: TaskConfig,
    model: ModelConfig,
    in_channels: int,
    classes: Sequence[str],
    patch_size: PatchSize,
) -> Classifier | Segmenter:
    """A network with fresh weights.

    Args:
        classes: as `medssl.transfer.targets.Targets` has them.

    Raises:
        ConfigError: patches of `patch_size` do not suit the network, or it has no decoder.
    """
    match task:
        case SegmentationTask():
            return _segmenter(task, model, in_channels, classes, patch_size)
        case RegressionTask():
            return build_classifier(model, in_channels, 1, patch_size, task.dropout)
        case ClassificationTask() | MultilabelTask() | OrdinalTask():
            ordered = isinstance(task, OrdinalTask)
            return build_classifier(
                model, in_channels, len(classes), patch_size, task.dropout, ordered
            )


def _segmenter(
    task: SegmentationTask,
    model: ModelConfig,
    in_channels: int,
    classes: Sequence[str],
    patch_size: PatchSize,
) -> Segmenter:
    membership = None
    if task.regions is not None:
        values = (0, *(int(c) for c in classes))
        membership = [[value in union for union in task.regions.values()] for value in values]
    return build_segmenter(model, in_channels, len(classes) + 1, patch_size, membership)
