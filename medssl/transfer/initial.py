"""Which weights a training starts from, and whether they have seen the test patients."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from pydantic import ValidationError

from medssl.config import differing_keys
from medssl.errors import CheckpointError, ConfigError
from medssl.models.config import ModelConfig, model_from_json
from medssl.models.weights import MIN_MATCHED, read_metadata
from medssl.store import Store
from medssl.transfer.config import FitConfig

# In the order of preference: what pretraining writes, and what fine-tuning writes; then where a
# MONAI bundle keeps its weights.
_WEIGHTS_OF_A_FOLDER = (
    "checkpoints/encoder.safetensors",
    "checkpoints/model.safetensors",
    "models/model.pt",
)


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
        f"no weights in {init}: init is a finished run's folder, a .safetensors file, or another "
        "project's weights (a file, or a MONAI bundle's folder)"
    )


def resolve_model(config: FitConfig) -> ModelConfig:
    """The network of a fit: the configured one, or that of the weights it starts from.

    Raises:
        ConfigError: neither is there, or they differ; the message names the keys.
        CheckpointError: the weights are not there, or do not say what they fit.
    """
    model = config.model if config.init is None else _model_of(config.init, config)
    if model is None:
        raise ConfigError("model is required where init is null")
    model.check_patch(config.augment.patch.size)
    return model


def _model_of(init: Path, config: FitConfig) -> ModelConfig:
    path = weights_file(init)
    described = read_metadata(path).get("model")
    if described is not None and not (config.model and config.min_matched < MIN_MATCHED):
        return _checked(path, described, config.model)
    if config.model is None:
        raise CheckpointError(f"{path} does not say all of its network's configuration; set model")
    return config.model


def _checked(path: Path, described: str, wanted: ModelConfig | None) -> ModelConfig:
    try:
        model = model_from_json(described)
    except ValidationError as error:
        raise CheckpointError(f"{path} is of a network that this medssl does not know") from error
    if wanted is not None and wanted != model:
        differing = differing_keys(
            model.model_dump(mode="json"), wanted.model_dump(mode="json"), "model."
        )
        raise ConfigError(
            f"the configured network is not that of {path} ({'; '.join(differing)}); "
            "leave model out, or set it as the checkpoint's"
        )
    return model


def told_of_pretraining(init: Path, store: Store, test: pd.DataFrame) -> str:
    """Whether the pretraining run at `init` learned from test patients, in words for a reader.

    Patients can be compared only under one key; scans, by the hash of their values, always.
    """
    unknown = "whether pretraining saw test patients is not known: "
    folder = init if init.is_dir() else init.parent.parent
    if not (folder / "volumes.parquet").is_file():
        return unknown + "it left no record"
    seen = pd.read_parquet(folder / "volumes.parquet")
    theirs = read_metadata(weights_file(init)).get("store_key_id", "")
    if theirs == store.key_id:
        patients = len(set(seen["patient_key"]) & set(test["patient_key"]))
        if patients:
            return f"LEAK: pretraining saw {patients} of the test patients; pretrain with `holdout`"
        return "pretraining saw none of the test patients"
    pixels = store.columns("pixel_sha256")["pixel_sha256"].loc[test["volume_uid"]]
    scans = len(set(pixels) & set(seen.get("pixel_sha256", ())))
    if scans:
        return f"LEAK: pretraining saw {scans} of the test scans; pretrain with `holdout`"
    return (
        f"{unknown}its patients were coded under key {theirs or '(not named)'}, this store's under "
        f"{store.key_id}; by voxel hash it saw none of the test scans"
    )
