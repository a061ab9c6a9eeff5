"""Steps whose loss or gradient is not finite: one is skipped, a second one ends the run."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from medssl.augment.batch import Batch, SampleSource
from medssl.errors import TrainingError

FORGIVEN_AFTER = 100
"""Steps after which a skipped one counts no more."""
_NAMED = 8


class Guard:
    """Counts the steps that were skipped; its state is in checkpoints.

    A single bad step is a damaged volume or an unlucky batch, and training goes on without it. A
    second one within `FORGIVEN_AFTER` steps says that training itself has diverged.
    """

    def __init__(self) -> None:
        self.skipped = 0
        self.last: int | None = None

    def skip(self, step: int, what: str, volumes: list[str]) -> str:
        """Note that `step` is skipped; a line for run.log.

        Args:
            what: "loss" or "gradient".
            volumes: volume_uid of the samples to suspect.

        Raises:
            TrainingError: another one was skipped less than `FORGIVEN_AFTER` steps ago.
        """
        before, self.last = self.last, step
        self.skipped += 1
        if before is not None and step - before < FORGIVEN_AFTER:
            shown = ", ".join(volumes[:_NAMED])
            more = len(volumes) - _NAMED
            raise TrainingError(
                f"the {what} is not finite at step {step}, in a batch of {shown}"
                f"{f' and {more} more (see run.log)' if more > 0 else ''}; step {before} was "
                "skipped for the same reason. Look at these volumes (medssl show); if they are "
                "sound, lower optim.lr or optim.clip_norm. Then begin with another --out"
            )
        return f"step {step} skipped: its {what} is not finite; batch of {', '.join(volumes)}"

    def state_dict(self) -> dict[str, Any]:
        return {"skipped": self.skipped, "last": self.last}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.skipped, self.last = state["skipped"], state["last"]


def suspects(source: SampleSource, batch: Batch, losses: Tensor) -> tuple[int, list[str]]:
    """Which of this process's samples may have spoilt a step, and how sure that is.

    Args:
        losses: (parts,) of the parts that the batch was worked off in.

    Returns:
        0 and the volumes of samples that hold numbers that are not finite; else 1 and those of the
        parts whose loss is not finite; else 2 and all of them.
    """
    volumes = source.volume_uids(batch)
    count = len(volumes)
    sound = torch.ones(count, dtype=torch.bool)
    for values in batch.values():
        if values.is_floating_point():
            sound &= values.isfinite().reshape(count, -1).all(dim=1).cpu()
    if not sound.all():
        return 0, _where(volumes, ~sound)
    spoilt = ~losses.isfinite().cpu().repeat_interleave(count // len(losses))
    return (1, _where(volumes, spoilt)) if spoilt.any() else (2, volumes)


def most_suspect(found: list[tuple[int, list[str]]]) -> list[str]:
    """The volumes of those processes that are surest."""
    surest = min(sure for sure, _ in found)
    return [uid for sure, volumes in found if sure == surest for uid in volumes]


def _where(volumes: list[str], chosen: Tensor) -> list[str]:
    return [uid for uid, is_chosen in zip(volumes, chosen.tolist(), strict=True) if is_chosen]
