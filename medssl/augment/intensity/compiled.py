"""Calls of the compiled loops on tensors."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medssl import kernels

NO_LIMIT = 3e38
"""In place of infinity, which loops are not compiled for."""


def loops(image: Tensor) -> ctypes.CDLL | None:
    """The compiled loops, where there are any and the image lies where they can reach it."""
    return kernels.library() if image.device.type == "cpu" else None


def run(library: ctypes.CDLL, name: str, *arguments: Any) -> None:
    """Call `medssl_<name>`: contiguous tensors and arrays as pointers, numbers by their type.

    An int goes as int64_t, a float as float.
    """
    getattr(library, f"medssl_{name}")(*(_in_c(one) for one in arguments))


def copy_of(image: Tensor) -> Tensor:
    """The same values elsewhere. On the CPU numpy copies them: torch would start its threads."""
    if image.device.type != "cpu":
        return image.clone(memory_format=torch.contiguous_format)
    return torch.from_numpy(image.numpy().copy(order="C"))


def noise_key(generator: torch.Generator) -> int:
    """A key for one field of noise; the generator moves on, so that the next has another."""
    return int(torch.empty((), dtype=torch.int64).random_(generator=generator))


def _in_c(argument: Any) -> Any:
    if isinstance(argument, Tensor):
        assert argument.is_contiguous(), argument.stride()
        assert argument.dtype in (torch.float32, torch.bool), argument.dtype
        return ctypes.c_void_p(argument.data_ptr())
    if isinstance(argument, np.ndarray):
        assert argument.flags.c_contiguous, argument.strides
        assert argument.dtype in (np.float32, np.int32), argument.dtype
        return ctypes.c_void_p(argument.ctypes.data)
    return ctypes.c_float(argument) if isinstance(argument, float) else ctypes.c_int64(argument)
