"""Embeddings for a search: computed with the encoder of a pretraining run, or read from files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from pydantic import ValidationError

from medssl.errors import CheckpointError, ConfigError, StoreError
from medssl.progress import SILENT, Progress

_A_PART = 2000
_WEIGHTS = b"medssl.weights_sha256"

ByUid = dict[str, npt.NDArray[np.float32]]


def read_embeddings(paths: Sequence[Path]) -> ByUid:
    """volume_uid to embedding, (K,), of Parquet files or folders of them.

    Raises:
        ConfigError: a file is missing, damaged, of other columns, or of other lengths.
    """
    found: ByUid = {}
    for path in paths:
        try:
            table = pq.read_table(path, columns=["volume_uid", "embedding"])
            rows = table["embedding"].combine_chunks()
            vectors = np.asarray(rows.flatten(), dtype=np.float32)
            if len(rows):
                vectors = vectors.reshape(len(rows), len(vectors) // len(rows))
        except (OSError, pa.ArrowException, ValueError, AttributeError) as error:
            raise ConfigError(
                f"--embeddings {path}: no readable Parquet of volume_uid and embedding, a list of "
                "equally many numbers in each row"
            ) from error
        if not np.isfinite(vectors).all():
            raise ConfigError(f"--embeddings {path}: a number is not finite; embed again")
        found.update(zip(table["volume_uid"].to_pylist(), vectors, strict=True))
    if len({len(vector) for vector in found.values()}) > 1:
        raise ConfigError(
            "the embeddings have different lengths; embed all volumes with one encoder"
        )
    return found


def embed_all(
    run: Path,
    stores: Mapping[str, Path],
    folder: Path,
    progress: Progress = SILENT,
) -> ByUid:
    """Embed volumes with the encoder of a pretraining run, at its patch and spacing.

    `folder` gets a part file every two thousand volumes; what it has from the same weights is not
    computed again.

    Args:
        stores: volume_uid to the store that holds its voxels.

    Raises:
        CheckpointError: `run` is no finished pretraining run.
        ConfigError: `folder` holds embeddings of other weights.
        StoreError: voxels are missing or damaged.
    """
    from medssl.engine.config import PretrainConfig
    from medssl.engine.loop import default_device
    from medssl.models.pretrained import load_pretrained
    from medssl.store import open_store
    from medssl.transfer.embedding import embed_volumes

    settings = run / "config.yaml"
    try:
        config = PretrainConfig.model_validate(yaml.safe_load(settings.read_text("utf-8")))
    except (OSError, ValidationError, yaml.YAMLError) as error:
        raise CheckpointError(
            f"{run} is no folder of a pretraining run that this medssl knows; --encoder takes one"
        ) from error
    pretrained = load_pretrained(run, 1, config.augment.patch.size)
    encoder = pretrained.encoder.to(default_device())
    done = _done_before(folder, pretrained.sha256)
    for root in sorted(set(stores.values())):
        uids = sorted(uid for uid, held in stores.items() if held == root and uid not in done)
        store = open_store(root)
        for start in range(0, len(uids), _A_PART):
            some = uids[start : start + _A_PART]
            vectors = embed_volumes(encoder, store, some, config.augment.patch, progress=progress)
            if not np.isfinite(vectors).all():
                raise StoreError(f"{root}: an embedding is not finite; check its voxels")
            _write_part(folder, some, vectors.astype(np.float32), pretrained.sha256)
            done.update(zip(some, vectors.astype(np.float32), strict=True))
    return done


def _done_before(folder: Path, weights: str) -> ByUid:
    parts = sorted(folder.glob("part-*.parquet"))
    for part in parts:
        told = (pq.read_schema(part).metadata or {}).get(_WEIGHTS, b"").decode()
        if told != weights:
            raise ConfigError(
                f"{folder} holds embeddings of another encoder; delete that folder, or choose "
                "another --out"
            )
    return read_embeddings(parts)


def _write_part(
    folder: Path, uids: Sequence[str], vectors: npt.NDArray[np.float32], weights: str
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    number = len(list(folder.glob("part-*.parquet"))) + 1
    flat = pa.array(vectors.ravel(), pa.float32())
    table = pa.table(
        {
            "volume_uid": pa.array(list(uids), pa.string()),
            "embedding": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
        }
    ).replace_schema_metadata({_WEIGHTS: weights.encode()})
    partial = folder / f".part-{number:05d}.partial"
    pq.write_table(table, partial)
    os.replace(partial, folder / f"part-{number:05d}.parquet")
