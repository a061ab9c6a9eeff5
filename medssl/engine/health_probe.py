"""The volumes that every look of a run is taken at: two views of each, drawn once.

They are volumes that the run learns from, so that nobody held out is looked at, and their views are
drawn with a seed of their own and augmented alike for every method: what the looks say can be
compared from one step to the next and from one method to another.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from medssl.augment.batch import Batch
from medssl.augment.cache_config import CacheConfig
from medssl.augment.pretraining import PretrainSource, patient_codes
from medssl.augment.rng import generator
from medssl.engine.config import PretrainConfig
from medssl.engine.precision import Precision, autocast
from medssl.methods.base import Method
from medssl.models.encoder import Encoder
from medssl.store import Store

_STREAM = 1000  # see `medssl.augment.rng.Stream`
_OVERLAP = (0.4, 1.0)
_UNCACHED = CacheConfig(gigabytes=0)
KINDS = ("modality", "body_part")


@dataclass(frozen=True)
class Probe:
    """Patches of V volumes.

    Attributes:
        rows: their manifest rows.
        patient: (V,) a code for each patient.
        kinds: modality and body part of each, as the manifest has them; empty: not known.
        views: (V, 2, C, D, H, W) float16 on the CPU: each volume's two augmented patches.
        policy: (V,) place in MODALITIES of the intensity policy.
        spacing_mm: (V, 3), of the patches.
        background: (V,) the normalised value of air.
    """

    rows: pd.DataFrame
    patient: npt.NDArray[np.int64]
    kinds: pd.DataFrame
    views: Tensor
    spacing_mm: npt.NDArray[np.float64]
    policy: Tensor
    background: Tensor

    def __len__(self) -> int:
        return len(self.views)


def probe_rows(rows: pd.DataFrame, volumes: int, seed: int) -> pd.DataFrame:
    """At most `volumes` of the rows, spread evenly over patients, a function of the seed.

    A first volume of every patient goes before a second one of any.
    """
    shuffled = rows.iloc[generator(seed, 0, 0, _STREAM).permutation(len(rows))]
    patients = pd.Series(patient_codes(shuffled), index=shuffled.index)
    turn = patients.groupby(patients).cumcount().sort_values(kind="stable")
    return rows.loc[turn.index[:volumes]]


def of_each_kind(probe: Probe, most: int) -> list[int]:
    """Places of `most` volumes of the probe: one of each kind, then a second of each."""
    turn = probe.kinds.groupby(list(KINDS)).cumcount().to_numpy()
    return [int(place) for place in np.argsort(turn, kind="stable")[:most]]


def draw_probe(
    store: Store, rows: pd.DataFrame, config: PretrainConfig, num_workers: int = 0
) -> Probe:
    """The probe of a run that learns from `rows`.

    Raises:
        StoreError: the voxels of a volume are missing or damaged.
    """
    rows = probe_rows(rows, config.health.volumes, config.seed)
    source = PretrainSource(
        store,
        rows,
        config.augment,
        num_views=2,
        overlap=_OVERLAP,
        seed=_seed_of_views(config.seed),
        global_batch=len(rows),
        cache=_UNCACHED,
    )
    views = torch.empty((len(rows), 2, 1, *config.augment.patch.size), dtype=torch.float16)
    policy = torch.empty(len(rows), dtype=torch.int64)
    background = torch.empty(len(rows))

    def draw(index: int) -> None:
        batch = _one(source, index)
        volume = int(batch["volume"])
        views[volume] = batch["image"][0]
        policy[volume], background[volume] = batch["policy"][0], batch["background"][0]

    with ThreadPoolExecutor(max(1, num_workers)) as pool:
        list(pool.map(draw, range(len(rows))))
    kinds = store.columns(*KINDS).loc[rows.index].astype("string").fillna("").astype(object)
    spacing = [scan.patch_spacing(config.augment.patch.spacing_mm) for scan in source.scans]
    patient = np.asarray(source.patients)
    return Probe(rows, patient, kinds, views, np.stack(spacing), policy, background)


def draw_batch(store: Store, rows: pd.DataFrame, config: PretrainConfig, method: Method) -> Batch:
    """A batch of one sample of each row, in their order, as the method is trained on.

    Drawn with a seed of its own.
    """
    source = PretrainSource(
        store,
        rows,
        config.augment,
        num_views=method.num_views,
        overlap=method.overlap or (1.0, 1.0),
        intensity=method.intensity,
        clean=method.clean,
        seed=_seed_of_views(config.seed),
        global_batch=len(rows),
        cache=_UNCACHED,
    )
    samples = [_one(source, index) for index in range(len(rows))]
    samples.sort(key=lambda sample: int(sample["volume"]))
    return {name: torch.cat([sample[name] for sample in samples]) for name in samples[0]}


def embed(
    encoder: Encoder, views: Tensor, precision: Precision, device: torch.device, at_once: int
) -> Tensor:
    """(V, 2, K) float32 on the CPU of views (V, 2, C, D, H, W), by the encoder as it is evaluated.

    Args:
        at_once: volumes that the device has room for.
    """
    was_training = encoder.training
    encoder.eval()
    parts = []
    with torch.no_grad(), autocast(precision, device):
        for first in range(0, len(views), at_once):
            patches = views[first : first + at_once].flatten(0, 1).to(device, torch.float32)
            embedded = encoder.embed(patches).float().cpu()
            parts.append(embedded.reshape(-1, 2, embedded.shape[1]))
    encoder.train(was_training)
    return torch.cat(parts)


def _one(source: PretrainSource, index: int) -> Batch:
    batch = source.blank(1)
    source.fill(batch, 0, 0, index)
    source.finish(batch, 0)
    return batch


def _seed_of_views(seed: int) -> int:
    return int(generator(seed, 0, 1, _STREAM).integers(2**62))
