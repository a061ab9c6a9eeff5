"""Who tests, validates and trains in each fold of a cross-validation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from medssl.errors import ConfigError, TrainingError
from medssl.store import Store
from medssl.store.splits import split_patients
from medssl.transfer.cases import LabelledCases, check_classes, check_parts, labelled_cases
from medssl.transfer.channels import Channels
from medssl.transfer.config import SplitConfig
from medssl.transfer.task_config import (
    ClassificationTask,
    MultilabelTask,
    OrdinalTask,
    RegressionTask,
    TaskConfig,
)


def fold_cases(
    store: Store, task: TaskConfig, split: SplitConfig, channels: Channels | None = None
) -> tuple[LabelledCases, pd.DataFrame]:
    """The labelled cases, and the table of folds of `deal_folds`.

    Raises:
        StoreError, ConfigError: as `labelled_cases`.
        TrainingError: as `deal_folds`; or, in a fold, all that train have one value of a label.
    """
    labelled = labelled_cases(store, task, channels)
    classes = labelled.classes if isinstance(task, ClassificationTask | OrdinalTask) else None
    folds = deal_folds(labelled.frame, classes, split)
    if isinstance(task, MultilabelTask | RegressionTask):
        _check_varied(folds)
    return labelled, folds


def deal_folds(
    cases: pd.DataFrame, classes: tuple[str, ...] | None, split: SplitConfig
) -> pd.DataFrame:
    """Deal patients into folds, so that each tests in one and learns or validates in the others.

    By scikit-learn's StratifiedGroupKFold where there are classes, else by its GroupKFold; within a
    fold, a share of its training patients is set apart to validate, class by class.

    Args:
        cases: volume_uid, patient_key, and the task's targets.
        classes: names of the classes; None where a case has no one class.

    Returns:
        fold (from 0), volume_uid, patient_key, split (train, val or test), the targets: every case
        once in each fold, by fold and volume_uid.

    Raises:
        TrainingError: too few patients, of a class or of all, for so many folds.
    """
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    cases = cases.sort_values("volume_uid", ignore_index=True)
    _check_enough(cases, classes, split.folds)
    splitter = (GroupKFold if classes is None else StratifiedGroupKFold)(
        split.folds, shuffle=True, random_state=split.seed
    )
    parts = []
    by_class = None if classes is None else cases["y_true"]
    dealt = splitter.split(cases, by_class, cases["patient_key"])
    for fold, (learning, testing) in enumerate(dealt):
        names = np.full(len(cases), "test", dtype=object)
        names[learning] = _train_or_val(cases.iloc[learning], classes is not None, split)
        assert (names[testing] == "test").all()
        part = cases.copy()
        part.insert(2, "split", names)
        part.insert(0, "fold", fold)
        check_parts(part)
        if classes is not None:
            check_classes(part, classes)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def cases_of_fold(folds: pd.DataFrame, fold: int) -> pd.DataFrame:
    """volume_uid, patient_key, split and the targets of one fold."""
    return folds[folds["fold"] == fold].drop(columns="fold").reset_index(drop=True)


def keep_folds(path: Path, folds: pd.DataFrame) -> None:
    """Write the table before anything is trained, or compare it with the one that is there.

    Raises:
        ConfigError: the run was begun with other folds.
    """
    if not path.is_file():
        partial = path.with_name(f".{path.name}.partial")
        folds.to_parquet(partial, index=False)
        partial.replace(path)
    elif not pd.read_parquet(path).astype(str).equals(folds.astype(str)):
        raise ConfigError(
            f"{path} holds other folds than the store gives now: labelled volumes were added or "
            "taken away, or scikit-learn is another version; choose another --out"
        )


def _train_or_val(learning: pd.DataFrame, stratified: bool, split: SplitConfig) -> pd.Series[str]:
    if not split.val:
        return pd.Series("train", index=learning.index)
    shares = {"val": split.val, "train": 1 - split.val}
    return split_patients(learning, shares, split.seed, "y_true" if stratified else None)


def _check_varied(folds: pd.DataFrame) -> None:
    """Before anything is trained: not when the folds before that one have been."""
    targets = [str(name) for name in folds if str(name).split("/")[0] == "y_true"]
    training = folds[folds["split"] == "train"]
    for fold, counts in training.groupby("fold")[targets].nunique().iterrows():
        constant = [name.removeprefix("y_true/") for name in targets if counts[name] < 2]
        if constant:
            raise TrainingError(
                f"fold {fold} (from 0): its training part has one value alone of "
                f"{', '.join(constant)}; change split.seed, label more cases, or leave it out"
            )


def _check_enough(cases: pd.DataFrame, classes: tuple[str, ...] | None, folds: int) -> None:
    counts = {"of all": int(cases["patient_key"].nunique())}
    for number, name in enumerate(classes or ()):
        counts[f"of class {name}"] = int(
            cases.loc[cases["y_true"] == number, "patient_key"].nunique()
        )
    for whose, patients in counts.items():
        if patients < folds:
            raise TrainingError(
                f"{patients} patients {whose} cannot be dealt into {folds} folds; lower "
                "split.folds, or label more cases"
            )
