"""Adding volumes to a store.

Voxels are written first and the manifest part that names them afterwards, each atomically, so that
a store killed at any moment is whole: a volume without a row is not there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from medssl.errors import StoreError
from medssl.store import schema
from medssl.store.parts import TABLES, write_tables


def create_store(root: Path, key_id: str, policy: Mapping[str, Any]) -> None:
    """Make an empty store, or accept one made under the same key.

    Raises:
        StoreError: `root` holds something else, or a store of another key or schema version.
    """
    described = root / "store.json"
    if described.is_file():
        about = json.loads(described.read_text(encoding="utf-8"))
        if about.get("schema_version") != schema.SCHEMA_VERSION:
            raise StoreError(
                f"{root} has store schema {about.get('schema_version')}, this medssl writes "
                f"{schema.SCHEMA_VERSION}; choose another --out"
            )
        if about.get("key_id") != key_id:
            raise StoreError(
                f"{root} was made under key {about.get('key_id')}, this key is {key_id}; "
                "use that key file or choose another --out"
            )
        return
    if root.exists() and any(root.iterdir()):
        raise StoreError(f"{root} is not empty and not a store; choose another --out")
    root.mkdir(parents=True, exist_ok=True)
    write_about(root, {"schema_version": schema.SCHEMA_VERSION, "key_id": key_id, "policy": policy})


def write_about(root: Path, about: Mapping[str, Any]) -> None:
    """Replace store.json atomically."""
    write_atomically(root / "store.json", json.dumps(about, indent=2, sort_keys=True) + "\n")


def write_part(root: Path, kind: str, part: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one part file `<kind>/<part>.parquet`, replacing it whole where it exists."""
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=TABLES[kind])
    write_tables(root, kind, part, iter([table]))


def volume_path(volume_uid: str, folder: str = "volumes") -> str:
    """Where a volume's voxels (or a mask, folder="labels") lie, relative to the store."""
    return f"{folder}/{volume_uid[:2]}/{volume_uid}.b2nd"


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees the old or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
