"""Rows of a large manifest one by one, without holding the others in memory."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from medssl.errors import StoreError
from medssl.store.parts import part_files

if TYPE_CHECKING:
    import pandas as pd

_LARGE_ROWS = 200_000


class SortedKeys:
    """Texts of one length or nearly so, found by bisection; 32 bytes a key, no Python objects."""

    def __init__(self, keys: pa.ChunkedArray | pa.Array) -> None:
        chunks = keys.chunks if isinstance(keys, pa.ChunkedArray) else [keys]
        packed = [np.asarray(chunk.to_numpy(False), dtype="S") for chunk in chunks]
        self._keys = np.concatenate(packed) if packed else np.empty(0, dtype="S1")
        packed.clear()
        self._order = np.argsort(self._keys, kind="stable")
        self._keys = self._keys[self._order]

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, key: str) -> int | None:
        """The place of a key among those given, or None."""
        wanted = np.bytes_(key.encode())
        at = int(np.searchsorted(self._keys, wanted))
        if at == len(self._keys) or self._keys[at] != wanted:
            return None
        return int(self._order[at])


class RowLookup:
    """The rows of a manifest by volume_uid. Reads the column volume_uid when first asked."""

    def __init__(self, root: Path) -> None:
        self._files = [pq.ParquetFile(path) for path in part_files(root, "manifest")]

    @property
    def is_large(self) -> bool:
        """Whether the whole manifest is more than one wants in memory for a row of it."""
        return bool(sum(file.metadata.num_rows for file in self._files) > _LARGE_ROWS)

    def row(self, volume_uid: str) -> pd.Series[Any]:
        """One row, all columns.

        Raises:
            StoreError: there is no such volume.
        """
        at = self._keys.find(volume_uid)
        if at is None:
            raise StoreError(f"the store has no volume {volume_uid}")
        group = int(np.searchsorted(self._starts, at, side="right")) - 1
        file, number = self._groups[group]
        table = self._files[file].read_row_group(number)
        frame: pd.DataFrame = table.slice(at - int(self._starts[group]), 1).to_pandas()
        row: pd.Series[Any] = frame.iloc[0]
        return row.rename(volume_uid)

    @cached_property
    def _keys(self) -> SortedKeys:
        columns = [file.read(columns=["volume_uid"])["volume_uid"] for file in self._files]
        return SortedKeys(pa.chunked_array([c for column in columns for c in column.chunks]))

    @cached_property
    def _groups(self) -> list[tuple[int, int]]:
        return [(f, g) for f, file in enumerate(self._files) for g in range(file.num_row_groups)]

    @cached_property
    def _starts(self) -> npt.NDArray[np.int64]:
        sizes = [self._files[f].metadata.row_group(g).num_rows for f, g in self._groups]
        return np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
