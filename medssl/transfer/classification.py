"""The classification task: source, network with loss, predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from medssl.augment.cache_config import CacheConfig
from medssl.augment.reader import Reader
from medssl.augment.spatial import sample_volume
from medssl.errors import MedsslError
from medssl.models.build import build_classifier
from medssl.models.config import ModelConfig
from medssl.progress import SILENT, Progress
from medssl.store import Store
from medssl.transfer.cases import check_classes
from medssl.transfer.config import ClassificationTask, FitConfig
from medssl.transfer.objectives import ClassificationObjective
from medssl.transfer.predictions import logit_columns
from medssl.transfer.sources import ClassificationSource, foreground_centre, scans_of


class Classification:
    """A classifier of whole volumes: one crop around the middle of the foreground's box.

    Args:
        cases: volume_uid, patient_key, split, y_true.
        classes: names of the classes, by number.

    Raises:
        ConfigError: the patch does not suit the network.
        TrainingError: a class has no case to train on.
    """

    def __init__(
        self,
        config: FitConfig,
        model: ModelConfig,
        store: Store,
        cases: pd.DataFrame,
        classes: tuple[str, ...],
        seed: int,
    ) -> None:
        assert isinstance(config.task, ClassificationTask)
        check_classes(cases, classes)
        self.store, self.patch = store, config.augment.patch
        self.batch_size = config.batch_size
        self.source = ClassificationSource(
            store,
            cases[cases["split"] == "train"],
            config.augment,
            len(classes),
            seed,
            config.batch_size,
            config.runtime.cache,
        )
        self.network = build_classifier(
            model, 1, len(classes), config.augment.patch.size, config.task.dropout
        )
        self.objective = ClassificationObjective(self.network, config.task.label_smoothing)

    @torch.no_grad()
    def predict(
        self, cases: pd.DataFrame, masks: Path | None = None, progress: Progress = SILENT
    ) -> pd.DataFrame:
        """A predictions frame of `cases`, in their order. There are no masks to write."""
        if masks is not None:
            raise MedsslError("a classifier predicts no masks")
        device = next(self.network.parameters()).device
        reader = Reader(self.store, CacheConfig(gigabytes=0))
        scans = scans_of(self.store, cases)
        rows = []
        for start in range(0, len(scans), self.batch_size):
            images = [
                sample_volume(
                    reader, scan, self.patch.size, self.patch.spacing_mm, foreground_centre(scan)
                ).image
                for scan in scans[start : start + self.batch_size]
            ]
            batch = torch.from_numpy(np.stack(images))[:, None].to(device)
            rows += [logit_columns(case) for case in self.network(batch).float().cpu().numpy()]
            progress.advance(len(images))
        known = cases[["volume_uid", "patient_key", "split", "y_true"]].reset_index(drop=True)
        return pd.concat([known, pd.DataFrame(rows)], axis=1)
