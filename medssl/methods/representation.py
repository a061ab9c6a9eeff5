"""How embeddings lie on the sphere, in plain numbers."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, pdist


def alignment(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared distance of twins (N, K) of unit length; 0: they coincide.

    Wang and Isola 2020, Understanding contrastive representation learning, eq. 4 with alpha 2.
    """
    return (first - second).square().sum(1).mean()


def uniformity(unit: Tensor) -> Tensor:
    """Log mean exp(-2 d^2) over pairs of (N, K) of unit length; 0: all coincide, -4: spread evenly.

    Wang and Isola 2020, eq. 5 with t 2.
    """
    return pdist(unit).square().mul(-2).exp().mean().log()


def feature_deviation(embedded: Tensor) -> Tensor:
    """Deviation of (N, K) scaled to unit length, times the root of K; 0: collapsed, 1: isotropic.

    Chen and He 2021, Exploring simple siamese representation learning, section 4.1.
    """
    unit = F.normalize(embedded, dim=1)
    spread: Tensor = unit.std(dim=0, correction=0).mean() * unit.shape[1] ** 0.5
    return spread
