"""The samples of a pretraining run."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from medssl.augment.batch import CONTROL, MODALITIES, Batch, SampleSource, blank_views
from medssl.augment.body import body_of_patch
from medssl.augment.cache_config import CacheConfig
from medssl.augment.config import AugmentConfig, LocalViewsConfig
from medssl.augment.crops import draw_centre, draw_two_centres
from medssl.augment.elastic import MOST_CELLS, control_points, dense_displacement
from medssl.augment.interpolate import Displacement
from medssl.augment.local_views import draw_local_map
from medssl.augment.placement import draw_deformation
from medssl.augment.policies import augment_in_place
from medssl.augment.reader import Reader
from medssl.augment.rng import Stream, generator, volume_at
from medssl.augment.scan_info import ScanInfo, Scans
from medssl.augment.spatial import draw_map, moved_by, sample
from medssl.errors import ConfigError
from medssl.store import Store
from medssl.store.body import BodyMask
from medssl.volume import Affine


class PretrainSource(SampleSource):
    """Patches of a store's volumes, every volume once an epoch.

    Args:
        rows: manifest rows of the volumes to learn from; "volume" in a batch counts them.
        num_views: patches of one volume, 1 or 2, each with its own rotation, scale and flips.
        overlap: range of the part of a patch's volume that two views share, before these.
        local: small crops inside the views; None: there are none.
        intensity: whether values are augmented, where the configuration does not forbid it.
        clean: whether a batch also holds the patches as they were before that.
        seed: decides everything, together with the step and the place in the global batch.
        global_batch: samples of a step over all ranks.
        cache: decoded voxels that are kept at hand.

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
        local: LocalViewsConfig | None = None,
        intensity: bool = True,
        clean: bool = False,
        seed: int = 0,
        global_batch: int = 1,
        cache: CacheConfig = CacheConfig(),  # noqa: B008
    ) -> None:
        if rows.empty:
            raise ConfigError("there is no volume to draw patches from")
        if num_views not in (1, 2):
            raise ConfigError(f"views of a volume: 1 or 2, not {num_views}")
        if not 0 < overlap[0] <= overlap[1] <= 1:
            raise ConfigError(
                f"method.overlap {overlap}: a range of shares from above 0 to 1 is expected"
            )
        self.config = config
        self.num_views = num_views
        self.overlap = overlap
        self.local = local
        self.intensity = intensity and config.intensity.enabled
        self.clean = clean
        self.seed = seed
        self.global_batch = global_batch
        self.reader = Reader(store, cache)
        self.scans = Scans(rows)
        self.patients = patient_codes(rows)

    def blank(self, count: int) -> Batch:
        """See `SampleSource.blank`."""
        batch = blank_views(count, self.num_views, self.config.patch.size)
        batch["body"] = torch.empty_like(batch["valid"])
        if self.clean:
            batch["clean"] = torch.empty_like(batch["image"])
        if self.config.spatial.elastic_probability:
            views = (count, self.num_views, 3)
            batch["control"] = torch.empty((*views, *[MOST_CELLS + 3] * 3), dtype=torch.float32)
            for name in CONTROL[1:]:
                batch[name] = torch.empty(views, dtype=torch.float64)
        if self.local is not None:
            crops = blank_views(count, self.local.count, self.local.size)
            batch |= {f"local_{name}": crops[name] for name in ("image", "valid", "map")}
        return batch

    def fill(self, batch: Batch, row: int, step: int, index: int) -> None:
        """See `SampleSource.fill`."""
        volume = volume_at(self.seed, step * self.global_batch + index, len(self.scans))
        scan = self.scans[volume]
        body = self.reader.body(scan.volume_uid)
        maps = self._maps(scan, body, step, index)
        for view, matrix in enumerate(maps):
            bent = self._deformation(batch, row, view, scan, step, index)
            self.write_view(batch, (row, view), scan, body, matrix, bent)
            batch["map"][row, view] = torch.from_numpy(matrix)
        if self.local is not None:
            self._fill_local(batch, row, self.local, scan, maps, step, index)
        batch["background"][row] = scan.normaliser.background
        batch["index"][row] = index
        batch["volume"][row] = volume
        batch["patient"][row] = self.patients[volume]
        batch["modality"][row] = MODALITIES.index(scan.modality)
        batch["policy"][row] = MODALITIES.index(scan.normaliser.policy)

    def write_view(
        self,
        batch: Batch,
        at: tuple[int, int],
        scan: ScanInfo,
        body: BodyMask,
        matrix: Affine,
        deformation: Displacement | None,
    ) -> None:
        """Write the patch under this map, bent, into row and view `at` of a batch."""
        size = self.config.patch.size
        image, valid = (batch[key][at][0].numpy() for key in ("image", "valid"))
        sample(self.reader, scan, matrix, size, None, image, valid, deformation)
        shown = body_of_patch(body, matrix, size, moved_by(matrix, deformation))
        np.logical_and(valid, shown, out=batch["body"][at][0].numpy())

    def finish(self, batch: Batch, step: int) -> None:
        """See `SampleSource.finish`."""
        if self.clean:
            batch["clean"].copy_(batch["image"])
        if self.intensity:
            strength = self.config.intensity.strength
            augment_in_place(batch, step, self.seed, strength)
            if self.local is not None:
                crops = {**batch, "image": batch["local_image"], "valid": batch["local_valid"]}
                augment_in_place(crops, step, self.seed, strength, self.num_views)

    def volume_uids(self, batch: Batch) -> list[str]:
        """See `SampleSource.volume_uids`."""
        return [self.scans[volume].volume_uid for volume in batch["volume"].tolist()]

    def _deformation(
        self, batch: Batch, row: int, view: int, scan: ScanInfo, step: int, index: int
    ) -> Displacement | None:
        """How far each voxel of a view moves; its control points are written into the batch."""
        patch, spatial = self.config.patch, self.config.spatial
        if not spatial.elastic_probability:
            return None
        rng = generator(self.seed, step, index, Stream.ELASTIC + 16 * view)
        spacing = scan.patch_spacing(patch.spacing_mm)
        lattice = draw_deformation(rng, spatial, patch.size, spacing)
        if lattice is None:
            batch["control"][row, view] = 0.0
            batch["control_cells"][row, view] = 1.0
            batch["control_per_voxel"][row, view] = 1 / torch.tensor(patch.size)
            return None
        for name, value in zip(CONTROL, control_points(lattice, spacing), strict=True):
            batch[name][row, view] = torch.from_numpy(value)
        return dense_displacement(lattice, patch.size, spacing)

    def _fill_local(
        self,
        batch: Batch,
        row: int,
        local: LocalViewsConfig,
        scan: ScanInfo,
        maps: list[Affine],
        step: int,
        index: int,
    ) -> None:
        patch, spatial = self.config.patch, self.config.spatial
        body = self.reader.body(scan.volume_uid)
        for crop in range(local.count):
            rng = generator(self.seed, step, index, Stream.LOCAL + 16 * crop)
            matrix = draw_local_map(rng, scan, maps, patch, spatial, local, body)
            image = batch["local_image"][row, crop, 0].numpy()
            valid = batch["local_valid"][row, crop, 0].numpy()
            sample(self.reader, scan, matrix, local.size, image=image, valid=valid)
            batch["local_map"][row, crop] = torch.from_numpy(matrix)

    def _maps(self, scan: ScanInfo, body: BodyMask, step: int, index: int) -> list[Affine]:
        patch, spatial = self.config.patch, self.config.spatial
        place = generator(self.seed, step, index, Stream.CROP)
        extent = np.asarray(patch.size) * scan.patch_spacing(patch.spacing_mm)
        if self.num_views == 2:
            centres = list(draw_two_centres(place, scan, extent, self.overlap, body))
        else:
            centres = [draw_centre(place, scan, extent, body)]
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
