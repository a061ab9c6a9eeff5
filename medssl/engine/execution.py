"""How a network's arithmetic is carried out: layout in memory, recomputation, compiled code.

None of it changes the names or the meaning of weights; checkpoints of runs with and without are
alike. Results agree to rounding.
"""

from __future__ import annotations

import torch
from torch import nn

from medssl.engine.config import RuntimeConfig
from medssl.models.encoder import Decoder, Encoder


def set_up(module: nn.Module, runtime: RuntimeConfig) -> None:
    """Apply the runtime's switches to the encoders and decoders within `module`, in place."""
    if runtime.channels_last:
        _lay_channels_last(module)
    encoders = [part for part in module.modules() if isinstance(part, Encoder)]
    for encoder in encoders:
        encoder.checkpointed = runtime.activation_checkpointing
    if runtime.compile:
        # Layer by layer: a method's forward draws masks and talks to other ranks, which cannot be
        # compiled; and layers that are alike share their code. nn.Module.compile works in place,
        # so that no name gets a prefix.
        decoders = [part for part in module.modules() if isinstance(part, Decoder)]
        for part in [layer for encoder in encoders for layer in encoder.layers()] + decoders:
            part.compile()


def _lay_channels_last(module: nn.Module) -> None:
    """Kernels of 3D convolutions with the channel innermost; maps then follow of themselves.

    Patches have one channel, for which both layouts are the same bytes: they need no conversion.
    """
    for parameter in module.parameters():
        if parameter.ndim == 5:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
