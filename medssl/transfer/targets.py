"""What the store's labels say of each volume, as the numbers that a task learns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from medssl.errors import ConfigError, StoreError
from medssl.store import Store
from medssl.transfer.task_config import (
    ClassificationTask,
    MultilabelTask,
    OrdinalTask,
    RegressionTask,
    SegmentationTask,
    TaskConfig,
)

_MOST_INFERRED_CLASSES = 20


@dataclass(frozen=True)
class Targets:
    """The labels of a task.

    Attributes:
        frame: by volume_uid, of the labelled volumes that the store holds: y_true, the number of
            the class, or in regression the label itself; 0 in segmentation. In multi-label
            classification y_true/<label> of each label, 0, 1, or NaN where it is not known.
        classes: names of the classes, or of the labels of a multi-label task; in segmentation the
            foreground values of the mask; none in regression.
    """

    frame: pd.DataFrame
    classes: tuple[str, ...]


def targets_of(store: Store, task: TaskConfig) -> Targets:
    """The labels of all volumes that carry the task's.

    Raises:
        StoreError: the store has no such label.
        ConfigError: its values do not suit the task.
    """
    match task:
        case ClassificationTask():
            labels = known_labels(store, task.label)
            return _numbered(labels, task.classes or _inferred_classes(task.label, labels))
        case OrdinalTask():
            labels = known_labels(store, task.label)
            return _numbered(labels, task.classes or _inferred_order(task.label, labels))
        case MultilabelTask():
            columns = {f"y_true/{label}": _binary(store, label) for label in task.labels}
            return Targets(pd.DataFrame(columns), task.labels)
        case RegressionTask():
            return _numbers(task.label, known_labels(store, task.label))
        case SegmentationTask():
            values = _known(_mask_values(store, task.mask), store)
            named = sorted({value for union in (task.regions or {}).values() for value in union})
            classes = task.classes or tuple(named) or _inferred_mask_classes(task.mask, values)
            frame = pd.DataFrame({"y_true": 0}, index=values.index, dtype="int64")
            return Targets(frame, tuple(str(c) for c in classes))


def known_labels(store: Store, label: str) -> pd.Series[str]:
    """The label of each volume that has it and that the store holds, as text, by volume_uid.

    Raises:
        StoreError: no volume has it.
    """
    return _known(store.class_labels(label), store)


def _known(labels: pd.Series[str], store: Store) -> pd.Series[str]:
    """Labels of volumes that the store holds; a mask may be there without its image."""
    return labels[labels.index.isin(store.manifest.index)]


def _numbered(labels: pd.Series[str], classes: tuple[str, ...]) -> Targets:
    labels = labels[labels.isin(classes)]
    numbers = labels.map({name: number for number, name in enumerate(classes)}).astype("int64")
    return Targets(pd.DataFrame({"y_true": numbers}), classes)


def _numbers(label: str, labels: pd.Series[str]) -> Targets:
    """Labels that are finite numbers; a volume with another value counts as one without."""
    values = pd.to_numeric(labels, errors="coerce").astype("float64")
    values = values[np.isfinite(values)]
    if values.nunique() < 2:
        raise ConfigError(
            f"label {label}: {len(values)} of its {len(labels)} values are numbers, of which "
            f"{values.nunique()} differ; a regression needs numbers that vary (a point, not a "
            "comma, before decimals)"
        )
    return Targets(pd.DataFrame({"y_true": values}), ())


def _binary(store: Store, label: str) -> pd.Series[float]:
    """0 or 1 for each volume that has the label."""
    labels = known_labels(store, label)
    values = sorted(str(value) for value in labels.unique())
    if len(values) != 2:
        raise ConfigError(
            f"label {label} has {len(values)} different values; a label of a multi-label task has "
            "two, the last in ascending order being the positive one"
        )
    return (labels == values[1]).astype("float64")


def _inferred_classes(label: str, labels: pd.Series[str]) -> tuple[str, ...]:
    values = [str(value) for value in labels.unique()]
    if not 2 <= len(values) <= _MOST_INFERRED_CLASSES:
        raise ConfigError(
            f"label {label} has {len(values)} different values; a classifier needs 2 to "
            f"{_MOST_INFERRED_CLASSES}, or name them in task.classes"
        )
    return tuple(sorted(values, key=int if _are_numbers(values) else str))


def _inferred_order(label: str, labels: pd.Series[str]) -> tuple[str, ...]:
    classes = _inferred_classes(label, labels)
    if not _are_numbers(classes):
        raise ConfigError(
            f"label {label}: the order of its values is not known, for they are no whole numbers; "
            "name them in task.classes, from the lowest to the highest"
        )
    return classes


def _are_numbers(values: list[str] | tuple[str, ...]) -> bool:
    return all(value.lstrip("-").isdigit() for value in values)


def _mask_values(store: Store, name: str) -> pd.Series[str]:
    masks = store.labels[store.labels["kind"] == "mask"]
    rows = masks[masks["name"] == name]
    if rows.empty:
        there = ", ".join(sorted(masks["name"].unique())) or "none"
        raise StoreError(f"the store has no mask {name}; there are: {there}")
    return rows.set_index("volume_uid")["value"]


def _inferred_mask_classes(mask: str, values: pd.Series[str]) -> tuple[int, ...]:
    there = {int(value) for listed in values for value in str(listed).split(",") if value.strip()}
    foreground = sorted(value for value in there if value > 0)
    if not foreground:
        raise ConfigError(f"the store's masks named {mask} are empty; there is nothing to learn")
    return tuple(foreground)
