"""A pretrained model that fills in what it does not see."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml
from pydantic import ValidationError

from medssl.engine.config import PretrainConfig
from medssl.engine.loop import default_device
from medssl.errors import CheckpointError, ConfigError
from medssl.methods.catalogue import METHODS
from medssl.methods.masked import MaskedMethod
from medssl.models.weights import read_metadata, read_weights
from medssl.store import Store


@dataclass(frozen=True)
class MaskedModel:
    """A method in evaluation mode, on the GPU where there is one.

    Attributes:
        seen: the scans that it learned from; see `medssl.engine.population`.
        store_key_id: of the key under which they are named.
    """

    method: MaskedMethod
    config: PretrainConfig
    weights_sha256: str
    seen: pd.DataFrame
    store_key_id: str

    def told(self, store: Store) -> list[str]:
        """What of these scans is not as unseen scans are, for a reader."""
        rows = store.columns("patient_key", "pixel_sha256", "modality")
        lines = []
        known = set(rows["pixel_sha256"]) & set(self.seen["pixel_sha256"])
        of = rows["pixel_sha256"].isin(known)
        if self.store_key_id == store.key_id:
            of |= rows["patient_key"].isin(set(self.seen["patient_key"]))
        if of.any():
            lines.append(
                f"pretraining saw patients of {int(of.sum())} of the {len(rows)} volumes: their "
                "errors are lower than those of the others for that alone"
            )
        strange = sorted(set(rows["modality"]) - set(self.seen["modality"]))
        if strange:
            lines.append(f"pretraining saw no {', '.join(strange)}: there everything is unusual")
        return lines


def load_masked(run: Path) -> MaskedModel:
    """The method of a finished pretraining run, decoder and all.

    Raises:
        CheckpointError: `run` is none, is not finished, or this medssl does not know its network.
        ConfigError: its method hides nothing.
    """
    settings, weights = run / "config.yaml", run / "checkpoints" / "last.safetensors"
    if not settings.is_file() or not settings.read_text("utf-8").startswith("# pretrain\n"):
        raise CheckpointError(f"{run} is no folder of a pretraining run; medssl pretrain makes one")
    name = "?"
    try:
        written = yaml.safe_load(settings.read_text("utf-8"))
        name = str(written["method"]["name"])
        config = PretrainConfig.model_validate(written)
    except (KeyError, TypeError, ValidationError, yaml.YAMLError) as error:
        raise CheckpointError(
            f"{run} is of a method or network ({name}) that this medssl does not know; pretrain "
            "again, or use the medssl that made it"
        ) from error
    kind = METHODS[config.method.name]
    if not issubclass(kind, MaskedMethod):
        able = ", ".join(n for n, method in METHODS.items() if issubclass(method, MaskedMethod))
        raise ConfigError(
            f"{run} was pretrained with {name}, which does not say what hidden voxels hold; name a "
            f"run of one of: {able}"
        )
    if not (run / "summary.json").is_file() or not weights.is_file():
        raise CheckpointError(
            f"the pretraining in {run} is not finished; run its command again to resume"
        )
    method = kind(config.method, config.model, 1, config.augment.patch.size, config.seed)
    try:
        method.load_state_dict(read_weights(weights))
    except RuntimeError as error:
        raise CheckpointError(f"{weights} does not fit the network of its config.yaml") from error
    method.eval().requires_grad_(False).to(default_device())
    return MaskedModel(
        method,
        config,
        read_metadata(weights)["weights_sha256"],
        pd.read_parquet(run / "volumes.parquet"),
        read_metadata(run / "checkpoints" / "encoder.safetensors").get("store_key_id", ""),
    )
