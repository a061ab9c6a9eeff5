"""Numbers from the CPU on the device that an image is on."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor


def on_device(numbers: npt.NDArray[Any], device: torch.device) -> Tensor:
    """A tensor of the numbers; a GPU gets them from pinned memory, so that nobody waits for it."""
    tensor = torch.from_numpy(numbers)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
