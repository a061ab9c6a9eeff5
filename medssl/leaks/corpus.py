"""What a search knows of a corpus: the volumes of a store, of a pretraining run, or of a study."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from medssl.errors import StoreError, StudyError
from medssl.store import Store, open_store
from medssl.store.parts import read_columns

COLUMNS = (
    "volume_uid",
    "patient_key",
    "series_key",
    "group_quality",
    "modality",
    "pixel_sha256",
    "perceptual_hash",
)
_INSTANCES = ("volume_uid", "instance_key", "file_sha256")
_SHAPE = tuple(f"shape_{a}" for a in range(3))
THIN = 8  # voxels along an axis: with fewer a perceptual hash says little


@dataclass(frozen=True)
class Corpus:
    """One side of a search.

    Attributes:
        what: for a reader, without a path.
        volumes: one row a volume: COLUMNS as plain text, and `thin`: known to have too few voxels
            along an axis for its perceptual hash to say much.
        instances: volume_uid, instance_key, file_sha256 of the source files; None where unknown.
        key_ids: of the secrets under which patients, series and source objects are coded; with ""
            where that is not said.
        store: where its voxels lie, where it is a store.
    """

    what: str
    volumes: pd.DataFrame
    instances: pa.Table | None
    key_ids: frozenset[str]
    store: Path | None = None


def read_corpus(path: Path) -> Corpus:
    """A store; a pretraining run: what it saw; a study: its test cases.

    Raises:
        StoreError, StudyError: the folder is none of them, or is damaged.
    """
    if (path / "store.json").is_file():
        return _of_store(path)
    if (path / "cases.parquet").is_file():
        return _of_study(path, "test")
    if (path / "volumes.parquet").is_file():
        return _of_run(path)
    raise StoreError(
        f"{path} is no store (store.json), study (cases.parquet) or pretraining run "
        "(volumes.parquet); name the folder of one"
    )


def read_learned(study: Path) -> Corpus:
    """What a study learned from: its development cases, and the volumes that its encoder saw.

    Raises:
        StudyError: it is no study, or is damaged.
    """
    if not (study / "cases.parquet").is_file():
        raise StudyError(f"{study} is no study (cases.parquet); name the corpus to compare it with")
    development = _of_study(study, "dev")
    if not (study / "pretrain.parquet").is_file():
        return development
    plan = _plan(study)
    encoders = [arm.get("encoder") for arm in plan.get("arms", {}).values()]
    keys = frozenset(str(e.get("store_key_id") or "") for e in encoders if e)
    seen = _frame(study, "pretrain.parquet")
    files = _table(study, "pretrain_instances.parquet")
    # An encoder mostly saw the development cases too; one that has changed since stays twice.
    volumes = pd.concat([development.volumes, seen]).drop_duplicates(
        ["volume_uid", "pixel_sha256"], ignore_index=True
    )
    tables = [development.instances, files]
    return Corpus(
        f"{development.what} and {len(seen):,} volumes of its encoder's pretraining",
        volumes,
        None if None in tables else pa.concat_tables(tables),
        development.key_ids | (keys or frozenset({""})),
    )


def _of_store(path: Path) -> Corpus:
    store = open_store(path)
    frame = store.columns(*COLUMNS, *_SHAPE)
    volumes = _texts(frame.reset_index(drop=True)).assign(thin=_thin(frame).to_numpy(bool))
    return Corpus(
        f"a store of {len(volumes):,} volumes",
        volumes,
        _plain(read_columns(path, "instances", list(_INSTANCES))),
        frozenset({store.key_id}),
        path,
    )


def _of_run(path: Path) -> Corpus:
    from medssl.models.pretrained import weights_file
    from medssl.models.weights import read_metadata

    volumes = _frame(path, "volumes.parquet")
    key_id = str(read_metadata(weights_file(path)).get("store_key_id", ""))
    return Corpus(
        f"the {len(volumes):,} volumes of a pretraining run",
        volumes,
        _table(path, "instances.parquet"),
        frozenset({key_id}),
    )


def _of_study(path: Path, role: str) -> Corpus:
    cases = _frame(path, "cases.parquet", "role")
    volumes = cases[cases["role"] == role].drop(columns="role").reset_index(drop=True)
    files = _table(path, "instances.parquet")
    if files is not None:
        files = files.filter(
            pa.compute.is_in(files["volume_uid"], value_set=pa.array(volumes["volume_uid"]))
        )
    name = {"test": "test", "dev": "development"}[role]
    key_id = str(_plan(path).get("data", {}).get("key_id", ""))
    return Corpus(
        f"the {len(volumes):,} {name} cases of a study", volumes, files, frozenset({key_id})
    )


def _plan(study: Path) -> dict[str, Any]:
    try:
        plan = json.loads((study / "plan.json").read_bytes())
        return plan if isinstance(plan, dict) else {}
    except (OSError, ValueError) as error:
        raise StudyError(f"{study / 'plan.json'} is missing or damaged; plan the study") from error


def _frame(folder: Path, name: str, *further: str) -> pd.DataFrame:
    table = _read(folder, name, [*COLUMNS, *further])
    return _texts(table.to_pandas()).assign(thin=False)


def _table(folder: Path, name: str) -> pa.Table | None:
    return _plain(_read(folder, name, _INSTANCES)) if (folder / name).is_file() else None


def _read(folder: Path, name: str, columns: Sequence[str]) -> pa.Table:
    try:
        return pq.read_table(folder / name, columns=list(columns))
    except (OSError, pa.ArrowException) as error:
        raise StudyError(
            f"{folder / name} is damaged or lacks one of the columns {', '.join(columns)}"
        ) from error


def _texts(frame: pd.DataFrame) -> pd.DataFrame:
    columns = [column for column in frame if column not in _SHAPE]
    objects = frame[columns].astype(object)
    return objects.where(objects.notna(), "").astype(str)


def _plain(table: pa.Table) -> pa.Table:
    """Text columns of one type, whatever the file has."""
    return table.select(list(_INSTANCES)).cast(pa.schema([(n, pa.string()) for n in _INSTANCES]))


def _thin(frame: pd.DataFrame) -> pd.Series:
    return frame[list(_SHAPE)].min(axis=1) < THIN


def thin_volumes(store: Store) -> set[str]:
    """volume_uid of the store's volumes that are too thin for their perceptual hash to say much."""
    frame = store.columns(*_SHAPE)
    return set(frame.index[_thin(frame)])


def with_thin(corpora: Sequence[Corpus], stores: Sequence[Path]) -> list[Corpus]:
    """The corpora with `thin` as the stores know it; runs and studies do not say it themselves."""
    thin = set().union(*(thin_volumes(open_store(root)) for root in stores))
    return [
        replace(
            corpus,
            volumes=corpus.volumes.assign(
                thin=corpus.volumes["thin"] | corpus.volumes["volume_uid"].isin(thin)
            ),
        )
        for corpus in corpora
    ]


def located(corpora: Sequence[Corpus], stores: Sequence[Path]) -> dict[str, Path]:
    """The store that holds the voxels of each volume; of a volume that none holds, nothing.

    A volume_uid is a keyed hash: it names the same volume in every store of that key.

    Raises:
        StoreError: one of `stores` is none.
    """
    wanted = {uid for corpus in corpora for uid in corpus.volumes["volume_uid"]}
    found: dict[str, Path] = {}
    for root, uids in _held(corpora, stores):
        for uid in wanted.intersection(uids):
            found.setdefault(uid, root)
    return found


def _held(
    corpora: Sequence[Corpus], stores: Sequence[Path]
) -> Iterator[tuple[Path, Sequence[str]]]:
    for corpus in corpora:
        if corpus.store is not None:
            yield corpus.store, corpus.volumes["volume_uid"].tolist()
    for root in stores:
        yield root, open_store(root).columns().index.tolist()
