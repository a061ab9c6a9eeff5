"""Whether a series is whole though a damaged file lies beside it.

A series that a damaged file is tied to is refused rather than taken short, but for what shows that
the file is none of its slices, or none that is missing:

- a sound file of the same name, but for its ending, lies beside the damaged one;
- the damaged file's SOP instance is there in a sound file;
- its folder is a copy: each sound slice in it is also elsewhere, and more slices are;
- the headers declare how many images there are, and so many came;
- the names number the slices along their positions, and its own lies inside that run: a slice lost
  there would have left a gap;
- the names rise with InstanceNumber, and by its own the damaged one would have a number below 1.

A file that is whole in itself (enhanced, mosaic) is no stack that a neighbour could be a slice of.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from medssl.archive.identity import Key
from medssl.archive.lost import LostFile
from medssl.archive.numbering import numbers_of, pattern_of, run_of, without_ending

if TYPE_CHECKING:
    from medssl.archive.dicom import Header


@dataclass(frozen=True, slots=True)
class Lost:
    """What a series has lost: files that are certainly its own, and files that may be."""

    certain: int = 0
    beside: tuple[Path, ...] = ()


def still_lost(files: Iterable[LostFile], headers: Sequence[Header], key: Key) -> Lost:
    """Of the files tied to a series, those that no sound file of it stands for."""
    files = list(files)
    if not files:
        return Lost()
    names = {(h.path.parent, without_ending(h.path.name)) for h in headers}
    instances = {key.hmac("instance", h.instance) for h in headers}
    left = [
        f
        for f in files
        if f.instance not in instances and (f.path.parent, without_ending(f.path.name)) not in names
    ]
    beside = tuple(f.path for f in left if not f.certain)
    return Lost(certain=len(left) - len(beside), beside=beside)


def may_lack(beside: Sequence[Path], stack: Sequence[Header], instances: Mapping[Path, str]) -> int:
    """How many damaged files beside a stack without a gap may be slices of its ends.

    Args:
        beside: the damaged files.
        stack: the files of the stack along its normal.
        instances: the SOP instance of each sound file of the series, copies included.
    """
    if not beside or len(stack[0].frames) > 1:
        return 0
    declared = {header.declared_slices or header.declared_images for header in stack}
    if len(declared) == 1 and declared <= {len(stack), len(set(instances.values()))}:
        return 0
    return may_be_slices(beside, stack, instances)


def may_be_slices(
    damaged: Sequence[Path], stack: Sequence[Header], instances: Mapping[Path, str]
) -> int:
    """How many damaged files may be slices of a stack that is without a gap.

    Args:
        damaged: files beside the series.
        stack: the stack's own files, one a slice, along its normal.
        instances: the SOP instance of each sound file of the series, copies included.
    """
    by_folder: dict[Path, list[Path]] = {}
    for path in damaged:
        by_folder.setdefault(path.parent, []).append(path)
    count = 0
    for folder, files in by_folder.items():
        here = {uid for path, uid in instances.items() if path.parent == folder}
        elsewhere = {uid for path, uid in instances.items() if path.parent != folder}
        is_copy = bool(here) and here <= elsewhere and len(elsewhere - here) >= len(files)
        if not is_copy:
            count += sum(
                not (_inside_run(path, stack) or _before_first(path, stack)) for path in files
            )
    return count


def _inside_run(damaged: Path, stack: Sequence[Header]) -> bool:
    """Whether the names number the slices along the stack, and this one lies within."""
    numbers = [
        numbers_of(h.path.name)
        for h in stack
        if h.path.parent == damaged.parent and pattern_of(h.path.name) == pattern_of(damaged.name)
    ]
    if len(numbers) < max(3, len(stack)):
        return False
    if numbers[0] > numbers[-1]:
        numbers.reverse()
    rising = all(a < b for a, b in pairwise(numbers))
    return rising and numbers[0] < numbers_of(damaged.name) < numbers[-1]


def _before_first(damaged: Path, stack: Sequence[Header]) -> bool:
    """Whether names and InstanceNumbers rise together, and this one's would be below 1."""
    run, number = run_of(str(damaged))
    offsets = set()
    for header in stack:
        its_run, its_number = run_of(str(header.path))
        if its_run != run or its_number is None or header.instance_number is None:
            return False
        offsets.add(its_number - header.instance_number)
    return number is not None and len(offsets) == 1 and number - offsets.pop() < 1
