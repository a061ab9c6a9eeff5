"""The tables and the journal of a store, written again under new keys."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from medssl.archive.dates import moved_day
from medssl.archive.journal import RETRY, Journal
from medssl.archive.keymap import KeyMap, is_key
from medssl.archive.plan import SIGNED_FILES
from medssl.progress import Progress
from medssl.store.parts import TABLES, part_files, read_columns, rows_in_batches, write_tables

_KEYED = (*("volume_uid", "patient_key", "study_key", "series_key", "instance_key", "source_key"),)
_UID_DIGITS = 32
_CHANGED = "changed key"  # a signature that fits nothing: the unit is read again


class Lost(Exception):
    """A key of something that must not be lost has no successor."""


def write_journal(old: Journal, new: Journal, keys: KeyMap, forget_withdrawn: bool) -> int:
    """Fill the new journal; how many refused units were left out, to be looked at again.

    Raises:
        Lost: a unit with volumes, or a withdrawn patient, has no new key.
    """
    _write_withdrawn(old, new, keys, forget_withdrawn)
    outputs = list(old.table("outputs"))
    ids = {uid: keys.get(uid) for uid, _ in outputs}
    left_out = {unit for uid, unit in outputs if ids[uid] is None or keys.get(unit) is None}
    lost = left_out & _with_volumes(old)
    if lost:
        raise Lost(f"{len(lost)} series or files of it are not in the linkage file")
    left_out |= {unit for unit, *_ in old.table("units") if keys.get(unit) is None}
    new.fill("parts", old.table("parts"))
    new.fill("outputs", _renewed(keys, ((i, u) for i, u in outputs if u not in left_out), (0, 1)))
    new.fill(
        "patients",
        _renewed(keys, (row for row in old.table("patients") if row[1] not in left_out), (0, 1)),
    )
    new.fill("files", _files(old, keys, left_out))
    new.fill("units", _units(old, new, keys, left_out))
    return len(left_out)


def write_tables_anew(old: Path, new: Path, keys: KeyMap, progress: Progress) -> int:
    """Write every part again, and link the voxels to their new names; the number of volumes.

    Raises:
        Lost: a key in the tables has no successor.
    """
    volumes = 0
    parts = [(kind, path) for kind in TABLES for path in part_files(old, kind)]
    progress.start("writing tables", len(parts))
    for kind, path in parts:
        renewed = (
            _table_anew(kind, table, keys, old, new) for table in rows_in_batches(path, kind)
        )
        rows = write_tables(new, kind, path.stem, renewed)
        volumes += rows if kind == "manifest" else 0
        progress.advance()
    progress.finish()
    return volumes


def _table_anew(kind: str, table: pa.Table, keys: KeyMap, old: Path, new: Path) -> pa.Table:
    if "study_day" in table.schema.names:
        table = _set(table, "study_day", _days(table, keys))
    for name in [name for name in table.schema.names if name in _KEYED]:
        renewed = pa.array(keys.get_all(table[name].to_pylist()), pa.string())
        if name == "source_key":  # of what is left out: the next ingest writes it again
            table = _set(table, name, renewed)
            table = table.filter(table[name].is_valid())
            continue
        if renewed.null_count:
            raise Lost(f"{renewed.null_count} values of {kind}.{name} are not in the linkage file")
        table = _set(table, name, renewed)
    if "path" in table.schema.names:
        paths = [_link(path, keys, old, new) for path in table["path"].to_pylist()]
        table = _set(table, "path", pa.array(paths, pa.string()))
    return table


def _set(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, column)


def _days(table: pa.Table, keys: KeyMap) -> pa.Array:
    """Days from the hidden day that each patient has under the new key."""
    days = []
    columns = (table[name].to_pylist() for name in ("study_day", "patient_key"))
    for day, patient in zip(*columns, strict=True):
        renewed = keys.get(patient)
        if renewed is not None and day is not None and math.isfinite(day):
            day = moved_day(day, (keys.old, patient), (keys.new, renewed))
        days.append(day)
    return pa.array(days, pa.float64())


def _link(path: str | None, keys: KeyMap, old: Path, new: Path) -> str | None:
    """The voxels of a row under their new name, without copying them where the disk allows."""
    if not path:
        return path
    folder, _, name = path.split("/")
    uid = keys.get(name[:_UID_DIGITS])
    if uid is None:
        raise Lost("a file of voxels is not in the linkage file")
    renamed = f"{folder}/{uid[:2]}/{uid}{name[_UID_DIGITS:]}"
    target = new / renamed
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        try:
            os.link(old / path, target)
        except OSError:
            shutil.copy2(old / path, target)
    return renamed


# --- the journal ----------------------------------------------------------------------------------


def _write_withdrawn(old: Journal, new: Journal, keys: KeyMap, forget: bool) -> None:
    rows = [(keys.get(key), key, kind) for key, kind in old.table("withdrawn")]
    unknown = [kind for renewed, _, kind in rows if renewed is None]
    if unknown and not forget:
        raise Lost(
            f"{unknown.count('patient')} withdrawn patients are not in it; if their scans have "
            "left the archive, add --forget-withdrawn"
        )
    new.fill("withdrawn", ((renewed, kind) for renewed, _, kind in rows if renewed))


def _with_volumes(journal: Journal) -> set[str]:
    """Units that gave the store a volume."""
    table = read_columns(journal.root, "manifest", ["volume_uid"])
    uids = set(table["volume_uid"].to_pylist())
    return {unit for uid, unit in journal.table("outputs") if uid in uids}


def _renewed(
    keys: KeyMap, rows: Iterator[tuple[str, ...]], columns: tuple[int, ...]
) -> Iterator[tuple[str, ...]]:
    for row in rows:
        yield tuple(
            (keys.get(text) or text) if at in columns else text for at, text in enumerate(row)
        )


def _files(old: Journal, keys: KeyMap, left_out: set[str]) -> Iterator[tuple[str, ...]]:
    """Files that are there; one that went away, or whose tags are not known, would be new."""
    for file_key, stamp, kind, reason, unit_key, tags in old.table("files"):
        renewed, unit = keys.get(file_key), keys.get(unit_key)
        words = [keys.get(tag) if is_key(tag) else tag for tag in tags.split(" ")]
        if renewed is None or unit is None or unit_key in left_out or None in words:
            continue
        yield renewed, stamp, kind, reason, unit, " ".join(word or "" for word in words)


def _units(
    old: Journal, new: Journal, keys: KeyMap, left_out: set[str]
) -> Iterator[tuple[str, ...]]:
    for unit_key, signature, part in list(old.table("units")):
        if unit_key not in left_out:
            renewed = keys.get(unit_key) or unit_key
            yield renewed, _signature(old, new, keys, unit_key, renewed, signature), part


def _signature(
    old: Journal, new: Journal, keys: KeyMap, old_unit: str, new_unit: str, signature: str
) -> str:
    if signature in (RETRY, ""):
        return signature
    settings, _, files = signature.partition(".")
    renewed = keys.get(files)
    if renewed is None:  # of many files: the journal has them
        before = [text for pair in old.files_of_unit(old_unit) for text in pair]
        after = [text for pair in new.files_of_unit(new_unit) for text in pair]
        if keys.old.hmac(SIGNED_FILES, *before) == files and len(before) == len(after):
            renewed = keys.new.hmac(SIGNED_FILES, *after)
    if keys.get(settings) is None or renewed is None:
        return _CHANGED
    return f"{keys.get(settings)}.{renewed}"
