"""A store under a new key: every keyed hash made again, by the linkage file.

The new store is built beside the old one, voxels as hard links, and takes its place when it is
whole; until then nothing of the old one is touched. Killed at any moment, the same call finishes.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from medssl.archive.discover import files_of
from medssl.archive.find import WalkCounts
from medssl.archive.identity import Key, default_key_file, load_key, make_key_file
from medssl.archive.journal import Journal
from medssl.archive.keymap import KeyMap
from medssl.archive.linkage import read_linkage, write_linkage
from medssl.archive.look import Archive
from medssl.archive.preimages import packed, unpacked
from medssl.archive.rekeyed import Lost, write_journal, write_tables_anew
from medssl.errors import ConfigError, KeyFileError, StoreError
from medssl.progress import SILENT, Progress
from medssl.store.store import Store, open_store
from medssl.store.writer import create_store, write_about

_WHOLE = ".rotated"  # in the new store, once it lacks nothing


@dataclass(frozen=True)
class RotateConfig:
    """Which store gets a new key, by which linkage file.

    Attributes:
        new_key_file: to be made; one that exists is kept, unless this call was cut short before.
        old_key_file: of the store as it is.
        forget_withdrawn: go on though patients were withdrawn of whom the linkage file knows
            nothing; their scans would be taken again, if they are still in the archive.
    """

    store: Path
    linkage: Path
    new_key_file: Path
    old_key_file: Path | None = None
    forget_withdrawn: bool = False


@dataclass(frozen=True)
class RotateResult:
    """The store's old and new key; `left_out`: refused files and series to be looked at again."""

    old_key_id: str
    new_key_id: str
    volumes: int
    left_out: int

    def lines(self, config: RotateConfig) -> list[str]:
        out = [
            f"{config.store}: {self.volumes} volumes from key {self.old_key_id} to key "
            f"{self.new_key_id}; {config.linkage} was written anew"
        ]
        if self.left_out:
            out.append(
                f"{self.left_out} files and series that were refused are looked at again by the "
                "next ingest"
            )
        out.append(
            "Runs and studies made under the old key cannot be compared with this store by "
            "patient any more, by voxel hash they can."
        )
        return out


def rotate(config: RotateConfig, progress: Progress = SILENT) -> RotateResult:
    """Give a store a new key; the voxels stay as they are.

    Raises:
        ConfigError: the linkage file does not cover the store, or an archive of it is not there.
        KeyFileError: the old key cannot be used, or the new file exists.
        StoreError: there is no store, it is of another key, or in use.
    """
    places = _Places(config)
    old = load_key(config.old_key_file or default_key_file())
    if not config.linkage.is_file():
        raise ConfigError(f"there is no linkage file {config.linkage}; a new key needs it")
    if not places.is_whole():
        store = open_store(places.store)
        if store.key_id != old.key_id and _is_under(store, config.new_key_file):
            volumes = int(store.about.get("counts", {}).get("volumes", 0))
            return RotateResult(old.key_id, store.key_id, volumes, 0)
        _refuse_wrong_key(config, store, old)
        if config.new_key_file.exists() and not places.building.exists():
            raise KeyFileError(
                f"{config.new_key_file} exists and is kept: choose a new file for the new key"
            )
        fresh = not config.new_key_file.exists()
        places.clear_building()
        new = make_key_file(config.new_key_file) if fresh else load_key(config.new_key_file)
        try:
            result = _build(config, places, old, new, progress)
        except BaseException:
            shutil.rmtree(places.building, ignore_errors=True)
            places.linkage.unlink(missing_ok=True)
            if fresh:  # nothing was made under it
                config.new_key_file.unlink(missing_ok=True)
            raise
    else:
        result = _told(places.whole())
    places.switch()
    return result


class _Places:
    """Where the old and the new store and linkage file lie while one takes the other's place."""

    def __init__(self, config: RotateConfig) -> None:
        self.store = config.store
        self.building = config.store.with_name(f".{config.store.name}.rotating")
        self.before = config.store.with_name(f".{config.store.name}.before-rotation")
        self.old_linkage = config.linkage
        self.linkage = config.linkage.with_name(f".{config.linkage.name}.rotating")

    def whole(self) -> Path:
        """The new store, wherever it has come to."""
        return self.building if (self.building / _WHOLE).is_file() else self.store

    def is_whole(self) -> bool:
        return (self.whole() / _WHOLE).is_file()

    def clear_building(self) -> None:
        """An empty folder, which says that a new key file is of this call or one before."""
        self.building.mkdir(exist_ok=True)
        for inner in self.building.iterdir():
            shutil.rmtree(inner) if inner.is_dir() else inner.unlink()

    def switch(self) -> None:
        """Put the new store and linkage file in place; each step can be taken up again."""
        os.sync()  # the new store is on disk before the old one goes
        if self.building.exists():
            if self.store.exists():
                os.rename(self.store, self.before)
            os.rename(self.building, self.store)
        if self.linkage.exists():
            os.replace(self.linkage, self.old_linkage)
        shutil.rmtree(self.before, ignore_errors=True)
        (self.store / _WHOLE).unlink()


def _is_under(store: Store, key_file: Path) -> bool:
    return key_file.exists() and load_key(key_file).key_id == store.key_id


def _refuse_wrong_key(config: RotateConfig, store: Store, old: Key) -> None:
    if store.key_id != old.key_id:
        raise StoreError(
            f"{store.root} is under key {store.key_id}, --key-file is {old.key_id}; name the key "
            "file that the store was made with"
        )
    for path, what in ((config.linkage, "linkage file"), (config.new_key_file, "key file")):
        if store.root.resolve() in path.resolve().parents:
            raise ConfigError(f"the {what} must not lie in the store: it undoes the pseudonyms")


def _build(
    config: RotateConfig, places: _Places, old: Key, new: Key, progress: Progress
) -> RotateResult:
    journal = Journal(places.store)
    keys = KeyMap(old, new)
    try:
        progress.start("learning keys", None)
        _learn(config, keys)
        progress.finish()
        about = open_store(places.store).about
        create_store(places.building, new.key_id, about.get("policy", {}))
        write_about(places.building, {**about, "key_id": new.key_id})
        renewed = Journal(places.building)
        try:
            left_out = write_journal(journal, renewed, keys, config.forget_withdrawn)
            volumes = write_tables_anew(places.store, places.building, keys, progress)
        finally:
            renewed.close(finished=True)
        _write_linkage(config.linkage, places.linkage, keys)
        result = RotateResult(old.key_id, new.key_id, volumes, left_out)
        (places.building / _WHOLE).write_text(json.dumps(vars(result)), encoding="utf-8")
        return result
    except Lost as lost:
        raise ConfigError(
            f"{config.linkage} does not cover {places.store}: {lost}; run medssl ingest for each "
            "archive once more with this --linkage and the old --key-file, then this command again"
        ) from None
    finally:
        keys.close()
        journal.close(finished=True)


def _learn(config: RotateConfig, keys: KeyMap) -> None:
    """All new keys: of the files that are there, and of what the linkage file recorded."""
    for place in sorted({row.archive for row in read_linkage(config.linkage)} - {""}):
        archive = Archive(Path(place), keys.old)
        if not archive.root.exists():
            raise ConfigError(
                "an archive that the linkage file names is not there; mount it, so that the next "
                "ingest knows its files again"
            )
        for found in files_of(archive, WalkCounts()):
            keys.learn_file(archive, found)
    for row in read_linkage(config.linkage):
        keys.learn(unpacked(row.preimages))
    for row in read_linkage(config.linkage):  # of a file that went away: nobody looks it up again
        if row.unit_key and keys.get(row.unit_key) is None:
            keys.add(row.unit_key, keys.new.hmac("unit that went away", row.unit_key))


def _write_linkage(old: Path, new: Path, keys: KeyMap) -> None:
    names = ("unit_key", "patient_key", "series_key", "volume_uid", "source_key")
    write_linkage(
        new,
        (
            replace(
                row,
                **{name: keys.get(getattr(row, name)) or "" for name in names},
                preimages=packed(
                    {
                        keys.get(digest) or digest: tuple(keys.renewed(fields))
                        for digest, fields in unpacked(row.preimages).items()
                    }
                ),
            )
            for row in read_linkage(old)
        ),
    )


def _told(store: Path) -> RotateResult:
    return RotateResult(**json.loads((store / _WHOLE).read_text(encoding="utf-8")))
