"""Names, settings and axes of other projects' networks, as medssl has them.

Each function takes weights under the names that their network gave them (`foreign_files`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from medssl.errors import CheckpointError
from medssl.models.config import ModelConfig, SegResNetConfig

State = dict[str, Tensor]

_SEGRESNET = (
    (r"^convInit\.conv\.", "encoder.stem."),
    (r"^down_layers\.", "encoder.levels."),
    (r"^up_samples\.", "decoder.ups."),
    (r"^up_layers\.", "decoder.levels."),
    (r"^conv_final\.0\.", "decoder.final.0."),
    (r"^conv_final\.2\.conv\.", "head."),
)


def segresnet(state: State, rest: Mapping[str, Any]) -> State:
    """MONAI's SegResNet: the same parts, but for the stem's wrapper and the last convolution."""
    return _renamed(state, _SEGRESNET)


def segresnet_config(state: State, rest: Mapping[str, Any]) -> ModelConfig | None:
    """Widths and blocks as the weights show them."""
    _require_3d(state["convInit.conv.weight"])
    down = _counted(state, r"^down_layers\.(\d+)\.\d+\.conv1\.conv\.weight$")
    up = _counted(state, r"^up_layers\.(\d+)\.\d+\.conv1\.conv\.weight$")
    return SegResNetConfig(
        init_filters=state["convInit.conv.weight"].shape[0],
        blocks_down=tuple(down),
        blocks_up=up[0] if up else 1,
    )


def _renamed(state: State, rules: tuple[tuple[str, str], ...]) -> State:
    """Each name by the first rule that fits it; others keep theirs."""
    renamed = {}
    for name, tensor in state.items():
        for pattern, replacement in rules:
            new, times = re.subn(pattern, replacement, name)
            if times:
                break
        else:
            new = name
        renamed[new] = tensor
    return renamed


def _counted(state: State, pattern: str) -> list[int]:
    """How many names fit, for each value 0, 1, ... of the pattern's group."""
    found = [int(match[1]) for name in state if (match := re.match(pattern, name))]
    return [found.count(i) for i in range(max(found, default=-1) + 1)]


def _require_3d(weight: Tensor) -> None:
    if weight.ndim != 5:
        raise CheckpointError(
            f"its first convolution is {weight.ndim - 2}D; medssl's networks are 3D"
        )


Reader = Callable[[State, Mapping[str, Any]], State]
Describer = Callable[[State, Mapping[str, Any]], ModelConfig | None]
