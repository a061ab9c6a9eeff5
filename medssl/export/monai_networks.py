"""medssl's networks as MONAI's own classes, where the weights map one to one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from medssl.export.finetuned import Finetuned
from medssl.models.config import ResNetConfig, SegResNetConfig, SwinUNETRConfig

_SEGRESNET = {
    "encoder.stem.": "convInit.conv.",
    "encoder.levels.": "down_layers.",
    "decoder.ups.": "up_samples.",
    "decoder.levels.": "up_layers.",
    "decoder.final.": "conv_final.",
    "head.": "conv_final.2.conv.",
}
_SWINUNETR = {"encoder.": "", "decoder.": "", "head.": "out.conv.conv."}
_RESNET = {"encoder.": "", "head.": "fc."}


@dataclass(frozen=True)
class MonaiNetwork:
    """A class of MONAI's, its arguments and its weights."""

    definition: dict[str, Any]
    state: dict[str, Tensor]


def as_monai_network(finetuned: Finetuned) -> MonaiNetwork | None:
    """MONAI's network that computes the same; None where MONAI has none."""
    if not finetuned.is_plain:
        return None
    model, outputs = finetuned.model, len(finetuned.outputs)
    segments = finetuned.task == "segmentation"
    if isinstance(model, SegResNetConfig) and segments and _halves(finetuned, model):
        groups = 8 if model.init_filters % 8 == 0 else 4
        definition = {
            "_target_": "SegResNet",
            "spatial_dims": 3,
            "init_filters": model.init_filters,
            "in_channels": 1,
            "out_channels": outputs,
            "norm": ["GROUP", {"num_groups": groups}],
            "blocks_down": list(model.blocks_down),
            "blocks_up": [model.blocks_up] * (len(model.blocks_down) - 1),
        }
        return MonaiNetwork(definition, _renamed(finetuned, _SEGRESNET))
    if isinstance(model, SwinUNETRConfig) and segments:
        definition = {
            "_target_": "SwinUNETR",
            "in_channels": 1,
            "out_channels": outputs,
            "feature_size": model.feature_size,
        }
        return MonaiNetwork(definition, _renamed(finetuned, _SWINUNETR))
    if isinstance(model, ResNetConfig) and model.norm == "batch":
        from monai.networks.nets.resnet import get_medicalnet_pretrained_resnet_args

        from medssl.models.resnet import BLOCKS, WIDTHS

        bias, shortcut = get_medicalnet_pretrained_resnet_args(model.depth)
        definition = {
            "_target_": "ResNet",
            "block": "bottleneck" if model.depth == 50 else "basic",
            "layers": list(BLOCKS[model.depth]),
            "block_inplanes": list(WIDTHS),
            "n_input_channels": 1,
            "conv1_t_stride": model.conv1_stride,
            "shortcut_type": shortcut,
            "bias_downsample": bias,
            "num_classes": outputs,
        }
        return MonaiNetwork(definition, _renamed(finetuned, _RESNET))
    return None


def _halves(finetuned: Finetuned, model: SegResNetConfig) -> bool:
    """Whether each level halves the patch whole; MONAI's decoder takes no other."""
    steps = 2 ** (len(model.blocks_down) - 1)
    return all(side % steps == 0 for side in finetuned.patch)


def _renamed(finetuned: Finetuned, names: dict[str, str]) -> dict[str, Tensor]:
    renamed = {}
    for name, tensor in finetuned.network.state_dict().items():
        ours = next(prefix for prefix in names if name.startswith(prefix))
        renamed[names[ours] + name.removeprefix(ours)] = tensor
    return renamed
