"""How a cell's encoder spreads scans out, on the same patches for all cells, and what lies near.

The first takes no labels; the second those that the cell was given, and no others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
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
from medssl.transfer.classification_metrics import auc_macro
from medssl.transfer.config import FitConfig
from medssl.transfer.embedding import embed_volumes
from medssl.transfer.probe import knn_probe

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


def neighbours_auc(
    encoder: Encoder, store: Store, cases: pd.DataFrame, fit: FitConfig
) -> float | None:
    """Macro AUC of the cell's validation cases where the nearest training cases vote.

    See `medssl.transfer.probe.knn_probe`. None without a validation part, or where a class is
    missing in one of the two parts.

    Args:
        cases: volume_uid, split (train, val), y_true: the cell's subset.
    """
    train, val = (cases[cases["split"] == part] for part in ("train", "val"))
    classes = int(cases["y_true"].max()) + 1
    if any(part["y_true"].nunique() < max(2, classes) for part in (train, val)):
        return None
    uids = [*train["volume_uid"], *val["volume_uid"]]
    embedded = embed_volumes(
        encoder, store, uids, fit.augment.patch, fit.batch_size, channels=fit.channels
    )
    y = train["y_true"].to_numpy(np.int64)
    votes = knn_probe(embedded[: len(train)], y, embedded[len(train) :])
    logits = np.log(np.maximum(votes, 1e-12))
    columns = {f"logit_{number}": logits[:, number] for number in range(classes)}
    found = auc_macro(pd.DataFrame({"y_true": val["y_true"].to_numpy(), **columns}))
    return found if math.isfinite(found) else None
