"""Opening a store and reading from it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medssl.errors import StoreError
from medssl.store import schema
from medssl.store.body import BodyMask, read_body
from medssl.store.lookup import RowLookup
from medssl.store.padding import valid_voxels
from medssl.store.parts import read_columns
from medssl.store.voxels import Rescale, read_stored, read_values
from medssl.volume import Array, Box, Volume

if TYPE_CHECKING:
    import pandas as pd


def open_store(path: Path | str) -> Store:
    """Open a store for reading.

    Raises:
        StoreError: nothing is there, it is no store, or it has another schema version.
    """
    root = Path(path)
    described = root / "store.json"
    if not described.is_file():
        raise StoreError(f"no store at {root}: medssl ingest ARCHIVE --out {root} makes one")
    try:
        about = json.loads(described.read_text(encoding="utf-8"))
        version = about["schema_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{described} is damaged; ingest the archive again") from error
    if version != schema.SCHEMA_VERSION:
        raise StoreError(
            f"{root} has store schema {version}, this medssl reads {schema.SCHEMA_VERSION}; "
            "ingest the archive again, or use the medssl that made it"
        )
    return Store(root, about)


@dataclass(frozen=True)
class Store:
    """A folder of volumes, one manifest row each. Made by `open_store`."""

    root: Path
    about: dict[str, Any]

    @property
    def key_id(self) -> str:
        """Which secret made the keys; stores of different keys cannot be compared."""
        return str(self.about["key_id"])

    @cached_property
    def manifest(self) -> pd.DataFrame:
        """One row for each volume, in the order of volume_uid, indexed by it."""
        frame = self._table("manifest")
        frame = frame.sort_values("volume_uid").set_index("volume_uid", drop=False)
        return frame.rename_axis(None)  # a named index would clash with the column

    @cached_property
    def instances(self) -> pd.DataFrame:
        return self._table("instances")

    @cached_property
    def rejected(self) -> pd.DataFrame:
        return self._table("rejected")

    @cached_property
    def labels(self) -> pd.DataFrame:
        return self._table("labels")

    def columns(self, *names: str) -> pd.DataFrame:
        """Some columns of the manifest, in the order and with the index of `manifest`.

        Only these are read, and text that repeats (patient_key, modality, ...) is categorical, so
        that millions of rows fit where the whole manifest would not.
        """
        table = read_columns(self.root, "manifest", list(dict.fromkeys(["volume_uid", *names])))
        table = table.sort_by("volume_uid")
        frame: pd.DataFrame = table.to_pandas(split_blocks=True, self_destruct=True)
        return frame.set_index("volume_uid", drop="volume_uid" not in names).rename_axis(None)

    def row(self, volume_uid: str) -> pd.Series[Any]:
        """The manifest row of one volume; of a large store, without reading the others."""
        if "manifest" not in self.__dict__ and self._lookup.is_large:
            return self._lookup.row(volume_uid)
        try:
            position: Any = self.manifest.index.get_loc(volume_uid)
            return self.manifest.iloc[position]  # type: ignore[no-any-return]
        except KeyError:
            raise StoreError(f"the store has no volume {volume_uid}") from None

    def affine(self, volume_uid: str) -> npt.NDArray[np.float64]:
        """4x4, voxel index to RAS millimetres."""
        return affine_of(self.row(volume_uid))

    def read(self, volume_uid: str) -> Volume:
        """The whole volume as float32 values in its own units, (D, H, W)."""
        row = self.row(volume_uid)
        values = read_values(self.root / str(row["path"]))
        return Volume(values, affine_of(row), row["modality"], row["units"])

    def read_stored(self, volume_uid: str, box: Box | None = None) -> tuple[Array, Rescale]:
        """The stored integers of a box, and how they become values."""
        return read_stored(self.root / str(self.row(volume_uid)["path"]), box)

    def valid(self, volume_uid: str, box: Box | None = None) -> npt.NDArray[np.bool_]:
        """False on the padding of a volume (or of a box of it), True on measurements; (D, H, W)."""
        row = self.row(volume_uid)
        stored, _ = read_stored(self.root / str(row["path"]), box)
        low, high = float(row["padding_low"]), float(row["padding_high"])
        if np.isnan(low) or np.isnan(high):
            return np.ones(stored.shape, dtype=bool)
        return valid_voxels(stored, (low, high))

    def body(self, volume_uid: str) -> BodyMask:
        """Where the body is, by coarse blocks; the whole volume where ingest did not look."""
        return read_body(self.root / str(self.row(volume_uid)["path"]))

    def patch(self, volume_uid: str, box: Box) -> Volume:
        """The float32 values of a box (start, stop along each axis), at its place in space."""
        row = self.row(volume_uid)
        values = read_values(self.root / str(row["path"]), box)
        shift = affine_of(row)
        shift[:3, 3] += shift[:3, :3] @ np.array([start for start, _ in box], dtype=float)
        return Volume(values, shift, row["modality"], row["units"])

    def class_labels(self, name: str) -> pd.Series[str]:
        """The class of each labelled volume, as text, indexed by volume_uid.

        Raises:
            StoreError: no volume has a label of this name; the message lists those there are.
        """
        rows = self.labels[(self.labels["kind"] == "class") & (self.labels["name"] == name)]
        if rows.empty:
            classes = self.labels.loc[self.labels["kind"] == "class", "name"]
            there = ", ".join(sorted(classes.unique())) or "none"
            raise StoreError(f"the store has no class label {name}; there are: {there}")
        return rows.set_index("volume_uid")["value"]

    def mask_labels(self, name: str = "mask") -> pd.Series[str]:
        """Path inside the store of each labelled volume's mask, indexed by volume_uid."""
        rows = self.labels[(self.labels["kind"] == "mask") & (self.labels["name"] == name)]
        return rows.set_index("volume_uid")["path"]

    def split_labels(self) -> pd.Series[str]:
        """The split that --cases gave, indexed by volume_uid; empty where it gave none."""
        rows = self.labels[self.labels["kind"] == "split"]
        return rows.set_index("volume_uid")["value"]

    def read_label(self, volume_uid: str, name: str = "mask") -> Volume:
        """A mask on its image's own grid, (D, H, W), in its stored integer type."""
        paths = self.mask_labels(name)
        if volume_uid not in paths.index:
            raise StoreError(f"volume {volume_uid} has no mask named {name}")
        stored, _ = read_stored(self.root / str(paths[volume_uid]))
        row = self.row(volume_uid)
        return Volume(stored, affine_of(row), row["modality"], "arbitrary")

    @cached_property
    def _lookup(self) -> RowLookup:
        return RowLookup(self.root)

    def _table(self, kind: str) -> pd.DataFrame:
        frame: pd.DataFrame = read_columns(self.root, kind).to_pandas()
        return frame


def affine_of(row: pd.Series[Any]) -> npt.NDArray[np.float64]:
    """The 4x4 affine of a manifest row."""
    affine = np.eye(4)
    for r in range(3):
        for c in range(4):
            affine[r, c] = row[f"affine_{r}{c}"]
    return affine
