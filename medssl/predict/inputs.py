"""What is to be predicted: a store as it is, or DICOM and NIfTI as ingest judges them.

Files go into a store of their own under a key of their own, so that judgement, corrections and
refusals are those of `medssl ingest`. Store, key and the file that says which volume came from
where lie in a folder for its owner alone, which is deleted at the end. What a killed call leaves
of it serves the same INPUT alone.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from medssl.archive.config import IngestConfig
from medssl.archive.dicom import Unreadable, read_header
from medssl.archive.identity import Key, load_key, make_key_file
from medssl.archive.ingest import ingest
from medssl.archive.linkage import LinkageRow, read_linkage
from medssl.errors import ConfigError, MedsslError
from medssl.predict.config import PredictConfig
from medssl.progress import Progress
from medssl.store import Store, open_store
from medssl.store.store import affine_of

_OF = "input"
"""In the working folder: the path of the INPUT that it is of, in bytes, links resolved."""


@dataclass(frozen=True)
class Item:
    """A volume to predict, and by what a person knows it.

    Attributes:
        input: the file or folder that it comes from, relative to INPUT; of a store, volume_uid.
        part: which part of a series, where it was split.
        source: that file or folder; None of a store.
        scan_sha256: of its values, grid and units: the same scan is not predicted twice.
    """

    volume_uid: str
    input: str
    part: str
    source: Path | None
    is_dicom: bool
    scan_sha256: str

    @property
    def name(self) -> str:
        """Of its result files: hexadecimal digits that say nothing of the patient."""
        return hashlib.sha256(f"{self.input}\0{self.part}".encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Refused:
    """What is not predicted, and why: a reason code and a detail without PHI."""

    input: str
    part: str
    reason: str
    detail: str


class Given:
    """The volumes of an INPUT, in a store, and what was refused of it."""

    def __init__(
        self, store: Store, items: list[Item], refused: list[Refused], key: Key | None = None
    ) -> None:
        self.store, self.items, self.refused = store, items, refused
        self._key = key

    def dicom_files(self, item: Item) -> list[Path]:
        """The files of a DICOM volume, in no order."""
        keys = self.store.instances
        wanted = keys.loc[keys["volume_uid"] == item.volume_uid, "instance_key"]
        return [self._instances[key] for key in wanted if key in self._instances]

    @cached_property
    def _instances(self) -> dict[str, Path]:
        """The DICOM files of all items by the keyed hash of their SOP instance."""
        assert self._key is not None
        found: dict[str, Path] = {}
        seen: set[Path] = set()
        for source in {item.source for item in self.items if item.is_dicom and item.source}:
            for path in sorted(_files_of(source)):
                if path in seen:
                    continue
                seen.add(path)
                try:
                    instance = read_header(path).instance
                except (Unreadable, OSError):
                    continue
                found.setdefault(self._key.hmac("instance", instance), path)
        return found


@contextmanager
def open_input(config: PredictConfig, progress: Progress) -> Iterator[Given]:
    """The volumes of `config.input`.

    Raises:
        ConfigError: it is missing or holds no scan, it and `out` lie one inside the other, or an
            option has no effect on it.
        StoreError: it is a store that cannot be read.
    """
    work = config.out / ".work"
    _clear_of_others(work, config.input)
    if (config.input / "store.json").is_file():
        idle = [name for name in ("modality", "cases") if getattr(config, name) is not None]
        if idle:
            raise ConfigError(f"{', '.join(idle)}: without effect where INPUT is a store")
        store = open_store(config.input)
        yield Given(store, [_item(row, str(row["volume_uid"])) for row in _rows(store)], [])
        return
    try:
        yield _ingested(config, work, progress)
    except MedsslError:  # the same call would end so again; after a kill or a full disk it goes on
        shutil.rmtree(work, ignore_errors=True)
        raise
    shutil.rmtree(work, ignore_errors=True)


def check_places(config: PredictConfig) -> None:
    """INPUT is there, and OUT does not lie in it nor it in OUT.

    Raises:
        ConfigError: otherwise.
    """
    if not config.input.exists():
        raise ConfigError(f"nothing at {config.input}; INPUT is a folder or file of scans")
    given, out = config.input.resolve(), config.out.resolve()
    if given == out or given in out.parents or out in given.parents:
        raise ConfigError(f"{config.out} and INPUT lie one inside the other; choose another --out")


def _clear_of_others(work: Path, given: Path) -> None:
    """Delete what a killed call left of another INPUT, or before it said of which."""
    of = work / _OF
    if work.is_dir() and not (of.is_file() and of.read_bytes() == os.fsencode(given.resolve())):
        shutil.rmtree(work)


def _ingested(config: PredictConfig, work: Path, progress: Progress) -> Given:
    if not work.is_dir():
        work.mkdir(parents=True, mode=0o700)
        (work / _OF).write_bytes(os.fsencode(config.input.resolve()))
    key_file, linkage = work / "key", work / "linkage.parquet"
    if not key_file.is_file():
        make_key_file(key_file)
    archive = config.input.resolve()
    ingest(
        IngestConfig(
            archive=archive,
            store=work / "store",
            linkage=linkage,
            key_file=key_file,
            modality=config.modality,
            cases=config.cases,
        ),
        progress,
    )
    store = open_store(work / "store")
    links = list(read_linkage(linkage))
    root = archive if archive.is_dir() else archive.parent
    refused = _refused(store, links, root)
    given = Given(store, _items(store, links, root), refused, load_key(key_file))
    given.items = _told_apart(given, root)
    return given


def _items(store: Store, links: list[LinkageRow], root: Path) -> list[Item]:
    scans = {x.volume_uid: x for x in links if x.series_key and x.volume_uid}
    items = []
    for row in _rows(store):
        link = scans[row["volume_uid"]]
        item = _item(row, _relative(link.source, root), link.part)
        items.append(replace(item, source=Path(link.source)))
    return items


def _told_apart(given: Given, root: Path) -> list[Item]:
    """Series that share a folder are known by their first file, in the order of names."""
    shared = Counter((item.input, item.part) for item in given.items)
    result = []
    for item in given.items:
        files = given.dicom_files(item) if shared[item.input, item.part] > 1 else []
        result.append(replace(item, input=_relative(str(min(files)), root)) if files else item)
    return sorted(result, key=lambda item: (item.input, item.part))


def _refused(store: Store, links: list[LinkageRow], root: Path) -> list[Refused]:
    """Refused files and series; labels play no part here."""
    rows = store.rejected
    rows = rows[rows["kind"] != "label"]
    details = {
        (str(key), str(reason)): str(detail)
        for key, reason, detail in zip(
            rows["source_key"], rows["reason"], rows["detail"], strict=True
        )
    }
    return [
        Refused(
            _relative(x.source, root), x.part, x.reason_code, details[x.source_key, x.reason_code]
        )
        for x in links
        if x.outcome == "REJECTED" and (x.source_key, x.reason_code) in details
    ]


def _item(row: pd.Series, name: str, part: str = "") -> Item:
    grid = affine_of(row).tobytes().hex()
    told = f"{row['pixel_sha256']} {grid} {row['modality']} {row['units']}"
    digest = hashlib.sha256(told.encode()).hexdigest()
    is_dicom = row["source_format"] == "DICOM"
    return Item(str(row["volume_uid"]), name, part, None, is_dicom, digest)


def _rows(store: Store) -> Iterator[pd.Series]:
    return (row for _, row in store.manifest.iterrows())


def _relative(source: str, root: Path) -> str:
    return Path(os.path.relpath(source, root)).as_posix()


def _files_of(source: Path) -> list[Path]:
    return [source] if source.is_file() else [p for p in source.rglob("*") if p.is_file()]
