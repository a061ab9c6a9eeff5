"""The segmentation task: source, network with loss, predictions on each image's own grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from medssl.augment.cache_config import CacheConfig
from medssl.augment.reader import Reader
from medssl.models.build import Segmenter
from medssl.models.config import ModelConfig
from medssl.progress import SILENT, Progress
from medssl.store import Store
from medssl.transfer.channel_scans import Case, channel_scans
from medssl.transfer.config import FitConfig
from medssl.transfer.networks import network_of
from medssl.transfer.objectives import RegionObjective, SegmentationObjective
from medssl.transfer.predictions import mask_columns, save_mask
from medssl.transfer.sources import Sampling, SegmentationSource
from medssl.transfer.task import Task
from medssl.transfer.task_config import SegmentationTask
from medssl.transfer.whole_volume import predict_mask
from medssl.volume import Affine, Array


class Segmentation(Task):
    """A segmenter, applied to whole scans by a sliding window with Gaussian weights.

    Args:
        cases: volume_uid, patient_key, split.
        classes: foreground values of the mask, as text.

    Raises:
        ConfigError: the patch does not suit the network.
        TrainingError: there is no case to train on.
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
        assert isinstance(config.task, SegmentationTask)
        super().__init__(config, store)
        self.mask = config.task.mask
        self.classes = tuple(int(c) for c in classes)
        self.nsd_tolerance_mm = config.task.nsd_tolerance_mm
        self.source = SegmentationSource(
            Sampling.of(config, store, cases, seed),
            self.mask,
            self.classes,
            config.task.labelled_share,
        )
        self.regions = config.task.regions
        network = network_of(config.task, model, config.in_channels, classes, self.patch.size)
        assert isinstance(network, Segmenter)
        self.network = network
        self.objective = (
            RegionObjective(network) if self.regions else SegmentationObjective(network)
        )

    @torch.no_grad()
    def predict(
        self, cases: pd.DataFrame, masks: Path | None = None, progress: Progress = SILENT
    ) -> pd.DataFrame:
        """See `Task.predict`."""
        reader = Reader(self.store, CacheConfig(gigabytes=0))
        rows: list[dict[str, Any]] = []
        for case in channel_scans(self.store, cases["volume_uid"].tolist(), self.channels):
            scan = case[0]
            predicted = self.predict_mask(reader, case)
            reference = self.store.read_label(scan.volume_uid, self.mask).voxels
            row = self._compared(predicted, reference, scan.affine)
            rows.append(row | (save_mask(masks, scan.volume_uid, predicted) if masks else {}))
            progress.advance(1)
        known = cases[["volume_uid", "patient_key", "split"]].reset_index(drop=True)
        return pd.concat([known, pd.DataFrame(rows)], axis=1)

    def _compared(self, predicted: Array, reference: Array, affine: Affine) -> dict[str, Any]:
        """Columns of one case's masks, for each class or for each region."""
        if self.regions is None:
            return mask_columns(predicted, reference, self.classes, affine, self.nsd_tolerance_mm)
        columns: dict[str, Any] = {}
        for name, union in self.regions.items():
            here, there = (np.isin(mask, union).astype(np.uint8) for mask in (predicted, reference))
            of_region = mask_columns(here, there, (1,), affine, self.nsd_tolerance_mm)
            columns |= {f"{key.removesuffix('_1')}_{name}": v for key, v in of_region.items()}
        return columns

    def predict_mask(self, reader: Reader, case: Case) -> Array:
        """The predicted values of the mask at the first scan's own voxels, (D, H, W)."""
        return predict_mask(self.network, reader, case, self.patch, (0, *self.classes))
