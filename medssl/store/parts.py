"""Part files of a store's tables: which count, how few columns are read, how many become one.

A part that was made of others names them in its own metadata. From the moment it lies in the
folder the others no longer count, whether or not they have been taken away yet, so that a reader
sees every row once at any moment, and after a kill at any moment.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from medssl.errors import StoreError
from medssl.store import schema

TABLES = {
    "manifest": schema.MANIFEST,
    "instances": schema.INSTANCES,
    "rejected": schema.REJECTED,
    "labels": schema.LABELS,
}
_REPLACES = b"medssl.replaces"
_ROW_GROUP = 50_000
_UNIQUE = {"volume_uid", "pixel_sha256", "perceptual_hash", "path", "file_sha256", "instance_key"}


def part_files(root: Path, kind: str) -> list[Path]:
    """The part files of a table that count, in their order.

    Raises:
        StoreError: one is damaged.
    """
    paths = sorted((root / kind).glob("*.parquet"))
    replaced: set[str] = set()
    for path in paths:
        try:
            about = pq.read_metadata(path).metadata or {}
        except FileNotFoundError:  # taken away since it was listed, for one that replaces it
            return part_files(root, kind)
        except (OSError, pa.ArrowException) as error:
            raise _damaged(root, kind) from error
        replaced.update(json.loads(about.get(_REPLACES, b"[]")))
    return [path for path in paths if path.stem not in replaced]


def read_columns(root: Path, kind: str, names: Sequence[str] | None = None) -> pa.Table:
    """All rows of a table, or some of its columns; text that repeats is dictionary-encoded.

    Whole tables keep plain text. Rows are in the order of the parts.

    Raises:
        StoreError: a part is damaged.
    """
    columns = TABLES[kind]
    few = None if names is None else pa.schema([columns.field(name) for name in names])
    repeated = [f.name for f in few or () if pa.types.is_string(f.type) and f.name not in _UNIQUE]
    try:
        tables = [
            pq.read_table(
                path,
                columns=None if names is None else list(names),
                schema=columns if names is None else None,
                read_dictionary=repeated or None,
            )
            for path in part_files(root, kind)
        ]
    except (OSError, pa.ArrowException) as error:
        raise _damaged(root, kind) from error
    if not tables:
        return (few or columns).empty_table()
    table = pa.concat_tables(tables).replace_schema_metadata(None)
    return table if names is None else table.unify_dictionaries().select(list(names))


def rows_in_batches(path: Path, kind: str) -> Iterator[pa.Table]:
    """The rows of a part file in pieces, so that memory does not grow with the part."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_ROW_GROUP):
            yield pa.Table.from_batches([batch]).select(TABLES[kind].names).cast(TABLES[kind])


def write_tables(
    root: Path, kind: str, part: str, tables: Iterator[pa.Table], replaces: Sequence[str] = ()
) -> int:
    """Write one part file atomically, replacing it whole where it exists; the number of rows.

    Where there is no row, there is no file afterwards.
    """
    folder = root / kind
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{part}.{os.getpid()}.partial"
    about = {_REPLACES: json.dumps(list(replaces)).encode()} if replaces else None
    rows = 0
    try:
        with pq.ParquetWriter(partial, TABLES[kind].with_metadata(about)) as writer:
            for table in tables:
                writer.write_table(table.cast(TABLES[kind]), row_group_size=_ROW_GROUP)
                rows += table.num_rows
        if rows or replaces:
            os.replace(partial, folder / f"{part}.parquet")
        else:
            (folder / f"{part}.parquet").unlink(missing_ok=True)
    finally:
        partial.unlink(missing_ok=True)
    return rows


def rows_without(
    root: Path, kind: str, part: str, column: str, values: pa.Array
) -> Iterator[pa.Table]:
    """The rows of a part whose `column` is none of `values`."""
    for table in rows_in_batches(root / kind / f"{part}.parquet", kind):
        yield table.filter(pc.invert(pc.is_in(table[column], value_set=values)))


def merged(root: Path, kind: str, parts: Sequence[str]) -> Iterator[pa.Table]:
    """The rows of several parts, one after the other."""
    for part in parts:
        path = root / kind / f"{part}.parquet"
        if path.is_file():
            yield from rows_in_batches(path, kind)


def _damaged(root: Path, kind: str) -> StoreError:
    return StoreError(f"{root / kind}: a part file is damaged")
