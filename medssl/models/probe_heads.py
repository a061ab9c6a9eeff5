"""What stands on a frozen encoder: pooling by attention, and a vote of the nearest cases."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from medssl.errors import ConfigError

_LEAST_SHARE = 1e-6


class AttentionPool(nn.Module):
    """A learned query that attends to the places of a feature map.

    The attentive probe of Bardes et al., Revisiting feature prediction for learning visual
    representations from video, 2024, section 4.2, without its perceptron; a pooling by multihead
    attention with one seed (Lee et al., Set transformer, 2019, section 3.2).

    Raises:
        ConfigError: `heads` does not divide `dim`.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        if dim % heads:
            fitting = [str(n) for n in range(1, min(dim, 16) + 1) if dim % n == 0]
            raise ConfigError(
                f"regime.heads {heads} does not divide the embedding of {dim}; "
                f"choose one of {', '.join(fitting)}"
            )
        self.query = nn.Parameter(0.02 * torch.randn(1, 1, dim))
        self.norm = nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.out_norm = nn.LayerNorm(dim)

    def forward(self, map_BCDHW: Tensor) -> Tensor:
        """(B, C) from a feature map of any grid."""
        tokens = self.norm(map_BCDHW.flatten(2).mT)
        query = self.query.expand(len(tokens), -1, -1)
        attended = self.attention(query, tokens, tokens, need_weights=False)[0]
        pooled: Tensor = self.out_norm(query + attended)[:, 0]
        return pooled


class NearestCases(nn.Module):
    """Votes of the nearest training cases, as `medssl.transfer.probe.knn_probe` counts them.

    Args:
        embeddings: (N, K) of the training cases.
        targets: (N,) their classes, from 0 to num_classes - 1.
        k: how many vote.
        temperature: a vote weighs exp(cosine / temperature).
    """

    mean: Tensor
    deviation: Tensor
    directions: Tensor
    votes: Tensor

    def __init__(
        self, embeddings: Tensor, targets: Tensor, num_classes: int, k: int, temperature: float
    ) -> None:
        super().__init__()
        self.k, self.temperature = k, temperature
        deviation = embeddings.std(dim=0, correction=0)
        self.register_buffer("mean", embeddings.mean(dim=0))
        self.register_buffer("deviation", torch.where(deviation > 0, deviation, 1.0))
        self.register_buffer("directions", self._directions(embeddings))
        self.register_buffer("votes", F.one_hot(targets, num_classes).to(embeddings.dtype))

    def forward(self, pooled_BK: Tensor) -> Tensor:
        """(B, num_classes): logarithm of each class's share of the votes, at least of 1e-6."""
        cosine = self._directions(pooled_BK.to(self.mean.dtype)) @ self.directions.T
        nearest = cosine.topk(self.k, dim=1)
        weights = torch.softmax(nearest.values / self.temperature, dim=1)
        shares = (weights[..., None] * self.votes[nearest.indices]).sum(dim=1)
        return shares.clamp_min(_LEAST_SHARE).log()

    def _directions(self, embeddings: Tensor) -> Tensor:
        return F.normalize((embeddings - self.mean) / self.deviation, dim=1)


def freeze(encoder: nn.Module) -> None:
    """Let nothing of it change: neither weights nor the running statistics of batch norms."""
    encoder.requires_grad_(False)
    keep_statistics(encoder)


def keep_statistics(module: nn.Module) -> None:
    """Batch norms take their running statistics, and leave them, in training mode too."""
    for part in module.modules():
        if isinstance(part, _BatchNorm):
            part.register_forward_pre_hook(_to_evaluation)


def _to_evaluation(norm: nn.Module, inputs: object) -> None:
    norm.eval()
