"""What a batch holds, and what draws its samples."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch

from medssl.volume import Modality

READ_ON_CPU = ("index", "policy")
"""What decides the draws of a step; to read it back from a GPU would wait for the GPU."""
CONTROL = ("control", "control_cells", "control_per_voxel")
MODALITIES: tuple[Modality, ...] = ("CT", "MR", "PT", "OT")

Batch = dict[str, torch.Tensor]
"""A batch, or one sample (the same without the leading B).

image       (B, V, C, D, H, W) float32, normalised; V views, axes to the right, front and top
clean       as image: the patches before their intensities were augmented; where it was asked for
valid       (B, V, C, D, H, W) bool, True on measurements: inside the scan, and no padding; the
            rest of the image is background; each channel has its own, the first is the case's
body        (B, V, 1, D, H, W) bool, True on measurements of the body; pretraining alone
background  (B,) float32, the normalised value of air or nothing, the lowest of the image; (B, C)
            where there are several channels
control     (B, V, 3, 16, 16, 16) float32, where views may be bent: the spline's control points, in
            voxels of the view; voxel i shows what lies at map @ (i + d(i)), see `views.bent`
control_cells, control_per_voxel  (B, V, 3) float64, its cells, and how many of them a voxel takes
map         (B, V, 4, 4) float32, index of a view's voxel to index of the stored voxel
index       (B,) int64, place in the global batch
volume      (B,) int64, row number in the source's frame of volumes
patient     (B,) int64, one code a patient
modality    (B,) int64, place in MODALITIES
policy      (B,) int64, place in MODALITIES of the intensity policy that fits the scan's units;
            (B, C) where there are several channels
local_image, local_valid, local_map
            (B, L, ...) of L small crops, as image, valid and map; where they were asked for
mask        (B, 1, D, H, W) int64, transfer's segmentation alone
target      (B,) int64, transfer's classification; (B, T) float32, its numbers, NaN: not known
"""


class SampleSource(ABC):
    """Draws any sample of any step from nothing but their numbers."""

    global_batch: int

    @abstractmethod
    def blank(self, count: int) -> Batch:
        """A batch of `count` samples whose values are not yet written, on the CPU."""

    @abstractmethod
    def fill(self, batch: Batch, row: int, step: int, index: int) -> None:
        """Write sample `index` of the global batch of `step` into a row of a blank batch.

        Called from many threads, each with a row of its own.
        """

    @abstractmethod
    def finish(self, batch: Batch, step: int) -> None:
        """Augment the intensities of whole samples, in place, on the device that they are on.

        What a sample becomes does not depend on the others of the batch, so that it may be called
        for one sample at a time.
        """

    def volume_uids(self, batch: Batch) -> list[str]:
        """The volume of each sample, for a message; its place where a source has no volumes."""
        return [f"sample {index}" for index in range(len(next(iter(batch.values()))))]

    def sample(self, step: int, index: int) -> Batch:
        """One sample, without the leading B."""
        batch = self.blank(1)
        self.fill(batch, 0, step, index)
        return {key: value[0] for key, value in batch.items()}


def blank_views(count: int, num_views: int, size: tuple[int, int, int], channels: int = 1) -> Batch:
    """A batch with the keys that every source has, its values not yet written."""
    shape = (count, num_views, channels, *size)
    by_channel = (count,) if channels == 1 else (count, channels)
    numbers = ("index", "volume", "patient", "modality")
    return {
        "image": torch.empty(shape, dtype=torch.float32),
        "valid": torch.empty(shape, dtype=torch.bool),
        "background": torch.empty(by_channel, dtype=torch.float32),
        "policy": torch.empty(by_channel, dtype=torch.int64),
        "map": torch.empty((count, num_views, 4, 4), dtype=torch.float32),
        **{name: torch.empty(count, dtype=torch.int64) for name in numbers},
    }


def channels_as_views(batch: Batch) -> Batch:
    """One view of several channels as a view for each channel, without a copy.

    Each then has its own background, its own policy and its own randomness; of one channel the
    batch is what it was.
    """
    turned = {key: batch[key].transpose(1, 2) for key in ("image", "valid")}
    return {**batch, **turned}


def rows_of(batch: Batch, rows: slice) -> Batch:
    """Some samples of a batch, without a copy."""
    return {key: value[rows] for key, value in batch.items()}
