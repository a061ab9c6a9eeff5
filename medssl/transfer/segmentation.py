"""The segmentation task: source, network with loss, predictions on each image's own grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from medssl.augment.cache_config import CacheConfig
from medssl.augment.reader import Reader
from medssl.augment.scan_info import ScanInfo
from medssl.models.build import build_segmenter
from medssl.models.config import ModelConfig
from medssl.progress import SILENT, Progress
from medssl.store import Store
from medssl.transfer.config import FitConfig
from medssl.transfer.objectives import SegmentationObjective
from medssl.transfer.predictions import mask_columns, save_mask
from medssl.transfer.sources import Sampling, SegmentationSource, scans_of
from medssl.transfer.task import Task
from medssl.transfer.task_config import SegmentationTask
from medssl.transfer.whole_volume import classes_on_own_grid, read_whole
from medssl.volume import Array

_WINDOW_OVERLAP = 0.5
_WINDOWS_AT_ONCE = 2


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
        self.network = build_segmenter(model, 1, len(classes) + 1, self.patch.size)
        self.objective = SegmentationObjective(self.network)

    @torch.no_grad()
    def predict(
        self, cases: pd.DataFrame, masks: Path | None = None, progress: Progress = SILENT
    ) -> pd.DataFrame:
        """See `Task.predict`."""
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

    @torch.no_grad()
    def predict_mask(self, reader: Reader, scan: ScanInfo) -> Array:
        """The predicted values of the mask at the scan's own voxels, (D, H, W)."""
        from monai.inferers import sliding_window_inference

        device = next(self.network.parameters()).device
        image, matrix = read_whole(reader, scan, self.patch)
        # Windows are put together in the machine's memory: a large scan does not fit on a GPU.
        logits = sliding_window_inference(
            torch.from_numpy(image)[None, None],
            self.patch.size,
            _WINDOWS_AT_ONCE,
            self.network,
            overlap=_WINDOW_OVERLAP,
            mode="gaussian",
            cval=scan.normaliser.background,
            sw_device=device,
            device=torch.device("cpu"),
        )
        probabilities = torch.softmax(logits.float(), dim=1)[0].numpy()
        numbers = classes_on_own_grid(probabilities, matrix, scan.shape)
        return np.asarray((0, *self.classes))[numbers]
