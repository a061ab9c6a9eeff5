"""Which parameters learn how fast, and which of them decay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from medssl.models.encoder import Encoder


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that share a learning rate: `lr_factor` times the schedule's from `start_step`."""

    parameters: Sequence[nn.Parameter]
    lr_factor: float = 1.0
    start_step: int = 0


def layerwise(
    encoder: Encoder, decay: float, lr_factor: float = 1.0, start_step: int = 0
) -> list[ParameterGroup]:
    """A group for each of the encoder's layers, slower the nearer it is to the input.

    Of n layers, layer i (0 at the input) learns at lr_factor * decay^(n - i) of the schedule's
    rate, which is the head's: pretraining serves early layers better than late ones, so that they
    have less to change. Clark et al., ELECTRA, 2020, appendix A; Bao et al., BEiT, 2021, section
    3.1, with decays of 0.65 to 0.9.

    Args:
        decay: 1 gives every layer `lr_factor`.
    """
    layers = encoder.layers()
    groups = [
        ParameterGroup(list(layer.parameters()), lr_factor * decay ** (len(layers) - i), start_step)
        for i, layer in enumerate(layers)
    ]
    grouped = sorted(id(p) for group in groups for p in group.parameters)
    assert grouped == sorted(id(p) for p in encoder.parameters()), "layers() misses parameters"
    return groups


def decayed_and_not(groups: Sequence[ParameterGroup], weight_decay: float) -> list[dict[str, Any]]:
    """Optimiser groups: weights and kernels decay; biases, norms and single tokens do not."""
    result: list[dict[str, Any]] = []
    for group in groups:
        trained = [p for p in group.parameters if p.requires_grad]
        rate = {"lr_factor": group.lr_factor, "start_step": group.start_step}
        for decays in (True, False):
            chosen = [p for p in trained if (p.ndim > 1 and max(p.shape) < p.numel()) == decays]
            if chosen:
                decay = weight_decay if decays else 0.0
                result.append({"params": chosen, "weight_decay": decay, **rate})
    return result
