"""A teacher whose weights are a moving average of a student's.

Tarvainen and Valpola, Mean teachers are better role models, 2017; in self-supervision He et al.,
Momentum contrast, 2020, section 3.2, and Grill et al., BYOL, 2020, section 3.1.
"""

from __future__ import annotations

import copy
import math
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def teacher_of(student: M) -> M:
    """A copy that no gradient reaches."""
    teacher = copy.deepcopy(student)
    teacher.requires_grad_(False)
    return teacher


def cosine_momentum(first: float, step: int, steps: int) -> float:
    """From `first` at step 0 up half a cosine to 1 at the end (Grill et al. 2020, section 3.2)."""
    return 1 - (1 - first) * (math.cos(math.pi * step / steps) + 1) / 2


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """teacher = momentum * teacher + (1 - momentum) * student; buffers are copied."""
    torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 1 - momentum)
    for theirs, own in zip(teacher.buffers(), student.buffers(), strict=True):
        theirs.copy_(own)
