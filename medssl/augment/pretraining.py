"""Samples for pretraining: one or two augmented crops of a volume, without labels."""

from __future__ import annotations

import pandas as pd
import torch

from medssl.augment.batch import MODALITIES, Batch
from medssl.augment.config import AugmentConfig
from medssl.augment.policies import augment_intensity
from medssl.augment.rng import generator, volume_at
from medssl.augment.spatial import Patch, PatchReader, draw_pose, patch_to_world
from medssl.augment.views import draw_centre, draw_twin
from medssl.store import Store


class PretrainSource:
    """Crops of the volumes of `rows`; see `medssl.augment.batch` for what a sample holds.

    Args:
        rows: manifest rows; their order does not matter.
        num_views: 1, or 2 crops whose overlap lies between the bounds of `overlap`.
        intensity: whether the method wants intensities augmented.
        global_batch: samples of a step, over all ranks.
    """

    def __init__(
        self,
        store: Store,
        rows: pd.DataFrame,
        config: AugmentConfig,
        *,
        num_views: int,
        overlap: tuple[float, float] | None,
        intensity: bool,
        seed: int,
        global_batch: int,
    ) -> None:
        rows = rows.sort_values("volume_uid")
        self.global_batch = global_batch
        self._config, self._seed = config, seed
        self._num_views, self._overlap = num_views, overlap
        self._intensity = intensity and config.intensity.enabled
        self._reader = PatchReader(store, rows)
        self._patients = pd.factorize(rows["patient_key"])[0]
        self._modalities = [
            MODALITIES.index(m if m in MODALITIES else "OT") for m in rows["modality"]
        ]

    def sample(self, step: int, index: int) -> Batch:
        """The crops of the volume whose turn it is."""
        position = step * self.global_batch + index
        number = volume_at(self._seed, position, len(self._patients))
        views = self._views(number, step, index)
        return {
            "image": torch.stack([view.image for view in views]),
            "valid": torch.stack([view.valid for view in views]),
            "index": torch.tensor(index),
            "volume": torch.tensor(number),
            "patient": torch.tensor(int(self._patients[number])),
            "modality": torch.tensor(self._modalities[number]),
        }

    def finish(self, batch: Batch, step: int) -> Batch:
        """Augment intensities, each view on its own."""
        if not self._intensity:
            return batch
        views = [
            augment_intensity(
                batch["image"][:, view],
                batch["valid"][:, view],
                batch["modality"],
                batch["index"],
                seed=self._seed,
                step=step,
                view=view,
                strength=self._config.intensity.strength,
            )
            for view in range(self._num_views)
        ]
        return {**batch, "image": torch.stack(views, dim=1)}

    def _views(self, number: int, step: int, index: int) -> list[Patch]:
        grid = self._reader.grids[number]
        size = self._config.patch.size
        spacing_mm = self._reader.spacing_mm(grid, self._config.patch)
        rng = generator(self._seed, step, index)
        centres = [draw_centre(grid, size, spacing_mm, rng)]
        if self._num_views == 2:
            assert self._overlap is not None
            centres.append(draw_twin(centres[0], grid, size, spacing_mm, self._overlap, rng))
        patches = []
        for centre_mm in centres:
            pose = draw_pose(self._config.spatial, rng)
            world = patch_to_world(centre_mm, size, spacing_mm, pose)
            patches.append(self._reader.sample(grid, world, size))
        return patches
