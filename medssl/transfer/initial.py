"""Which weights a training starts from, and whether they have seen the test patients."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from medssl.config import differing_keys
from medssl.errors import CheckpointError, ConfigError
from medssl.models.config import ModelConfig
from medssl.models.pretrained import described_model
from medssl.models.pretrained import weights_file as weights_file
from medssl.models.weights import MIN_MATCHED, read_metadata
from medssl.store import Store
from medssl.transfer.config import FitConfig


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
    wanted = config.model
    # Another project's weights do not show every setting; how much of them matches is told later.
    foreign = "format" in read_metadata(path)
    may_differ = wanted is not None and (foreign or config.min_matched < MIN_MATCHED)
    model = None if may_differ else described_model(path)
    if model is None:
        if wanted is None:
            raise CheckpointError(
                f"{path} does not say all of its network's configuration; set model"
            )
        return wanted
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
    one_key = theirs == store.key_id
    patients = len(set(seen["patient_key"]) & set(test["patient_key"])) if one_key else 0
    if patients:
        return f"LEAK: pretraining saw {patients} of the test patients; pretrain with `holdout`"
    # Under one key too: a copy of a scan may stand under another patient.
    pixels = store.columns("pixel_sha256")["pixel_sha256"].loc[test["volume_uid"]]
    scans = len(set(pixels) & set(seen.get("pixel_sha256", ())))
    if scans:
        return f"LEAK: pretraining saw {scans} of the test scans; pretrain with `holdout`"
    if one_key:
        return "pretraining saw none of the test patients"
    return (
        f"{unknown}its patients were coded under key {theirs or '(not named)'}, this store's under "
        f"{store.key_id}; by voxel hash it saw none of the test scans"
    )
