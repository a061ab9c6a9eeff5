"""A ResEnc encoder as a checkpoint that nnU-Net fine-tunes, with the plan to do it by.

The checkpoint holds a whole ResidualEncoderUNet, since `nnUNetv2_train -pretrained_weights` wants
every tensor but the segmentation layers; and nnssl's adaptation plan (Wald et al., An OpenMind for
3D medical vision self-supervised learning, 2024), which nnU-Net's commands for nnssl read.

nnU-Net sees images as (z, y, x), transposed by its plan; medssl's patches run to the right, to the
front and to the top. Kernels, strides, patch and spacing are turned, so that a filter meets the
same axis of the body there. Its direction may be another one: nnU-Net keeps the order in which a
file stores its voxels.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from medssl.errors import CheckpointError, ConfigError
from medssl.export.nnunet_plans import (
    CONFIGURATION,
    STEM,
    Pretrained,
    adaptation_plan,
    adapted_plans,
    network_settings,
    nnunet_axes,
    read_plans,
    turned,
)
from medssl.export.place import check_place
from medssl.models.config import PatchSize, ResEncConfig, model_from_json
from medssl.models.pretrained import weights_file
from medssl.models.weights import fitted_stem, read_metadata, read_weights
from medssl.store.writer import write_atomically


@dataclass(frozen=True)
class NnunetExport:
    """What was written.

    Attributes:
        plans: the plan for the target dataset; None where no plan of nnU-Net's was given.
        decoder: whether the decoder is pretrained too; else it is drawn anew.
        spacing_known: whether the plan has pretraining's spacing; else it keeps the target's.
    """

    checkpoint: Path
    plans: Path | None
    decoder: bool
    spacing_known: bool

    def lines(self) -> list[str]:
        """What it is, and what to run next."""
        decoder = "pretrained" if self.decoder else "new (pretraining trained none)"
        lines = [f"checkpoint: {self.checkpoint}; encoder pretrained, decoder {decoder}"]
        if self.plans is None:
            return [*lines, "no --plans given: nnU-Net's own plan has to have this very network"]
        name, dataset = self.plans.stem, _number(self.plans.parent.name)
        spacing = "pretraining's spacing" if self.spacing_known else "the target's own spacing"
        return [
            *lines,
            f"plan:       {self.plans}; {spacing}",
            f"next:       nnUNetv2_preprocess -d {dataset} -plans_name {name} -c {CONFIGURATION}",
            f"            nnUNetv2_train {dataset} {CONFIGURATION} 0 -p {name} "
            f"-pretrained_weights {self.checkpoint}",
        ]


def export_nnunet(run: Path, out: Path, plans: Path | None = None) -> NnunetExport:
    """Write `out`, and beside `plans` the plan medssl_<name of out>.json.

    Args:
        run: folder of a pretraining (or fine-tuning) run of a resenc, or its safetensors file.
        out: checkpoint to write, such as encoder.pth.
        plans: a plan that nnU-Net made for the target dataset; network, patch, spacing and CT
            normalisation are pretraining's in the new one, all else stays. Where the target has
            several input channels, the first kernel is spread over them.

    Raises:
        ConfigError: the run's network is no resenc, `plans` is no plan with 3d_fullres, or
            nothing can be written at `out`.
        CheckpointError: there are no weights, or they do not say what they fit.
    """
    check_place(out)
    weights = weights_file(run)
    about = read_metadata(weights)
    config = _resenc(weights, about)
    state = {name: t for name, t in read_weights(weights).items() if not name.startswith("head.")}
    target = None if plans is None else read_plans(plans)
    transpose, channels = (0, 1, 2), int(about.get("in_channels", "1"))
    if target is not None:
        first, second, third = target["transpose_forward"]
        transpose = (first, second, third)
        channels = len(target["configurations"][CONFIGURATION]["normalization_schemes"])
    order = nnunet_axes(transpose)
    d, h, w = json.loads(about["patch_size"])
    pretrained = Pretrained(
        settings=network_settings(config, order),
        channels=channels,
        patch=turned((d, h, w), order),
        spacing=_spacing(weights, order),
        transpose=transpose,
    )
    network = _network(pretrained, state, order)
    _write_checkpoint(
        out,
        {
            "network_weights": network.state_dict(),
            "citations": [],
            "nnssl_adaptation_plan": adaptation_plan(pretrained),
            "medssl": {key: about.get(key, "") for key in ("weights_sha256", "method", "step")},
        },
    )
    written = None
    if plans is not None and target is not None:
        written = plans.with_name(f"medssl_{out.stem}.json")
        adapted = adapted_plans(target, written.stem, pretrained)
        write_atomically(written, json.dumps(adapted, indent=4) + "\n")
    decoder = any(name.startswith("decoder.") for name in state)
    return NnunetExport(out, written, decoder, pretrained.spacing is not None)


def _resenc(weights: Path, about: dict[str, str]) -> ResEncConfig:
    if "model" not in about or "patch_size" not in about:
        raise CheckpointError(
            f"{weights} does not say its network and patch; export a run of medssl"
        )
    config = model_from_json(about["model"])
    if not isinstance(config, ResEncConfig):
        raise ConfigError(
            f"{weights} is a {config.name}, which nnU-Net does not have; pretrain with model.name: "
            "resenc"
        )
    return config


def _network(pretrained: Pretrained, state: dict[str, Tensor], order: PatchSize) -> nn.Module:
    """nnU-Net's network with these weights; what they lack is drawn as nnU-Net draws it."""
    from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet

    classes = {"conv_op": nn.Conv3d, "norm_op": nn.InstanceNorm3d, "nonlin": nn.LeakyReLU}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network: nn.Module = ResidualEncoderUNet(
            input_channels=pretrained.channels,
            num_classes=2,
            **{**pretrained.settings, **classes},
        )
        network.apply(ResidualEncoderUNet.initialize)
    kernels = {
        name: t.permute(0, 1, *(2 + axis for axis in order)) if t.ndim == 5 else t
        for name, t in state.items()
    }
    stem = f"{STEM}.all_modules.0.weight"
    kernels[stem] = fitted_stem(kernels[stem], pretrained.channels)
    # Missing are the second names of the same tensors, and what was not pretrained.
    unexpected = network.load_state_dict(kernels, strict=False).unexpected_keys
    assert not unexpected, unexpected
    return network


def _spacing(weights: Path, order: PatchSize) -> list[float] | None:
    """Millimetres along nnU-Net's axes; None where the run kept each scan's own or is unknown."""
    config = weights.parent.parent / "config.yaml"
    if not config.is_file():
        return None
    given = yaml.safe_load(config.read_text(encoding="utf-8"))["augment"]["patch"]["spacing_mm"]
    if given is None:
        return None
    along = [float(n) for n in (given if isinstance(given, list) else [given] * 3)]
    return [along[axis] for axis in order]


def _write_checkpoint(out: Path, content: dict[str, Any]) -> None:
    written = io.BytesIO()
    torch.save(content, written)
    write_atomically(out, written.getvalue())


def _number(dataset: str) -> str:
    """nnU-Net's own: Dataset042_Hippocampus is 42."""
    digits = dataset.removeprefix("Dataset")[:3]
    return str(int(digits)) if digits.isdigit() else dataset
