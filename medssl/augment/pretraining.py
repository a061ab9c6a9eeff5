"""The samples of a pretraining run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch

from medssl.augment.batch import MODALITIES, Batch
from medssl.augment.config import AugmentConfig
from medssl.augment.crops import draw_centre, draw_two_centres
from medssl.augment.policies import augment_intensities
from medssl.augment.reader import Reader
from medssl.augment.rng import Stream, generator, volume_at
from medssl.augment.scan_info import ScanInfo, Scans
from medssl.augment.spatial import draw_map, sample
from medssl.errors import ConfigError
from medssl.store import Store


class PretrainSource:
    """Patches of a store's volumes, every volume once an epoch; a `SampleSource`.

    Args:
        rows: manifest rows of the volumes to learn from; "volume" in a batch counts them.
        num_views: patches of one volume, 1 or 2, each with its own rotation, scale and flips.
        overlap: range of the part of a patch's volume that two views share, before these.
        intensity: whether values are augmented, where the configuration does not forbid it.
        seed: decides everything, together with the step and the place in the global batch.
        global_batch: samples of a step over all ranks.

    Raises:
        ConfigError: there are no rows, more than two views, or an overlap that is no range of
            shares.
    """

    def __init__(
        self,
        store: Store,
        rows: pd.DataFrame,
        config: AugmentConfig,
        num_views: int = 1,
        overlap: tuple[float, float] = (0.4, 0.8),
        intensity: bool = True,
        seed: int = 0,
        global_batch: int = 1,
    ) -> None:
        if rows.empty:
            raise ConfigError("there is no volume to draw patches from")
        if num_views not in (1, 2):
            raise ConfigError(f"views of a volume: 1 or 2, not {num_views}")
        if not 0 < overlap[0] <= overlap[1] <= 1:
            raise ConfigError(f"overlap {overlap}: a range of shares from above 0 to 1 is expected")
        self.config = config
        self.num_views = num_views
        self.overlap = overlap
        self.intensity = intensity and config.intensity.enabled
        self.seed = seed
        self.global_batch = global_batch
        self.reader = Reader(store)
        self.scans = Scans(rows)
        self.patients = patient_codes(rows)

    def sample(self, step: int, index: int) -> Batch:
        """See `SampleSource.sample`."""
        position = step * self.global_batch + index
        volume = volume_at(self.seed, position, len(self.scans))
        scan = self.scans[volume]
        patches = [
            sample(self.reader, scan, matrix, self.config.patch.size)
            for matrix in self._maps(scan, step, index)
        ]
        policy = MODALITIES.index(scan.normaliser.policy)
        return {
            "image": torch.from_numpy(np.stack([p.image for p in patches])[:, None]),
            "valid": torch.from_numpy(np.stack([p.valid for p in patches])[:, None]),
            "background": torch.tensor(scan.normaliser.background, dtype=torch.float32),
            "map": torch.from_numpy(np.stack([p.map for p in patches]).astype(np.float32)),
            "index": torch.tensor(index),
            "volume": torch.tensor(volume),
            "patient": torch.tensor(self.patients[volume]),
            "modality": torch.tensor(MODALITIES.index(scan.modality)),
            "policy": torch.tensor(policy),
        }

    def finish(self, batch: Batch, step: int) -> Batch:
        """See `SampleSource.finish`."""
        if not self.intensity:
            return batch
        return augment_intensities(batch, step, self.seed, self.config.intensity.strength)

    def _maps(self, scan: ScanInfo, step: int, index: int) -> list[Any]:
        patch, spatial = self.config.patch, self.config.spatial
        place = generator(self.seed, step, index, Stream.CROP)
        extent = np.asarray(patch.size) * scan.patch_spacing(patch.spacing_mm)
        if self.num_views == 2:
            centres = list(draw_two_centres(place, scan, extent, self.overlap))
        else:
            centres = [draw_centre(place, scan, extent)]
        return [
            draw_map(
                generator(self.seed, step, index, Stream.SPATIAL + 16 * view),
                scan,
                patch,
                spatial,
                centre,
            )
            for view, centre in enumerate(centres)
        ]


def patient_codes(rows: pd.DataFrame) -> list[int]:
    """A number for each row's patient, from 0 up.

    A scan whose patient is not known (group_quality scan or none) is a patient of its own.
    """
    known = (rows["patient_key"] != "") & ~rows["group_quality"].isin(["scan", "none"])
    patients = "patient " + rows["patient_key"].astype("str")
    keys = patients.where(known, "scan " + rows["volume_uid"].astype("str"))
    codes: list[int] = pd.factorize(keys)[0].tolist()
    return codes
