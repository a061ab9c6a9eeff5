"""The segmentation task: source, network with loss, predictions on each image's own grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import torch

from medssl.augment.cache_config import CacheConfig
from medssl.augment.reader import Reader
from medssl.augment.scan_info import ScanInfo
from medssl.models.build import build_segmenter
from medssl.models.config import ModelConfig
from medssl.progress import SILENT, Progress
from medssl.store import Store
from medssl.transfer.config import FitConfig, SegmentationTask
from medssl.transfer.objectives import SegmentationObjective
from medssl.transfer.predictions import mask_columns, save_mask
from medssl.transfer.sources import SegmentationSource, scans_of
from medssl.transfer.whole_volume import predict_mask
from medssl.volume import Array


class Segmentation:
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
        self.store, self.patch, self.mask = store, config.augment.patch, config.task.mask
        self.classes = tuple(int(c) for c in classes)
        self.nsd_tolerance_mm = config.task.nsd_tolerance_mm
        self.source = SegmentationSource(
            store,
            cases[cases["split"] == "train"],
            config.augment,
            config.task.mask,
            self.classes,
            config.task.labelled_share,
            seed,
            config.batch_size,
            config.runtime.cache,
        )
        self.network = build_segmenter(model, 1, len(classes) + 1, config.augment.patch.size)
        self.objective = SegmentationObjective(self.network)

    @torch.no_grad()
    def predict(
        self, cases: pd.DataFrame, masks: Path | None = None, progress: Progress = SILENT
    ) -> pd.DataFrame:
        """A predictions frame of `cases`, in their order.

        Args:
            masks: the run folder that predicted masks are written under; None: not written.
        """
        reader = Reader(self.store, CacheConfig(gigabytes=0))
        rows: list[dict[str, Any]] = []
        for scan in scans_of(self.store, cases):
            predicted = self.predict_mask(reader, scan)
            reference = self.store.read_label(scan.volume_uid, self.mask).voxels
            row = mask_columns(
                predicted, reference, self.classes, scan.affine, self.nsd_tolerance_mm
            )
            rows.append(row | (save_mask(masks, scan.volume_uid, predicted) if masks else {}))
            progress.advance(1)
        known = cases[["volume_uid", "patient_key", "split"]].reset_index(drop=True)
        return pd.concat([known, pd.DataFrame(rows)], axis=1)

    def predict_mask(self, reader: Reader, scan: ScanInfo) -> Array:
        """The predicted values of the mask at the scan's own voxels, (D, H, W)."""
        return predict_mask(self.network, reader, scan, self.patch, (0, *self.classes))
