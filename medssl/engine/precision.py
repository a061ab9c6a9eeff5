"""bf16 where the device multiplies it in hardware."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal

import torch

Precision = Literal["auto", "fp32", "bf16"]


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """The context in which a network's forward pass is to run."""
    wanted = precision == "bf16" or (precision == "auto" and _has_bf16(device))
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted)


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # AMX and AVX-512 BF16; older processors emulate bf16 and are slower with it than without.
    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(able.get("amx_bf16") or able.get("avx512_bf16"))
