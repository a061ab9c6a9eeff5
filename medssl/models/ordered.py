"""The last layer of a classifier whose classes stand in an order."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class OrderedHead(nn.Module):
    """One score, and thresholds on it: the cumulative link model (McCullagh 1980).

    P(y > k) = sigmoid(score - threshold_k), with one weight vector for all k as in CORAL (Cao et
    al. 2020, arXiv:1901.07884). The thresholds ascend by construction, the first being free and the
    gaps between them positive, so that the classes' probabilities are never negative.
    """

    def __init__(self, in_features: int, num_classes: int) -> None:
        super().__init__()
        self.score = nn.Linear(in_features, 1, bias=False)
        # At a score of 0 the classes begin equally likely.
        shares = torch.arange(1, num_classes, dtype=torch.float32) / num_classes
        thresholds = torch.logit(shares)
        self.first = nn.Parameter(thresholds[:1].clone())
        self.gaps = nn.Parameter(torch.log(torch.expm1(thresholds.diff())))  # before softplus

    def thresholds(self) -> Tensor:
        """(K - 1,), ascending."""
        return torch.cat([self.first, self.first + F.softplus(self.gaps).cumsum(0)])

    def forward(self, embedding_BE: Tensor) -> Tensor:
        """Logarithms of the classes' probabilities, (B, K): logits as those of any classifier."""
        above = self.score(embedding_BE).float() - self.thresholds()  # logits of y > k, descending
        # P(y = k) = sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)), for a > b.
        between = torch.log(-torch.expm1(-F.softplus(self.gaps)))
        lowest, highest = F.logsigmoid(-above[:, :1]), F.logsigmoid(above[:, -1:])
        middle = F.logsigmoid(above[:, :-1]) + F.logsigmoid(-above[:, 1:]) + between
        return torch.cat([lowest, middle, highest], dim=1)


def cumulative_logits(log_probabilities_BK: Tensor) -> Tensor:
    """(B, K - 1): logits of y > k, k = 0 ... K - 2, from the classes' logarithms."""
    classes = range(1, log_probabilities_BK.shape[1])
    return torch.stack(
        [
            log_probabilities_BK[:, k:].logsumexp(dim=1)
            - log_probabilities_BK[:, :k].logsumexp(dim=1)
            for k in classes
        ],
        dim=1,
    )
