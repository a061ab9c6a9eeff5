"""Labelled patches for training: pure functions of (cases, configuration, seed, step, index)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from medssl.augment.batch import MODALITIES, Batch
from medssl.augment.config import AugmentConfig
from medssl.augment.crops import draw_centre
from medssl.augment.policies import augment_intensities
from medssl.augment.reader import Reader
from medssl.augment.rng import generator, volume_at
from medssl.augment.scan_info import ScanInfo, Vector
from medssl.augment.spatial import Patch, draw_map, sample
from medssl.errors import TrainingError
from medssl.store import Store
from medssl.transfer.metrics import Ints

_MOST_PLACES = 1000  # labelled voxels kept for each case and class
_PLACES_STREAM = 1000


class LabelledSource:
    """What both tasks share: patches of the training cases, and their intensities.

    Args:
        cases: volume_uid, patient_key, y_true of the training part; their order does not matter.
    """

    def __init__(
        self, store: Store, cases: pd.DataFrame, config: AugmentConfig, seed: int, global_batch: int
    ) -> None:
        if cases.empty:
            raise TrainingError("there is no labelled case to train on")
        self.cases = cases.sort_values("volume_uid", ignore_index=True)
        self.global_batch = global_batch
        self.store, self.config, self.seed = store, config, seed
        self.reader = Reader(store)
        self.scans = scans_of(store, self.cases)
        self._patients = pd.factorize(self.cases["patient_key"])[0]

    def finish(self, batch: Batch, step: int) -> Batch:
        """Augment intensities, where they are to be."""
        if not self.config.intensity.enabled:
            return batch
        return augment_intensities(batch, step, self.seed, self.config.intensity.strength)

    def cut(
        self, scan: ScanInfo, centre_mm: Vector, rng: np.random.Generator, mask: str | None = None
    ) -> Patch:
        """A patch in a drawn pose around `centre_mm`."""
        matrix = draw_map(rng, scan, self.config.patch, self.config.spatial, centre_mm)
        return sample(self.reader, scan, matrix, self.config.patch.size, mask)

    def described(self, patch: Patch, number: int, index: int) -> Batch:
        """The keys of a sample that do not depend on the task."""
        scan = self.scans[number]
        return {
            "image": torch.from_numpy(patch.image)[None, None],
            "valid": torch.from_numpy(patch.valid)[None, None],
            "background": torch.tensor(scan.normaliser.background),
            "map": torch.from_numpy(patch.map.astype(np.float32))[None],
            "index": torch.tensor(index),
            "volume": torch.tensor(number),
            "patient": torch.tensor(int(self._patients[number])),
            "modality": torch.tensor(MODALITIES.index(scan.modality)),
            "policy": torch.tensor(MODALITIES.index(scan.normaliser.policy)),
        }


class ClassificationSource(LabelledSource):
    """Crops around the middle of the foreground's box, classes in turn.

    Every class stands equally often in a batch (to within one sample); its cases come in epochs of
    their own.
    """

    def __init__(
        self,
        store: Store,
        cases: pd.DataFrame,
        config: AugmentConfig,
        num_classes: int,
        seed: int,
        global_batch: int,
    ) -> None:
        super().__init__(store, cases, config, seed, global_batch)
        self._targets = self.cases["y_true"].to_numpy(np.int64)
        self._members = [np.flatnonzero(self._targets == c) for c in range(num_classes)]

    def sample(self, step: int, index: int) -> Batch:
        """One crop with its class as `target`."""
        turn, c = divmod(step * self.global_batch + index, len(self._members))
        members = self._members[c]
        # Each class has its own order of cases.
        number = int(members[volume_at(self.seed + c, turn, len(members))])
        scan = self.scans[number]
        rng = generator(self.seed, step, index)
        patch = self.cut(scan, foreground_centre(scan), rng)
        return {
            **self.described(patch, number, index),
            "target": torch.tensor(int(self._targets[number])),
        }


class SegmentationSource(LabelledSource):
    """Patches with their masks, a share of them around a labelled voxel.

    Args:
        mask: name of the mask in the store.
        classes: values of the mask that become 1, 2, …; every other value becomes 0.
        labelled_share: share of patches around a labelled voxel, classes being drawn equally.
    """

    def __init__(
        self,
        store: Store,
        cases: pd.DataFrame,
        config: AugmentConfig,
        mask: str,
        classes: tuple[int, ...],
        labelled_share: float,
        seed: int,
        global_batch: int,
    ) -> None:
        super().__init__(store, cases, config, seed, global_batch)
        self._mask, self._classes, self._labelled_share = mask, classes, labelled_share
        self._places: dict[int, list[Vector]] = {}

    def sample(self, step: int, index: int) -> Batch:
        """One patch with its classes as `mask` (1, D, H, W)."""
        position = step * self.global_batch + index
        number = volume_at(self.seed, position, len(self.scans))
        scan = self.scans[number]
        rng = generator(self.seed, step, index)
        patch = self.cut(scan, self._centre(number, scan, rng), rng, self._mask)
        assert patch.mask is not None
        mask = torch.from_numpy(to_class_numbers(patch.mask, self._classes))
        return {**self.described(patch, number, index), "mask": mask[None]}

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


def scans_of(store: Store, cases: pd.DataFrame) -> list[ScanInfo]:
    """What the sampler has to know of each case, in the order of `cases`."""
    rows = store.manifest.loc[cases["volume_uid"]]
    return [
        ScanInfo.from_row({str(name): value for name, value in row.items()})
        for _, row in rows.iterrows()
    ]


def foreground_centre(scan: ScanInfo) -> Vector:
    """The middle of the foreground's box, RAS millimetres, (3,)."""
    start, stop = scan.foreground_mm()
    return np.asarray(scan.centre_mm + scan.frame @ ((start + stop) / 2))


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
