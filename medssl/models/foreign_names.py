"""Names, settings and axes of other projects' networks, as medssl has them.

Each function takes weights under the names that their network gave them (`foreign_files`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from medssl.errors import CheckpointError
from medssl.models.config import (
    GenesisConfig,
    ModelConfig,
    PatchSize,
    ResEncConfig,
    ResNetConfig,
    SegResNetConfig,
    SwinUNETRConfig,
)

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


# nnU-Net's library names each convolution and each norm twice; medssl has the second names alone.
_SECOND_NAMES = (
    (r"\.conv\.(weight|bias)$", r".all_modules.0.\1"),
    (r"\.norm\.", ".all_modules.1."),
)

_RESENC_L = (1, 2, 2, 2, 2, 2)


def resenc(state: State, rest: Mapping[str, Any]) -> State:
    """nnU-Net's ResEnc: names told once, the last segmentation layer as head, axes as medssl's.

    nnU-Net's arrays are the reverse of medssl's (right, front, top), and may be transposed by its
    plan on top of that; kernels are turned accordingly.
    """
    own = {name: t for name, t in state.items() if not name.startswith("decoder.encoder.")}
    firsts = {re.sub(r"\.(conv|norm)\.(weight|bias)$", "", name) for name in own} - set(own)
    twice = [n for n in own if (cut := n.partition(".all_modules."))[1] and cut[0] in firsts]
    own = _renamed({name: t for name, t in own.items() if name not in twice}, _SECOND_NAMES)
    layers = _counted(own, r"^decoder\.seg_layers\.(\d+)\.weight$")
    last = f"decoder.seg_layers.{len(layers) - 1}."
    order = medssl_axes(transposition(rest))
    return {
        name.replace(last, "head."): t.permute(0, 1, *(2 + axis for axis in order))
        if t.ndim == 5
        else t
        for name, t in own.items()
    }


def resenc_config(state: State, rest: Mapping[str, Any]) -> ModelConfig | None:
    """Widths and blocks as the weights show them, strides as decoder or plan show them."""
    _require_3d(state["encoder.stem.convs.0.conv.weight"])
    blocks = _counted(state, r"^encoder\.stages\.(\d+)\.blocks\.\d+\.conv1\.conv\.weight$")
    first = [state[f"encoder.stages.{i}.blocks.0.conv1.conv.weight"] for i in range(len(blocks))]
    kernels = {tuple(weight.shape[2:]) for weight in first}
    if kernels != {(3, 3, 3)}:
        raise CheckpointError(
            f"its kernels are {sorted(kernels)}; medssl's resenc has kernels of 3x3x3 alone"
        )
    strides = _strides(state, rest, len(blocks))
    if strides is None:
        return None
    order = medssl_axes(transposition(rest))
    return ResEncConfig(
        features_per_stage=tuple(weight.shape[0] for weight in first),
        n_blocks_per_stage=tuple(blocks),
        strides=tuple((s[order[0]], s[order[1]], s[order[2]]) for s in strides),
    )


def _strides(state: State, rest: Mapping[str, Any], stages: int) -> list[PatchSize] | None:
    """Of every stage in the file's own axes; None where nothing in it tells."""
    ups = [state.get(f"decoder.transpconvs.{i}.weight") for i in reversed(range(stages - 1))]
    shown = [(t.shape[2], t.shape[3], t.shape[4]) for t in ups if t is not None]
    if len(shown) == stages - 1:
        # A transposed convolution up enlarges by its kernel what a stage made smaller.
        return [(1, 1, 1), *shown]
    planned = _architecture(rest)
    if planned.get("arch_class_name") == "ResEncL" and stages == len(_RESENC_L):
        return [(n, n, n) for n in _RESENC_L]
    given = (planned.get("arch_kwargs") or {}).get("strides")
    if given is None:
        return None
    return [(n, n, n) if isinstance(n, int) else (n[0], n[1], n[2]) for n in given]


def _architecture(rest: Mapping[str, Any]) -> dict[str, Any]:
    """The network as the adaptation plan of nnssl, or the plans of nnU-Net, tell of it."""
    adaptation = rest.get("nnssl_adaptation_plan")
    if adaptation:
        return dict(adaptation.get("architecture_plans") or {})
    begun = rest.get("init_args") or {}
    configurations = (begun.get("plans") or {}).get("configurations") or {}
    return dict((configurations.get(begun.get("configuration")) or {}).get("architecture") or {})


# The stages' own names, then the names that the published self-supervised weights have.
_SWIN = (
    (r"^(patch_embed|layers[1-4])\.", r"encoder.swinViT.\1."),
    (r"^swinViT\.", "encoder.swinViT."),
    (r"^(encoder[1-4]|encoder10|decoder[1-5])\.", r"decoder.\1."),
    (r"^out\.conv\.conv\.", "head."),
)
_SWIN_MLP = ((r"\.mlp\.fc([12])\.", r".mlp.linear\1."),)
_SWIN_HEADS = (3, 6, 12, 24)
_SWIN_OFFSETS = 13**3  # differences of position within a window of 7^3 tokens


def swin(state: State, rest: Mapping[str, Any]) -> State:
    """MONAI's Swin UNETR, or the Swin transformer alone as self-supervised training leaves it."""
    return _renamed(_renamed(state, _SWIN), _SWIN_MLP)


def swin_config(state: State, rest: Mapping[str, Any]) -> ModelConfig | None:
    """The width; all else has to be as published."""
    ours = swin(state, rest)
    tokens = ours["encoder.swinViT.patch_embed.proj.weight"]
    _require_3d(tokens)
    attention = "encoder.swinViT.layers{}.0.blocks.{}.attn.relative_position_bias_table"
    tables = [ours.get(attention.format(stage, block)) for stage in range(1, 5) for block in (0, 1)]
    expected = [(_SWIN_OFFSETS, heads) for heads in _SWIN_HEADS for _ in (0, 1)]
    if (
        [t if t is None else tuple(t.shape) for t in tables] != expected
        or any(".blocks.2." in name for name in ours if ".layers" in name)
        or any("layers1c." in name for name in ours)
        or tuple(tokens.shape[2:]) != (2, 2, 2)
    ):
        raise CheckpointError(
            "medssl's swinunetr has tokens of 2x2x2 voxels, two blocks a stage, windows of 7 and "
            f"{_SWIN_HEADS} heads, as published (no V2), and this one differs"
        )
    return SwinUNETRConfig(feature_size=tokens.shape[0])


def resnet(state: State, rest: Mapping[str, Any]) -> State:
    """MedicalNet's names are medssl's."""
    return _renamed(state, ((r"^(conv1|bn1|layer[1-4])\.", r"encoder.\1."),))


def resnet_config(state: State, rest: Mapping[str, Any]) -> ModelConfig | None:
    """The depth by its blocks; MedicalNet's first convolution steps by two."""
    _require_3d(state["conv1.weight"])
    counts = _counted(state, r"^layer(\d)\.\d+\.conv1\.weight$")[1:]
    bottleneck = "layer1.0.conv3.weight" in state
    for depth, blocks in ((10, [1, 1, 1, 1]), (18, [2, 2, 2, 2]), (34, [3, 4, 6, 3])):
        if counts == blocks and not bottleneck:
            return ResNetConfig(depth=depth, norm="batch", conv1_stride=2)
    if counts == [3, 4, 6, 3]:
        return ResNetConfig(depth=50, norm="batch", conv1_stride=2)
    raise CheckpointError(
        f"its layers have {counts} blocks; medssl's resnet has the depths 10, 18, 34 and 50"
    )


_GENESIS = (
    (r"^down_", "encoder.down_"),
    (r"^up_", "decoder.up_"),
    (r"^out_tr\.final_conv\.", "head."),
)


def genesis(state: State, rest: Mapping[str, Any]) -> State:
    """The names of Models Genesis are medssl's."""
    return _renamed(state, _GENESIS)


def genesis_config(state: State, rest: Mapping[str, Any]) -> ModelConfig | None:
    """The width."""
    _require_3d(state["down_tr64.ops.0.conv1.weight"])
    return GenesisConfig(width=state["down_tr64.ops.0.conv1.weight"].shape[0])


def transposition(rest: Mapping[str, Any]) -> tuple[int, int, int]:
    """How the plan that a file holds transposes images before the network sees them."""
    adaptation = rest.get("nnssl_adaptation_plan") or {}
    plans = adaptation.get("pretrain_plan") or (rest.get("init_args") or {}).get("plans") or {}
    forward = plans.get("transpose_forward") or (0, 1, 2)
    return forward[0], forward[1], forward[2]


def medssl_axes(transpose_forward: tuple[int, int, int]) -> tuple[int, int, int]:
    """For medssl's axes (right, front, top): which of nnU-Net's axes each one is.

    nnU-Net reads images as (z, y, x) and then takes axis transpose_forward[k] as its k-th.
    """
    right, front, top = (transpose_forward.index(2 - axis) for axis in range(3))
    return right, front, top


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
