"""The samples of a pretraining run, interpolated on the device that trains.

Threads read, filter and copy the voxels that patches need; `finish` makes patches of them.
"""

from __future__ import annotations

from dataclasses import astuple, replace

import numpy as np
import torch

from medssl.augment.array_sampling import Size
from medssl.augment.batch import Batch
from medssl.augment.body import body_of_patch
from medssl.augment.device_sampling import nearest_in_blocks, sample_blocks
from medssl.augment.interpolate import Bounds, Displacement, Finish
from medssl.augment.pretraining import PretrainSource
from medssl.augment.scan_info import ScanInfo
from medssl.augment.spatial import Cut, cut_out, moved_by, within
from medssl.store.body import BodyMask
from medssl.volume import Affine, Array

_NUMBERS = {"cut_map": (4, 4), "measured_map": (4, 4), "cut_bounds": (2, 3), "cut_finish": (8,)}


class DevicePretrainSource(PretrainSource):
    """The patches of `PretrainSource`, to rounding; small crops are interpolated by the threads.

    A batch is finished whole, not sample by sample in a loader's threads. Until then it has, in
    place of "image" and "valid":

    cut_map       (B, V, 4, 4) float64, index of a view's voxel to index in its block
    measured_map  (B, V, 4, 4) float64, to index in its box of stored voxels
    cut_bounds    (B, V, 2, 3) float64, lowest and highest coordinate of the scan in the block
    cut_finish    (B, V, 8) float64, the fields of `interpolate.Finish`
    block b v     (d, h, w) 8 or 16 bits, or float32; for each row and view one of its own size
    measured b v  (d, h, w) bool, False on padding; only of boxes that hold some
    moved b v     (3, D, H, W) float32, how far the voxels of a bent view move, in its voxels
    """

    def blank(self, count: int) -> Batch:
        """See `SampleSource.blank`."""
        batch = super().blank(count)
        for made_on_the_device in ("image", "valid", "clean"):
            batch.pop(made_on_the_device, None)
        for name, shape in _NUMBERS.items():
            batch[name] = torch.empty((count, self.num_views, *shape), dtype=torch.float64)
        return batch

    def write_view(
        self,
        batch: Batch,
        at: tuple[int, int],
        scan: ScanInfo,
        body: BodyMask,
        matrix: Affine,
        deformation: Displacement | None,
    ) -> None:
        """Write what the patch under this map is made of."""
        size = self.config.patch.size
        cut = cut_out(self.reader, scan, matrix, size, deformation) or _nothing_of(scan)
        block, finish = _without_uint16(cut.block, cut.finish)
        pinned = batch["cut_map"].is_pinned()
        batch[_key("block", at)] = _copied(block, pinned)
        measured = _measured(cut)
        if measured is not None:
            batch[_key("measured", at)] = _copied(measured, pinned)
        if deformation is not None:
            batch[_key("moved", at)] = _copied(deformation, pinned)
        shown = body_of_patch(body, matrix, size, moved_by(matrix, deformation))
        batch["body"][at][0] = torch.from_numpy(shown)
        batch["cut_map"][at] = torch.from_numpy(cut.matrix)
        batch["measured_map"][at] = torch.from_numpy(within(matrix, cut.box))
        batch["cut_bounds"][at] = torch.from_numpy(np.stack([cut.bounds.low, cut.bounds.high]))
        batch["cut_finish"][at] = torch.tensor(astuple(finish))

    def finish(self, batch: Batch, step: int) -> None:
        """See `SampleSource.finish`; the patches are made first."""
        self._make_patches(batch)
        if self.clean:
            batch["clean"] = torch.empty_like(batch["image"])
        super().finish(batch, step)

    def sample(self, step: int, index: int) -> Batch:
        """See `SampleSource.sample`."""
        batch = self.blank(1)
        self.fill(batch, 0, step, index)
        self._make_patches(batch)
        return {key: value[0] for key, value in batch.items()}

    def _make_patches(self, batch: Batch) -> None:
        size = self.config.patch.size
        shape = batch["body"].shape
        places = [(row, view) for row in range(shape[0]) for view in range(shape[1])]
        numbers = {name: batch.pop(name).flatten(0, 1) for name in _NUMBERS}
        moved = _moved(batch, places, size)
        image, valid = sample_blocks(
            [batch.pop(_key("block", at)) for at in places],
            numbers["cut_map"],
            numbers["cut_bounds"],
            numbers["cut_finish"].float(),
            size,
            moved,
        )
        padded = [n for n, at in enumerate(places) if _key("measured", at) in batch]
        if padded:
            measured = [batch.pop(_key("measured", places[n])) for n in padded]
            matrices = numbers["measured_map"][padded]
            moved = None if moved is None else moved[padded]
            valid[padded] &= nearest_in_blocks(measured, matrices, size, moved)
            background = numbers["cut_finish"][:, 7].float().view(-1, 1, 1, 1, 1)
            image = torch.where(valid, image, background)
        batch["image"], batch["valid"] = image.view(shape), valid.view(shape)
        batch["body"] &= batch["valid"]


def _moved(batch: Batch, places: list[tuple[int, int]], size: Size) -> torch.Tensor | None:
    """(N, 3, size) taken out of a batch; None where no patch is bent."""
    taken = [batch.pop(_key("moved", at), None) for at in places]
    bent = [moved for moved in taken if moved is not None]
    if not bent:
        return None
    still = torch.zeros((3, *size), device=bent[0].device)
    return torch.stack([still if moved is None else moved for moved in taken])


def _key(name: str, at: tuple[int, int]) -> str:
    return f"{name} {at[0]} {at[1]}"


def _nothing_of(scan: ScanInfo) -> Cut:
    """A voxel of which no patch sees anything, for one that misses the scan."""
    voxel = np.zeros((1, 1, 1), dtype=np.int16)
    nowhere = Bounds(np.ones(3), np.zeros(3))
    box = ((0, 1), (0, 1), (0, 1))
    return Cut(box, voxel, voxel, np.eye(4), nowhere, scan.normaliser.finish(), None)


def _without_uint16(block: Array, finish: Finish) -> tuple[Array, Finish]:
    """Numbers less 32768 as int16: few operations of torch know uint16."""
    if block.dtype != np.uint16:
        return block, finish
    lowered = (block ^ np.uint16(0x8000)).view(np.int16)
    return lowered, replace(finish, intercept=finish.intercept + 32768 * finish.slope)


def _measured(cut: Cut) -> Array | None:
    """(box) False on padding; None where there is none."""
    if cut.padding is None:
        return None
    measured = (cut.stored < cut.padding[0]) | (cut.stored > cut.padding[1])
    return None if measured.all() else measured


def _copied(array: Array, pinned: bool) -> torch.Tensor:
    kind = torch.from_numpy(np.empty(0, dtype=array.dtype)).dtype
    result = torch.empty(array.shape, dtype=kind, pin_memory=pinned)
    np.copyto(result.numpy(), array)
    return result
