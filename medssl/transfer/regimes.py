"""How each regime changes a network before it is trained, and what it fits where nothing steps."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from medssl.augment.config import PatchConfig
from medssl.engine.loop import TrainOutcome, default_device
from medssl.models.build import Classifier, Segmenter
from medssl.models.lora import add_updates, merge_updates
from medssl.models.probe_heads import AttentionPool, NearestCases, freeze, keep_statistics
from medssl.progress import Progress
from medssl.store import Store
from medssl.transfer.channels import Channels
from medssl.transfer.embedding import embed_volumes
from medssl.transfer.flips import flips_hook
from medssl.transfer.probe import VOTE_TEMPERATURE, linear_probe
from medssl.transfer.regime_config import (
    AttentionProbeRegime,
    FullRegime,
    KNNRegime,
    LinearProbeRegime,
    LoRARegime,
    RegimeConfig,
)

_REGIME: TypeAdapter[RegimeConfig] = TypeAdapter(RegimeConfig)

Network = Classifier | Segmenter


def prepare(network: Network, regime: RegimeConfig) -> str | None:
    """Freeze, add and replace what the regime asks for, once initial weights are loaded.

    Returns:
        A line for the reader; None in the full regime.

    Raises:
        ConfigError: the heads of the attention do not divide the embedding.
    """
    encoder = network.encoder
    size = sum(p.numel() for p in encoder.parameters())
    match regime:
        case FullRegime():
            return None
        case LoRARegime():
            updated = add_updates(encoder, regime.rank, regime.alpha)
            keep_statistics(encoder)
            learning = sum(p.numel() for p in encoder.parameters() if p.requires_grad)
            return (
                f"lora: {updated} weights of the encoder have updates of rank {regime.rank}; "
                f"{learning:,} numbers learn beside {size:,} frozen ones"
            )
        case AttentionProbeRegime():
            assert isinstance(network, Classifier)
            network.pool = AttentionPool(encoder.embed_dim, regime.heads)
        case LinearProbeRegime() | KNNRegime():
            assert isinstance(network, Classifier)
    freeze(encoder)
    return f"{regime.name}: the encoder's {size:,} numbers are frozen"


def finish(network: Network, regime: RegimeConfig) -> None:
    """After training: what was added for it alone becomes part of the weights."""
    if isinstance(regime, LoRARegime):
        merge_updates(network.encoder)


def fit_probe(
    network: Classifier,
    regime: LinearProbeRegime | KNNRegime,
    store: Store,
    train: pd.DataFrame,
    patch: PatchConfig,
    batch_size: int,
    progress: Progress,
    channels: Channels | None = None,
) -> tuple[TrainOutcome, str]:
    """Fit the head on embeddings of the training cases, and put it on the network.

    Embeddings are those of one upright crop each, so that the network's answer to a crop is the
    probe's.

    Args:
        train: volume_uid, patient_key, y_true.

    Returns:
        What it took, in no steps, and a line for the reader.

    Raises:
        TrainingError: a class has no case.
    """
    began = time.monotonic()
    network.to(default_device()).eval()
    uids, y = train["volume_uid"].tolist(), train["y_true"].to_numpy(np.int64)
    encoder = network.encoder
    embeddings = embed_volumes(encoder, store, uids, patch, batch_size, progress, channels)
    device = next(network.parameters()).device
    if isinstance(regime, LinearProbeRegime):
        probe = linear_probe(embeddings, y, train["patient_key"].to_numpy(), embeddings)
        assert isinstance(network.head, nn.Linear)
        with torch.no_grad():
            network.head.weight.copy_(torch.from_numpy(probe.weight))
            network.head.bias.copy_(torch.from_numpy(probe.bias))
        told = (
            f"linear probe of {len(train)} embeddings; penalty 1/{probe.inverse_penalty:g}, by "
            "cross-validation over training patients"
        )
    else:
        k = max(1, min(regime.k, len(train) // 2))
        network.head = NearestCases(
            torch.from_numpy(embeddings).float(),
            torch.tensor(y),
            int(y.max()) + 1,
            k,
            VOTE_TEMPERATURE,
        ).to(device)
        told = f"{k} nearest of {len(train)} embeddings vote"
    return TrainOutcome(0, time.monotonic() - began, None, None), told


def load_as_evaluated(
    network: Network, state: Mapping[str, Tensor], about: Mapping[str, str]
) -> None:
    """Load weights of any regime; the network then answers as it did when it was evaluated.

    Its pooling and head become those of the regime, mirror images are averaged and the temperature
    is applied, as the weights' metadata say.

    Args:
        network: as `medssl.models.build` makes it.
        state: tensors of model.safetensors.
        about: its metadata; what they do not name was not done.

    Raises:
        ConfigError, RuntimeError: the weights are not of this network.
    """
    regime = _REGIME.validate_json(about.get("regime", '{"name": "full"}'))
    if isinstance(regime, AttentionProbeRegime):
        assert isinstance(network, Classifier)
        network.pool = AttentionPool(network.encoder.embed_dim, regime.heads)
    if isinstance(regime, KNNRegime):
        assert isinstance(network, Classifier)
        cases, num_classes = state["head.votes"].shape
        network.head = NearestCases(
            torch.zeros(cases, network.encoder.embed_dim),
            torch.zeros(cases, dtype=torch.int64),
            num_classes,
            max(1, min(regime.k, cases // 2)),
            VOTE_TEMPERATURE,
        )
    network.load_state_dict(state)
    axes = json.loads(about.get("test_time_flips", "[]"))
    temperature = json.loads(about.get("temperature", "1.0"))
    if axes:
        network.register_forward_hook(flips_hook(axes))
    if temperature != 1:
        network.register_forward_hook(lambda module, inputs, logits: logits / temperature)
