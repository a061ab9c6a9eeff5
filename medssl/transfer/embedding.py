"""Embeddings of whole volumes by an encoder, as probes and searches take them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from medssl.augment.cache_config import CacheConfig
from medssl.augment.config import PatchConfig
from medssl.augment.reader import Reader
from medssl.models.encoder import Encoder
from medssl.progress import SILENT, Progress
from medssl.store import Store
from medssl.transfer.channel_scans import channel_scans
from medssl.transfer.channels import Channels
from medssl.transfer.metrics import Floats
from medssl.transfer.sources import centre_crop


def embed_volumes(
    encoder: Encoder,
    store: Store,
    volume_uids: Sequence[str],
    patch: PatchConfig,
    batch_size: int = 32,
    progress: Progress = SILENT,
    channels: Channels | None = None,
) -> Floats:
    """(N, embed_dim) float64: each volume's pooled embedding, in the order of `volume_uids`.

    A volume, with those of its patient that are its further channels, is one upright crop around
    the middle of its foreground's box, as a classifier is given it in prediction; nothing is
    augmented. The encoder runs in evaluation mode, on the device where it is, and is left in the
    mode that it was in.

    Raises:
        ConfigError: the patch does not suit the encoder.
        StoreError: voxels are missing or damaged.
    """
    encoder.check_patch(patch.size)
    device = next(encoder.parameters()).device
    reader = Reader(store, CacheConfig(gigabytes=0))
    cases = channel_scans(store, volume_uids, channels)
    embedded = np.empty((len(cases), encoder.embed_dim))
    was_training = encoder.training
    encoder.eval()
    progress.start("embedding", len(cases))
    try:
        for start in range(0, len(cases), batch_size):
            images = [
                centre_crop(reader, case, patch) for case in cases[start : start + batch_size]
            ]
            with torch.inference_mode():
                batch = torch.from_numpy(np.stack(images)).to(device)
                pooled = encoder.embed(batch).float().cpu().numpy()
            embedded[start : start + len(images)] = pooled
            progress.advance(len(images))
    finally:
        encoder.train(was_training)
        progress.finish()
    return embedded
