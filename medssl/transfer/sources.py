"""Labelled patches for training: pure functions of (cases, configuration, seed, step, index)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from medssl.augment.batch import (
    MODALITIES,
    Batch,
    SampleSource,
    blank_views,
    channels_as_views,
)
from medssl.augment.cache_config import CacheConfig
from medssl.augment.config import AugmentConfig, PatchConfig
from medssl.augment.crops import draw_centre
from medssl.augment.elastic import dense_displacement
from medssl.augment.placement import Pose, compose_map, draw_deformation
from medssl.augment.policies import augment_in_place
from medssl.augment.reader import Reader
from medssl.augment.rng import generator, volume_at
from medssl.augment.scan_info import ScanInfo, Vector
from medssl.augment.spatial import Patch, draw_map, sample
from medssl.errors import TrainingError
from medssl.store import Store
from medssl.transfer.channel_scans import Case, channel_maps, channel_scans
from medssl.transfer.channels import Channels
from medssl.transfer.config import FitConfig
from medssl.transfer.metrics import Ints

_MOST_PLACES = 1000  # labelled voxels kept for each case and class
_PLACES_STREAM = 1000


@dataclass(frozen=True)
class Sampling:
    """What decides the patches of any task.

    Attributes:
        cases: volume_uid, patient_key and the task's targets of the training part; their order
            does not matter.
        channels: see `medssl.transfer.channels`; None: a case is one volume.
    """

    store: Store
    cases: pd.DataFrame
    config: AugmentConfig
    seed: int
    global_batch: int
    cache: CacheConfig = CacheConfig()  # noqa: RUF009
    channels: Channels | None = None

    @classmethod
    def of(cls, config: FitConfig, store: Store, cases: pd.DataFrame, seed: int) -> Sampling:
        """Of the training part of `cases`, which have the column `split`."""
        training = cases[cases["split"] == "train"]
        batch_size, cache = config.batch_size, config.runtime.cache
        return cls(store, training, config.augment, seed, batch_size, cache, config.channels)


class LabelledSource(SampleSource):
    """What all tasks share: patches of the training cases, and their intensities.

    Raises:
        TrainingError: there is no case.
    """

    def __init__(self, sampling: Sampling) -> None:
        if sampling.cases.empty:
            raise TrainingError("there is no labelled case to train on")
        self.cases = sampling.cases.sort_values("volume_uid", ignore_index=True)
        self.global_batch = sampling.global_batch
        self.store, self.config, self.seed = sampling.store, sampling.config, sampling.seed
        self.reader = Reader(self.store, sampling.cache)
        uids = self.cases["volume_uid"].tolist()
        self.channels = channel_scans(self.store, uids, sampling.channels)
        self.scans = [case[0] for case in self.channels]
        self.num_channels = len(self.channels[0])
        self._patients = pd.factorize(self.cases["patient_key"])[0]

    def blank(self, count: int) -> Batch:
        """See `SampleSource.blank`."""
        return blank_views(count, 1, self.config.patch.size, self.num_channels)

    def finish(self, batch: Batch, step: int) -> None:
        """See `SampleSource.finish`."""
        if self.config.intensity.enabled:
            strength = self.config.intensity.strength
            augment_in_place(channels_as_views(batch), step, self.seed, strength)

    def volume_uids(self, batch: Batch) -> list[str]:
        """See `SampleSource.volume_uids`."""
        return [self.scans[volume].volume_uid for volume in batch["volume"].tolist()]

    def cut(
        self,
        batch: Batch,
        row: int,
        number: int,
        index: int,
        centre_mm: Vector,
        rng: np.random.Generator,
        mask: str | None = None,
    ) -> Patch:
        """Write a patch of a case, in a drawn pose around `centre_mm`, into a row.

        Returns:
            The patch of the first channel.
        """
        scan = self.scans[number]
        matrix = draw_map(rng, scan, self.config.patch, self.config.spatial, centre_mm)
        size, spacing = self.config.patch.size, scan.patch_spacing(self.config.patch.spacing_mm)
        lattice = draw_deformation(rng, self.config.spatial, size, spacing)
        bent = None if lattice is None else dense_displacement(lattice, size, spacing)
        maps = channel_maps(self.channels[number], matrix)
        background, policy = (
            batch[key].view(-1, self.num_channels) for key in ("background", "policy")
        )
        patches = []
        for k, (of, of_map) in enumerate(zip(self.channels[number], maps, strict=True)):
            image, valid = (batch[key][row, 0, k].numpy() for key in ("image", "valid"))
            name = mask if k == 0 else None
            patches.append(sample(self.reader, of, of_map, size, name, image, valid, bent))
            background[row, k] = of.normaliser.background
            policy[row, k] = MODALITIES.index(of.normaliser.policy)
        batch["map"][row, 0] = torch.from_numpy(matrix)
        batch["index"][row] = index
        batch["volume"][row] = number
        batch["patient"][row] = int(self._patients[number])
        batch["modality"][row] = MODALITIES.index(scan.modality)
        return patches[0]


class ClassificationSource(LabelledSource):
    """Crops around the middle of the foreground's box, classes in turn.

    Every class stands equally often in a batch (to within one sample); its cases come in epochs of
    their own.
    """

    def __init__(self, sampling: Sampling, num_classes: int) -> None:
        super().__init__(sampling)
        self._targets = self.cases["y_true"].to_numpy(np.int64)
        self._members = [np.flatnonzero(self._targets == c) for c in range(num_classes)]

    def blank(self, count: int) -> Batch:
        """See `SampleSource.blank`."""
        return {**super().blank(count), "target": torch.empty(count, dtype=torch.int64)}

    def fill(self, batch: Batch, row: int, step: int, index: int) -> None:
        """One crop with its class as `target`."""
        turn, c = divmod(step * self.global_batch + index, len(self._members))
        members = self._members[c]
        # Each class has its own order of cases.
        number = int(members[volume_at(self.seed + c, turn, len(members))])
        rng = generator(self.seed, step, index)
        self.cut(batch, row, number, index, foreground_centre(self.scans[number]), rng)
        batch["target"][row] = int(self._targets[number])


class NumberSource(LabelledSource):
    """Crops around the middle of the foreground's box, with the numbers that belong to the case.

    Cases come in epochs: each once, in an order of the epoch's own.

    Args:
        columns: of `cases`, that the numbers stand in; NaN where one is not known.
    """

    def __init__(self, sampling: Sampling, columns: Sequence[str]) -> None:
        super().__init__(sampling)
        self._targets = torch.tensor(self.cases[list(columns)].to_numpy(np.float32))

    def blank(self, count: int) -> Batch:
        """See `SampleSource.blank`."""
        return {**super().blank(count), "target": torch.empty(count, self._targets.shape[1])}

    def fill(self, batch: Batch, row: int, step: int, index: int) -> None:
        """One crop with its numbers as `target` (T,)."""
        position = step * self.global_batch + index
        number = volume_at(self.seed, position, len(self.scans))
        rng = generator(self.seed, step, index)
        self.cut(batch, row, number, index, foreground_centre(self.scans[number]), rng)
        batch["target"][row] = self._targets[number]


class SegmentationSource(LabelledSource):
    """Patches with their masks, a share of them around a labelled voxel.

    Args:
        mask: name of the mask in the store.
        classes: values of the mask that become 1, 2, …; every other value becomes 0.
        labelled_share: share of patches around a labelled voxel, classes being drawn equally.
    """

    def __init__(
        self, sampling: Sampling, mask: str, classes: tuple[int, ...], labelled_share: float
    ) -> None:
        super().__init__(sampling)
        self._mask, self._classes, self._labelled_share = mask, classes, labelled_share
        self._places: dict[int, list[Vector]] = {}

    def blank(self, count: int) -> Batch:
        """See `SampleSource.blank`."""
        mask = torch.empty((count, 1, *self.config.patch.size), dtype=torch.int64)
        return {**super().blank(count), "mask": mask}

    def fill(self, batch: Batch, row: int, step: int, index: int) -> None:
        """One patch with its classes as `mask` (1, D, H, W)."""
        position = step * self.global_batch + index
        number = volume_at(self.seed, position, len(self.scans))
        rng = generator(self.seed, step, index)
        centre_mm = self._centre(number, self.scans[number], rng)
        patch = self.cut(batch, row, number, index, centre_mm, rng, self._mask)
        assert patch.mask is not None
        batch["mask"][row, 0] = torch.from_numpy(to_class_numbers(patch.mask, self._classes))

    def _centre(self, number: int, scan: ScanInfo, rng: np.random.Generator) -> Vector:
        spacing_mm = scan.patch_spacing(self.config.patch.spacing_mm)
        extent_mm = np.array(self.config.patch.size) * spacing_mm
        around_label, which, place = rng.random(3)
        anywhere = draw_centre(rng, scan, extent_mm)
        places = self._labelled_places(number, scan)
        if around_label >= self._labelled_share or not places:
            return anywhere
        of_class = places[int(which * len(places))]
        return kept_inside(of_class[int(place * len(of_class))], scan, extent_mm)

    def _labelled_places(self, number: int, scan: ScanInfo) -> list[Vector]:
        """For each class that the case has: RAS millimetres of up to 1000 of its voxels, (n, 3)."""
        held = self._places.get(number)
        if held is None:
            held = []
            voxels = self.store.read_label(scan.volume_uid, self._mask).voxels
            rng = generator(self.seed, number, 0, _PLACES_STREAM)
            for value in self._classes:
                index = np.argwhere(voxels == value)
                if len(index) > _MOST_PLACES:
                    index = index[rng.choice(len(index), _MOST_PLACES, replace=False)]
                if len(index):
                    held.append(index @ scan.affine[:3, :3].T + scan.affine[:3, 3])
            # Two threads may come to this at once: both store the same.
            self._places[number] = held
        return held


def foreground_centre(scan: ScanInfo) -> Vector:
    """The middle of the foreground's box, RAS millimetres, (3,)."""
    start, stop = scan.foreground_mm()
    return np.asarray(scan.centre_mm + scan.frame @ ((start + stop) / 2))


def centre_crop(reader: Reader, case: Case, patch: PatchConfig) -> npt.NDArray[np.float32]:
    """(C, D, H, W) an upright patch around the middle of the foreground's box of the first scan.

    Args:
        case: its scans, one for each channel.
    """
    size, spacing_mm = patch.size, case[0].patch_spacing(patch.spacing_mm)
    matrix = compose_map(case[0], size, spacing_mm, foreground_centre(case[0]), Pose())
    maps = channel_maps(case, matrix)
    return np.stack(
        [sample(reader, *one, size).image for one in zip(case, maps, strict=True)], dtype=np.float32
    )


def kept_inside(centre_mm: Vector, scan: ScanInfo, extent_mm: Vector) -> Vector:
    """Shift an upright patch into the scan; along an axis where it does not fit, to the middle."""
    room = np.maximum(np.asarray(scan.frame_shape) * scan.spacing_mm - extent_mm, 0) / 2
    from_middle = (centre_mm - scan.centre_mm) @ scan.frame
    return np.asarray(scan.centre_mm + scan.frame @ np.clip(from_middle, -room, room))


def to_class_numbers(mask: Ints, classes: tuple[int, ...]) -> Ints:
    """The mask's values `classes` as 1, 2, …, every other value as 0."""
    numbers = np.zeros_like(mask)
    for number, value in enumerate(classes, start=1):
        numbers[mask == value] = number
    return numbers
