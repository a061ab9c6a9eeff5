"""What the step loop knows of a pretraining method."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from medssl.augment.batch import Batch
from medssl.models.encoder import Encoder


class Method(nn.Module, ABC):
    """A network with its pretraining loss.

    Constructed as `METHODS[name](config, model_config, in_channels, patch_size, seed)`; initial
    weights come from torch's generator, which the engine seeds, and `seed` keys what the method
    draws at each step.

    Attributes:
        encoder: what pretraining is for.
        num_views: crops of each volume in a batch.
        intensity: whether the batch's intensities are to be augmented.
        overlap: least and largest share of a crop that its twin covers; None with one view.
    """

    encoder: Encoder
    num_views: int
    intensity: bool
    overlap: tuple[float, float] | None

    @abstractmethod
    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """The loss of this rank's part of the batch, and detached figures to look at.

        Args:
            batch: "image" (B, num_views, C, D, H, W), "valid" (B, num_views, 1, D, H, W),
                "body" of the same shape where it is known, "index" (B,) in the global batch,
                "patient" (B,).
            step: number of the optimiser step, from 0.

        Returns:
            "loss", a scalar in float32 with its graph. Its mean over ranks with equally large
            parts is the loss of the whole batch on one rank. Other scalars have no graph.
        """

    def export_state(self) -> dict[str, Tensor]:
        """Weights worth keeping, named as in a segmenter: encoder.* and trained decoder.*."""
        return {f"encoder.{key}": value for key, value in self.encoder.state_dict().items()}
