"""What a batch is, and who can make one.

Keys of a batch, B being this process's part of it:
    image     (B, V, C, D, H, W) float32, normalised; V views of each volume
    valid     (B, V, 1, D, H, W) bool, True inside the scan
    index     (B,) int64, place in the global batch
    volume    (B,) int64, row of the frame of volumes
    patient   (B,) int64, equal for crops of one patient
    modality  (B,) int64, place in MODALITIES
and, where labels are trained on, mask (B, 1, D, H, W) int64 or target (B,) int64.
"""

from __future__ import annotations

from typing import Protocol

import torch

Batch = dict[str, torch.Tensor]

MODALITIES = ("CT", "MR", "PT", "OT")


class SampleSource(Protocol):
    """Makes samples, each a function of its step and its place in the global batch."""

    global_batch: int

    def sample(self, step: int, index: int) -> Batch:
        """One sample, without the axis B. Called from several threads."""

    def finish(self, batch: Batch, step: int) -> Batch:
        """Augment intensities of a whole batch, on the device that it is on."""
