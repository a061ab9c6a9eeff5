"""What file names tell of each other: a common pattern, a common run of numbers."""

from __future__ import annotations

import os
import re
from pathlib import PurePath

_NUMBER = re.compile(r"(?=[0-9a-f]*\d)[0-9a-f]{8,}|\d+")  # digits, or a long hexadecimal number
_LAST_NUMBER = re.compile(r"(?<!\d)\d{1,18}(?=\D*$)")
_ENDINGS = (".dcm", ".ima", ".dicom", ".dic")


def pattern_of(name: str) -> str:
    return _NUMBER.sub("#", name.lower())


def numbers_of(name: str) -> list[int]:
    return [int(found, 16) for found in _NUMBER.findall(name.lower())]


def place_of(relative: str) -> int:
    """Folder and pattern of a name, as a number of this process alone."""
    folder, name = os.path.split(relative)
    return hash((folder, pattern_of(name)))


def run_of(relative: str) -> tuple[int, int | None]:
    """Folder and name but for its last number, as a number of this process; and that number."""
    folder, name = os.path.split(relative)
    found = _LAST_NUMBER.search(name)
    if found is None:
        return hash((folder, name)), None
    rest = name[: found.start()], name[found.end() :]
    return hash((folder, *rest)), int(found[0])


def without_ending(name: str) -> str:
    path = PurePath(name.lower())
    return path.stem if path.suffix in _ENDINGS else name.lower()
