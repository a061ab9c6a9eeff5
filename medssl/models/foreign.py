"""Weights of other projects, read under medssl's names.

FORMATS is all that is read. Nothing is guessed: a file is known by one tensor's name, and a file
of another network ends in an error that lists what is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from medssl.errors import CheckpointError
from medssl.models import foreign_names as names
from medssl.models.config import ModelConfig
from medssl.models.foreign_files import State, bundle_network, read_foreign_file


@dataclass(frozen=True)
class Format:
    """One kind of weights.

    Attributes:
        name: the project and its network.
        mark: the tensor that tells it from others, without wrappers' prefixes.
        beside: what the file must hold beside the weights as well; "": nothing.
        network: `model.name` of the network that takes the weights.
        rename: to medssl's names and axes; the encoder's tensors become encoder.*.
        describe: the network's configuration, where weights and file show all of it.
        hidden: settings of the project's network that weights do not show, and the values that
            medssl's network has; a bundle that says otherwise is refused.
    """

    name: str
    mark: str
    beside: str
    network: str
    rename: Callable[[State, Mapping[str, Any]], State]
    describe: Callable[[State, Mapping[str, Any]], ModelConfig | None]
    hidden: Mapping[str, tuple[Any, ...]]


FORMATS = (
    Format(
        "MONAI SegResNet",
        "convInit.conv.weight",
        "",
        "segresnet",
        names.segresnet,
        names.segresnet_config,
        {"norm": (("GROUP", {"num_groups": 8}),), "act": (("RELU", {"inplace": True}), "RELU")},
    ),
    Format(
        "nnssl ResEnc (OpenMind)",
        "encoder.stem.convs.0.conv.weight",
        "nnssl_adaptation_plan",
        "resenc",
        names.resenc,
        names.resenc_config,
        {},
    ),
    Format(
        "nnU-Net ResEnc",
        "encoder.stem.convs.0.conv.weight",
        "",
        "resenc",
        names.resenc,
        names.resenc_config,
        {},
    ),
    Format(
        "MONAI SwinUNETR",
        "swinViT.patch_embed.proj.weight",
        "",
        "swinunetr",
        names.swin,
        names.swin_config,
        {"norm_name": ("instance",), "normalize": (True,), "downsample": ("merging",)},
    ),
    Format(
        "MONAI Swin transformer (self-supervised)",
        "layers1.0.blocks.0.attn.relative_position_bias_table",
        "",
        "swinunetr",
        names.swin,
        names.swin_config,
        {},
    ),
    Format(
        "MedicalNet",
        "layer1.0.conv1.weight",
        "",
        "resnet",
        names.resnet,
        names.resnet_config,
        {},
    ),
    Format(
        "Models Genesis",
        "down_tr64.ops.0.conv1.weight",
        "",
        "genesis",
        names.genesis,
        names.genesis_config,
        {},
    ),
)

# Known well enough to say so, by a tensor's name; medssl has no such network.
UNREAD = {
    # Two versions of it order the tokens of one grid differently, and files do not say which:
    # github.com/MIC-DKFZ/dynamic-network-architectures/pull/13
    "eva.pos_embed": "Primus (a vision transformer of nnssl)",
    "patch_embedding.position_embeddings": "MONAI's ViT, with learned positions",
    "vit.patch_embedding.position_embeddings": "MONAI's UNETR, with learned positions",
    "encoder.stages.0.0.convs.0.conv.weight": "nnU-Net's plain U-Net (PlainConvUNet)",
}


@dataclass(frozen=True)
class ForeignWeights:
    """What a file holds.

    Attributes:
        format: which of FORMATS.
        state: its tensors by medssl's names; those without a counterpart keep their own.
        model: the network's configuration; None where the file does not show all of it.
    """

    format: Format
    state: dict[str, Tensor]
    model: ModelConfig | None


def read_foreign(path: Path) -> ForeignWeights:
    """Read a file of one of FORMATS.

    Raises:
        CheckpointError: the file is damaged or unsafe, or its network is none that medssl has; the
            message then lists what is read.
    """
    state, rest = read_foreign_file(path)
    known = next((f for f in FORMATS if f.mark in state and f.beside in ("", *rest)), None)
    if known is None:
        raise CheckpointError(f"{path} {_unknown(state)}; read are: {_all_read()}")
    _check_hidden(path, known)
    try:
        model = known.describe(state, rest)
        return ForeignWeights(known, known.rename(state, rest), model)
    except CheckpointError as error:
        raise CheckpointError(f"{path} ({known.name}): {error}") from error


def _unknown(state: State) -> str:
    for mark, network in UNREAD.items():
        if mark in state:
            return f"is of {network}, a network that medssl does not have"
    return f"is of no network that medssl knows: its first tensor is {next(iter(state))}"


def _all_read() -> str:
    listed = [f"{format_.name} (model.name: {format_.network})" for format_ in FORMATS]
    return ", ".join([*listed, "and medssl's own safetensors"])


def _check_hidden(path: Path, known: Format) -> None:
    """Weights fit a network with another norm or activation as well, and would be wrong in it."""
    described = bundle_network(path)
    for key, allowed in known.hidden.items():
        value = _plain(described.get(key))
        expression = isinstance(value, str) and value.startswith(("$", "@"))
        if value is not None and not expression and value not in [_plain(v) for v in allowed]:
            raise CheckpointError(
                f"{path} ({known.name}): its bundle sets {key} to {value!r}, medssl's network has "
                f"{allowed[0]!r}; the same weights would compute something else"
            )


def _plain(value: Any) -> Any:
    """Lists for tuples, upper case for the names of layers: MONAI takes either."""
    if isinstance(value, str):
        return value.upper() if not value.startswith(("$", "@")) else value
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value
