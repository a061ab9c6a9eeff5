"""What every task of fine-tuning offers to the training, and what those of whole volumes share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from medssl.augment.batch import SampleSource
from medssl.augment.cache_config import CacheConfig
from medssl.augment.reader import Reader
from medssl.errors import MedsslError
from medssl.models.build import Classifier, Segmenter
from medssl.progress import SILENT, Progress
from medssl.store import Store
from medssl.transfer.channel_scans import channel_scans
from medssl.transfer.config import FitConfig
from medssl.transfer.sources import centre_crop
from medssl.volume import Array


class Task(ABC):
    """Patches to learn from, the network with its loss, and predictions.

    Attributes:
        source: labelled patches of the training part.
        network: what is trained, and kept.
        objective: the network with its loss, as the step loop wants it.
    """

    source: SampleSource
    network: Classifier | Segmenter
    objective: nn.Module

    def __init__(self, config: FitConfig, store: Store) -> None:
        self.store, self.patch, self.batch_size = store, config.augment.patch, config.batch_size
        self.channels = config.channels

    def metadata(self) -> dict[str, str]:
        """What the weights' file has to say so that outputs can be read; nothing by default."""
        return {}

    @abstractmethod
    def predict(
        self, cases: pd.DataFrame, masks: Path | None = None, progress: Progress = SILENT
    ) -> pd.DataFrame:
        """A predictions frame of `cases`, in their order.

        Args:
            masks: the run folder that predicted masks are written under; None: not written.
        """


class WholeVolumeTask(Task):
    """One answer for each volume, from one crop around the middle of the foreground's box.

    Attributes:
        truths: columns of the cases that hold what is to be predicted.
    """

    truths: tuple[str, ...] = ("y_true",)

    @abstractmethod
    def columns(self, outputs: Array) -> dict[str, float]:
        """Columns of a predictions frame from the network's (K,) outputs for one case."""

    @torch.no_grad()
    def predict(
        self, cases: pd.DataFrame, masks: Path | None = None, progress: Progress = SILENT
    ) -> pd.DataFrame:
        """A predictions frame of `cases`, in their order. There are no masks to write."""
        if masks is not None:
            raise MedsslError("this task predicts no masks")
        device = next(self.network.parameters()).device
        reader = Reader(self.store, CacheConfig(gigabytes=0))
        scans = channel_scans(self.store, cases["volume_uid"].tolist(), self.channels)
        rows = []
        for start in range(0, len(scans), self.batch_size):
            images = [
                centre_crop(reader, case, self.patch)
                for case in scans[start : start + self.batch_size]
            ]
            batch = torch.from_numpy(np.stack(images)).to(device)
            rows += [self.columns(outputs) for outputs in self.network(batch).float().cpu().numpy()]
            progress.advance(len(images))
        shown = ["volume_uid", "patient_key", "split", *self.truths]
        known = cases[shown].reset_index(drop=True)
        return pd.concat([known, pd.DataFrame(rows)], axis=1)
