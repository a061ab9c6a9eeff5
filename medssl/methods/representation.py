"""How embeddings lie in space, in plain numbers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, linalg, pdist

_SMALLEST_SHARE = 1e-7
_TINY = 1e-30


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


def rank_me(embedded: Tensor) -> Tensor:
    """Effective rank of (N, K): 1 where all lie on one line, min(N, K) where no axis stands out.

    The exponential of the entropy of the singular values, scaled to sum to one: Garrido et al.
    2023, RankMe, eq. 1. The embeddings are neither centred nor scaled.
    """
    values = linalg.svdvals(embedded)
    shares = values / values.sum().clamp_min(_TINY) + _SMALLEST_SHARE
    entropy: Tensor = -(shares * shares.log()).sum()
    return entropy.exp()


def alpha_req(embedded: Tensor) -> Tensor:
    """How fast the eigenvalues of the covariance of (N, K) decay: a in lambda_i ~ i ** -a.

    The slope of the least-squares line through log lambda_i against log i, over the eigenvalues
    that centring and rounding leave: Agrawal et al. 2022, alpha-ReQ, section 3. Near 1 is usual of
    encoders that transfer well; far above, few axes hold all.
    """
    centred = (embedded - embedded.mean(dim=0)).double()
    values = linalg.svdvals(centred).square()
    values = values[: max(1, min(len(embedded) - 1, embedded.shape[1]))]
    values = values[values > values[0] * _SMALLEST_SHARE**2]
    if len(values) < 2:
        return torch.tensor(float("inf"))
    x = torch.arange(1, len(values) + 1, dtype=torch.float64, device=values.device).log()
    y = values.log()
    x = x - x.mean()
    slope: Tensor = (x * (y - y.mean())).sum() / x.square().sum()
    return -slope.float()
