"""Which volumes a pretraining run sees, and the record of them that an auditor needs."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd

from medssl.engine.config import HoldoutConfig, PretrainConfig
from medssl.errors import ConfigError
from medssl.store import Store
from medssl.store.schema import PERCENTILES
from medssl.store.splits import split_patients

POPULATION_COLUMNS = (
    "volume_uid",
    "patient_key",
    "series_key",
    "group_quality",
    "modality",
    "pixel_sha256",
    "perceptual_hash",
)
# What `medssl.augment` asks of a row.
SAMPLER_COLUMNS = (
    "units",
    *(f"shape_{a}" for a in range(3)),
    *(f"affine_{r}{c}" for r in range(3) for c in range(4)),
    *(f"foreground_{a}_{end}" for a in range(3) for end in ("start", "stop")),
    *PERCENTILES,
)


def pretraining_rows(store: Store, config: PretrainConfig) -> pd.DataFrame:
    """Manifest rows to learn from: the chosen modalities, without any patient held out.

    Raises:
        ConfigError: none is left.
    """
    rows = store.columns(*POPULATION_COLUMNS, *SAMPLER_COLUMNS)
    everybody = rows
    if config.modalities is not None:
        rows = rows[rows["modality"].isin(config.modalities)]
    splits = store.split_labels()
    named = splits.index[splits.isin(config.exclude_splits)]
    left_out = set(everybody.loc[everybody.index.isin(named), "patient_key"])
    if config.holdout is not None:
        left_out |= held_out_patients(store, config.holdout)
    rows = rows[~rows["patient_key"].isin(left_out)]
    if rows.empty:
        there = ", ".join(sorted(everybody["modality"].unique())) or "nothing"
        raise ConfigError(
            f"no volume is left to learn from: the store holds {there}, "
            f"{len(left_out)} patients are held out; change modalities, exclude_splits or holdout"
        )
    return rows


def held_out_patients(store: Store, holdout: HoldoutConfig) -> set[str]:
    """Keys of the patients that `holdout` sets apart, a function of the store and its values.

    With a label, the patients are those whose volumes carry it.
    """
    cases = store.columns("patient_key")
    if holdout.label is not None:
        labels = store.class_labels(holdout.label)
        cases = cases.loc[cases.index.isin(labels.index)].assign(label=labels)
    shares = {"holdout": holdout.fraction, "rest": 1 - holdout.fraction}
    split = split_patients(cases, shares, holdout.seed, stratify="label" if holdout.label else None)
    return set(cases.loc[split == "holdout", "patient_key"])


def write_population(folder: Path, store: Store, rows: pd.DataFrame) -> str:
    """Write volumes.parquet and instances.parquet to `folder`; SHA-256 of the list of volumes."""
    seen = rows[list(POPULATION_COLUMNS)].astype("str")  # plain text, whatever it was read as
    seen.to_parquet(folder / "volumes.parquet", index=False)
    instances = store.instances
    theirs = instances[instances["volume_uid"].isin(rows["volume_uid"])]
    theirs.to_parquet(folder / "instances.parquet", index=False)
    return population_digest(rows)


def population_digest(rows: pd.DataFrame) -> str:
    """SHA-256 over the sorted pairs of volume_uid and pixel hash."""
    lines = sorted(rows["volume_uid"] + " " + rows["pixel_sha256"])
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
