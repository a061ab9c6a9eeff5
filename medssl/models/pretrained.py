"""A pretrained encoder as it comes out of a run: which file, which network, which weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from medssl.errors import CheckpointError, ConfigError
from medssl.models.build import build_encoder
from medssl.models.config import ModelConfig, PatchSize, model_from_json
from medssl.models.encoder import Encoder
from medssl.models.weights import load_encoder, read_metadata, weights_sha256

# In the order of preference: what pretraining writes, and what fine-tuning writes; then where a
# MONAI bundle keeps its weights.
_WEIGHTS_OF_A_FOLDER = (
    "checkpoints/encoder.safetensors",
    "checkpoints/model.safetensors",
    "models/model.pt",
)


@dataclass(frozen=True)
class Pretrained:
    """An encoder that only answers. It is no part of a module that has this as an attribute.

    Attributes:
        encoder: in evaluation mode, and without gradients.
        sha256: of its weights, as `weights_sha256` counts.
    """

    encoder: Encoder
    sha256: str


def weights_file(init: Path) -> Path:
    """The weights of a run's folder or of a MONAI bundle's; a file stands for itself.

    Raises:
        CheckpointError: there are none.
    """
    if init.is_file():
        return init
    for name in _WEIGHTS_OF_A_FOLDER:
        if (init / name).is_file():
            return init / name
    raise CheckpointError(
        f"no weights in {init}: a finished run's folder, a .safetensors file, or another "
        "project's weights (a file, or a MONAI bundle's folder) is expected"
    )


def described_model(path: Path) -> ModelConfig | None:
    """The network that a file of weights says it is of; None where it does not say.

    Raises:
        CheckpointError: it names a network that this medssl does not know.
    """
    described = read_metadata(path).get("model")
    if described is None:
        return None
    try:
        return model_from_json(described)
    except ValidationError as error:
        raise CheckpointError(f"{path} is of a network that this medssl does not know") from error


def load_pretrained(init: Path, in_channels: int, patch_size: PatchSize) -> Pretrained:
    """The encoder of a finished run, for patches of this size.

    Where it was trained on another number of channels its stem is fitted, as by `load_encoder`.

    Raises:
        CheckpointError: there are no weights, they do not say which network they are of, or not
            all of the encoder's are there.
        ConfigError: patches of `patch_size` do not suit the network.
    """
    path = weights_file(init)
    model = described_model(path)
    if model is None:
        raise CheckpointError(
            f"{path} does not say which network it is of; name a run's folder or a .safetensors "
            "file that medssl wrote"
        )
    try:
        encoder = build_encoder(model, in_channels, patch_size)
    except ConfigError as error:
        raise ConfigError(f"the pretrained encoder {path} does not take this {error}") from error
    load_encoder(path, encoder, min_matched=1.0)
    encoder.eval().requires_grad_(False)
    return Pretrained(encoder, weights_sha256(encoder.state_dict()))
