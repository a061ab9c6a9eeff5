"""The folder that packed files are unpacked into, and the walk through what lies there.

It holds the archive's own files under their own names, so it identifies patients: it is open to its
owner alone. Below it each archive has a folder, and in that each packed file one, both named by
keyed hashes; what belongs to no packed file as it is now is taken away.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from medssl.archive.catalogue import PACKED_TAG, Catalogue, Entry
from medssl.archive.find import FileKind, Found, WalkCounts, walk
from medssl.archive.look import Archive
from medssl.archive.pool import Failure, Pool
from medssl.archive.unpack import MEMBERS, Packed, Unpacked
from medssl.errors import ConfigError

UnpackPool = Pool[Packed, Unpacked]
_FILES_AT_ONCE = 64
_BYTES_AT_ONCE = 64 * 2**20
_LOCK = "lock"


class Scratch:
    """The scratch folder of one archive, held by one run; a context manager."""

    def __init__(self, folder: Path, archive: Archive, pool: Callable[[int], UnpackPool]) -> None:
        """Make what is missing; `pool` is given the size in bytes of the largest packed file.

        Raises:
            ConfigError: the folder cannot be made, is another user's, or another run has it.
        """
        self._archive = archive
        self._pool = pool
        self._own = folder / archive.key.hmac("unpacked archive", archive.place)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._own.mkdir(mode=0o700, exist_ok=True)
            about = os.lstat(self._own)
        except OSError as error:
            raise ConfigError(
                f"cannot unpack into {folder}: {error.strerror}; choose another --unpack"
            ) from None
        private = stat.S_ISDIR(about.st_mode) and stat.S_IMODE(about.st_mode) & 0o077 == 0
        if not private or about.st_uid != os.geteuid():
            raise ConfigError(
                f"what lies in {folder} can be read by others; delete it, or choose another "
                "--unpack"
            )
        self._lock = os.open(self._own / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise ConfigError(
                f"another run unpacks this archive into {folder}; wait for it, or choose another "
                "--unpack"
            ) from None

    def __enter__(self) -> Scratch:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)

    def members(
        self, packed: Catalogue, catalogue: Catalogue, counts: WalkCounts
    ) -> Iterator[Found]:
        """The members of the packed files, which themselves go to `catalogue` with their ends."""
        packed.index()
        _, largest = packed.size_of(FileKind.REFUSED)
        outdated = set(os.listdir(self._own)) - {_LOCK}
        waiting: dict[str, Entry] = {}
        with self._pool(largest) as pool:
            for item, answer in pool.map(self._batches(packed, waiting)):
                entry = waiting.pop(item.folder)
                opened = isinstance(answer, Unpacked) and not answer.reason
                if isinstance(answer, Failure):
                    answer = Unpacked(answer.reason.value, answer.detail)
                catalogue.add(
                    entry._replace(
                        kind=FileKind.SIDE if opened else FileKind.REFUSED,
                        reason=answer.reason,
                        detail=answer.detail,
                        tags=PACKED_TAG,
                        fresh=True,
                    )
                )
                if os.path.isdir(item.folder):
                    outdated.discard(os.path.basename(item.folder))
                if opened:
                    yield from _members(item, counts)
        for name in outdated:
            shutil.rmtree(self._own / name, ignore_errors=True)

    def _batches(self, packed: Catalogue, waiting: dict[str, Entry]) -> Iterator[Sequence[Packed]]:
        batch: list[Packed] = []
        size = 0
        for entry in packed.of_kind(FileKind.REFUSED):
            found = entry.found
            name = self._archive.key.hmac("unpacked", self._archive.place, found.relative)
            folder = str(self._own / name)
            waiting[folder] = entry
            batch.append(Packed(found, folder))
            size += found.size
            if len(batch) == _FILES_AT_ONCE or size > _BYTES_AT_ONCE:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch


def _members(packed: Packed, counts: WalkCounts) -> Iterator[Found]:
    """What lies in the folder of a packed file, by the names it would have beside that file.

    Its stamp is that of the packed file, so that it is not new where it was unpacked again.
    """
    outer = packed.found
    folder = os.path.join(packed.folder, MEMBERS)
    beside = os.path.dirname(outer.relative)
    for found in walk(Path(folder), counts):
        yield Found(
            outer.root,
            os.path.join(beside, found.relative),
            found.size,
            f"{outer.stamp} {found.size}",
            packed=outer.relative,
            member=found.relative,
            unpacked=folder,
        )
