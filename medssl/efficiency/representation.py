"""How a cell's encoder spreads scans out, without labels, on the same patches for all cells."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import torch
import torch.nn.functional as F

from medssl.engine.config import PretrainConfig
from medssl.engine.health_config import HealthConfig
from medssl.engine.health_probe import Probe, draw_probe, embed
from medssl.methods.representation import (
    alignment,
    alpha_req,
    feature_deviation,
    rank_me,
    uniformity,
)
from medssl.models.config import ModelConfig
from medssl.models.encoder import Encoder
from medssl.store import Store
from medssl.transfer.config import FitConfig

VOLUMES = 64

_DEVIATION = 0.1
_RANK = 0.05


@dataclass(frozen=True)
class ProbeSet:
    """Two augmented patches of each of at most 64 development volumes, drawn once."""

    probe: Probe
    fit: FitConfig

    def figures(self, encoder: Encoder) -> dict[str, float | bool]:
        """rankme, alpha (alpha-ReQ), alignment, uniformity, and whether all lies on a point.

        Collapse: the mean deviation of features scaled to unit length is under 0.1 / sqrt(K), or
        RankMe is under 5 % of the smaller of the numbers of patches and features.
        """
        device = next(encoder.parameters()).device
        at_once = max(1, self.fit.batch_size // 2)
        precision = self.fit.runtime.precision
        embedded = embed(encoder, self.probe.views, precision, device, at_once)
        first, second = F.normalize(embedded, dim=2).unbind(1)
        flat = embedded.flatten(0, 1)
        rank = float(rank_me(flat))
        low = rank < _RANK * min(flat.shape)
        return {
            "rankme": rank,
            "alpha": float(alpha_req(flat)),
            "alignment": float(alignment(first, second)),
            "uniformity": float(uniformity(first)),
            "collapse": bool(low or float(feature_deviation(embedded[:, 0])) < _DEVIATION),
        }


def draw_probe_set(
    store: Store, development: pd.DataFrame, fit: FitConfig, model: ModelConfig, seed: int
) -> ProbeSet | None:
    """The probe set of a study; None where it has fewer than two volumes for development.

    Args:
        development: volume_uid of the development cases; a function of them and of the seed.
    """
    if len(development) < 2:
        return None
    rows = store.manifest.loc[sorted(development["volume_uid"])]
    look = PretrainConfig(
        store=store.root,
        model=model,
        augment=fit.augment,
        health=HealthConfig(volumes=VOLUMES),
        seed=seed,
    )
    with torch.no_grad():
        return ProbeSet(draw_probe(store, rows, look), fit)
