"""What the step loop knows of a pretraining method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from medssl.augment.batch import Batch
from medssl.models.encoder import Encoder


@dataclass(frozen=True)
class Pictures:
    """One patch a sample, each (B, C, D, H, W) float32: what goes in, what comes out, the truth.

    Attributes:
        shown: the network's input, hidden voxels as NaN.
        output: its answer, in the units of `target`.
        target: what it should have been.
    """

    shown: Tensor
    output: Tensor
    target: Tensor


class Method(nn.Module, ABC):
    """A network with its pretraining loss.

    Constructed as `METHODS[name](config, model_config, in_channels, patch_size, seed)`; initial
    weights come from torch's generator, which the engine seeds, and `seed` keys what the method
    draws at each step.

    Attributes:
        encoder: what pretraining is for.
        num_views: crops of each volume in a batch.
        intensity: whether the batch's intensities are to be augmented.
        clean: whether the batch also holds the patches as they were before that.
        overlap: least and largest share of a crop that its twin covers; None with one view.
    """

    encoder: Encoder
    num_views: int
    intensity: bool
    clean: bool = False
    overlap: tuple[float, float] | None

    @abstractmethod
    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """The loss of this rank's part of the batch, and detached figures to look at.

        Args:
            batch: "image" (B, num_views, C, D, H, W), "valid" (B, num_views, 1, D, H, W),
                "body" of the same shape where it is known, "clean" (as "image") if asked for,
                "index" (B,) in the global batch, "patient" (B,), "map", "modality" and the rest of
                `medssl.augment.batch.Batch`.
            step: number of the optimiser step, from 0.

        Returns:
            "loss", a scalar in float32 with its graph. Its mean over ranks with equally large
            parts is the loss of the whole batch on one rank. Other scalars have no graph.
        """

    def after_step(self, step: int, steps: int) -> None:
        """Whatever follows a step that the optimiser took: a teacher's average, a queue.

        Called on every rank, without gradients, once an optimiser step, however many parts the
        batch was worked off in, and not at all where the step was skipped. All that it changes is
        in buffers or parameters, and so in checkpoints.

        Args:
            step: the step just taken, from 0.
            steps: how many the run has.
        """

    def pictures(self, batch: Batch, step: int) -> Pictures | None:
        """What the method makes of a batch, for a person to look at; None: nothing to see.

        Called without gradients, in evaluation mode, on the leading rank alone: it may not talk to
        other ranks.
        """
        return None

    @property
    def trained_decoder(self) -> nn.Module | None:
        """The decoder of a segmenter that this method trains besides; None: there is none."""
        return None

    def export_state(self) -> dict[str, Tensor]:
        """Weights worth keeping, named as in a segmenter: encoder.* and trained decoder.*."""
        state = {f"encoder.{key}": value for key, value in self.encoder.state_dict().items()}
        if self.trained_decoder is not None:
            decoder = self.trained_decoder.state_dict()
            state |= {f"decoder.{key}": value for key, value in decoder.items()}
        return state
