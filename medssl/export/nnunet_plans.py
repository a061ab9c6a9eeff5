"""Plans: how nnU-Net, and nnssl beside its weights, write down a network and what it takes."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medssl.augment.normalise import HU_RANGE
from medssl.errors import ConfigError
from medssl.models.config import PatchSize, ResEncConfig

CONFIGURATION = "3d_fullres"
STEM = "encoder.stem.convs.0"

_NETWORK = "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet"
_IMPORTED = ["conv_op", "norm_op", "dropout_op", "nonlin"]


@dataclass(frozen=True)
class Pretrained:
    """What a plan tells of an encoder, along nnU-Net's axes.

    Attributes:
        settings: the network's arguments, classes by their full names.
        channels: input channels.
        patch: voxels of pretraining's patches.
        spacing: millimetres between them; None where each scan's own was kept, or it is unknown.
        transpose: the plan's transpose_forward.
    """

    settings: dict[str, Any]
    channels: int
    patch: PatchSize
    spacing: list[float] | None
    transpose: PatchSize


def nnunet_axes(transpose_forward: PatchSize) -> PatchSize:
    """For nnU-Net's axes, transposed by a plan: which of medssl's axes each one is."""
    first, second, third = (2 - axis for axis in transpose_forward)
    return first, second, third


def turned(along: PatchSize, order: PatchSize) -> PatchSize:
    """Numbers along medssl's axes, along nnU-Net's."""
    return along[order[0]], along[order[1]], along[order[2]]


def network_settings(config: ResEncConfig, order: PatchSize) -> dict[str, Any]:
    """The arguments of the network as plans write them, with classes by their full names."""
    stages = len(config.features_per_stage)
    return {
        "n_stages": stages,
        "features_per_stage": list(config.features_per_stage),
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[3, 3, 3] for _ in range(stages)],
        "strides": [list(turned(stride, order)) for stride in config.stage_strides],
        "n_blocks_per_stage": list(config.n_blocks_per_stage),
        "n_conv_per_stage_decoder": [1] * (stages - 1),
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }


def read_plans(plans: Path) -> dict[str, Any]:
    """A plan that nnU-Net made for a dataset.

    Raises:
        ConfigError: it is none, or has no 3d_fullres.
    """
    try:
        values = json.loads(plans.read_text(encoding="utf-8"))
        values["configurations"][CONFIGURATION]["normalization_schemes"]
        values["transpose_forward"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{plans} is no plan of nnU-Net's with {CONFIGURATION}; nnUNetv2_plan_experiment "
            "writes one to nnUNet_preprocessed/DATASET/"
        ) from error
    return dict(values)


def adapted_plans(target: dict[str, Any], name: str, pretrained: Pretrained) -> dict[str, Any]:
    """The target's plan under another name, with pretraining's network, patch and spacing.

    CT is normalised as medssl does it; nnU-Net's z-score of other images stays.
    """
    plans = deepcopy(target)
    plans["plans_name"] = name
    planned = plans["configurations"][CONFIGURATION]
    plans["configurations"] = {CONFIGURATION: planned}
    planned["data_identifier"] = f"{name}_{CONFIGURATION}"
    planned["patch_size"] = list(pretrained.patch)
    planned["architecture"] = {
        "network_class_name": _NETWORK,
        "arch_kwargs": pretrained.settings,
        "_kw_requires_import": _IMPORTED,
    }
    if pretrained.spacing is not None:
        sides = zip(
            planned["median_image_size_in_voxels"],
            planned["spacing"],
            pretrained.spacing,
            strict=True,
        )
        planned["median_image_size_in_voxels"] = [size * old / new for size, old, new in sides]
        planned["spacing"] = pretrained.spacing
    low, high = HU_RANGE
    measured = plans["foreground_intensity_properties_per_channel"]
    for channel, scheme in enumerate(planned["normalization_schemes"]):
        if scheme == "CTNormalization":
            # Clip to the range, subtract the mean, divide by std: medssl's own, in these words.
            measured[str(channel)] |= {
                "percentile_00_5": low,
                "percentile_99_5": high,
                "mean": (low + high) / 2,
                "std": (high - low) / 2,
            }
    return plans


def adaptation_plan(pretrained: Pretrained) -> dict[str, Any]:
    """What nnssl writes beside its weights; numbers and text alone."""
    spacing, channels = pretrained.spacing, pretrained.channels
    style = "noresample" if spacing is None else "onemmiso" if set(spacing) == {1.0} else "fixed"
    resampling = {"order_z": 0, "force_separate_z": None}
    configuration = {
        "data_identifier": f"medssl_{style}",
        "preprocessor_name": "DefaultPreprocessor",
        "spacing_style": style,
        "normalization_schemes": ["ZScoreNormalization"] * channels,
        "use_mask_for_norm": [False] * channels,
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, **resampling},
        "resampling_fn_mask": "resample_data_or_seg_to_shape",
        "resampling_fn_mask_kwargs": {"is_seg": True, "order": 1, **resampling},
        "spacing": spacing,
        "patch_size": list(pretrained.patch),
    }
    return {
        "architecture_plans": {
            "arch_class_name": _NETWORK,
            "arch_kwargs": pretrained.settings,
            "arch_kwargs_requiring_import": _IMPORTED,
        },
        "pretrain_plan": {
            "dataset_name": "medssl",
            "plans_name": "medssl",
            "original_median_spacing_after_transp": spacing or [1.0, 1.0, 1.0],
            "image_reader_writer": "SimpleITKIO",
            "transpose_forward": list(pretrained.transpose),
            "transpose_backward": [pretrained.transpose.index(axis) for axis in range(3)],
            "configurations": {style: configuration},
            "experiment_planner_used": "medssl",
        },
        "pretrain_num_input_channels": channels,
        "recommended_downstream_patchsize": list(pretrained.patch),
        "key_to_encoder": "encoder.stages",
        "key_to_stem": "encoder.stem",
        "keys_to_in_proj": [f"{STEM}.conv", f"{STEM}.all_modules.0"],
        "key_to_lpe": None,
    }
