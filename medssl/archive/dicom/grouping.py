"""From headers to parts: frames that may make one volume.

Series first. Then what can never lie in one volume is kept apart: size, orientation, pixel spacing,
frame of reference, echo, b-value, magnitude from phase. Then, only where several frames lie at one
place, what tells them apart: temporal position, direction, trigger, acquisition. At the very last,
and only where every place holds the same number of frames, their order in time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from medssl.archive.dicom.frames import Frame
from medssl.archive.dicom.geometry import places
from medssl.archive.dicom.header import Header

_COSINES = 1e-4
_ECHO_MS = 0.1
_SPACING = 1e-4

# Values of ImageType after the second that say what the numbers are.
_MEANINGS = frozenset({
    "M", "P", "R", "I", "PHASE", "REAL", "IMAGINARY", "COMPLEX", "M_FFE", "M_SE", "M_IR", "R_FFE",
    "R_SE", "R_IR", "P_FFE", "P_SE", "P_IR", "I_FFE", "I_SE", "I_IR", "PHASE_MAP", "FIELD_MAP",
    "ADC", "EADC", "FA", "TRACEW", "TRACE", "TENSOR", "W", "F", "IP", "OP", "WATER", "FAT",
    "IN_PHASE", "OUT_PHASE", "OPP_PHASE", "VELOCITY", "VELOCITY_MAP", "T1_MAP", "T2_MAP", "R2",
    "R2_STAR", "MAG", "MAGNITUDE", "SUBTRACTION", "SUB", "SWI", "CBF", "CBV", "MTT", "TTP",
    "RCBF", "RCBV", "PHASE MAP", "OUT OF PHASE", "IN PHASE", "T1 MAP", "T2 MAP", "T2_STAR MAP",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Slice:
    """One frame of one file."""

    header: Header
    frame: Frame


@dataclass(frozen=True)
class Part:
    """Slices that may make one volume; `name` tells the part within its series, or is empty."""

    slices: tuple[Slice, ...]
    name: str = ""

    def named(self, more: str) -> str:
        return ",".join(filter(None, (self.name, more)))


def group_by_series(headers: Iterable[Header]) -> list[list[Header]]:
    """Headers of one patient, study and series together, each group in the order of its UIDs."""
    groups: dict[tuple[str, str, str], list[Header]] = defaultdict(list)
    for header in headers:
        groups[header.patient[0], header.study, header.series].append(header)
    return [sorted(groups[key], key=lambda h: (h.instance, str(h.path))) for key in sorted(groups)]


def split(slices: Sequence[Slice]) -> list[Part]:
    """Parts of a series by what can never lie in one volume, in a fixed order."""
    parts = [Part(tuple(slices))]
    for name, key in _NEVER_TOGETHER:
        parts = [piece for part in parts for piece in _by_value(part, name, key)]
    for name, key, tolerance in _NEVER_TOGETHER_NUMBERS:
        parts = [piece for part in parts for piece in _by_number(part, name, key, tolerance)]
    return parts


def split_by_headers(part: Part) -> list[Part]:
    """Part again where frames coincide and one of their fields tells them apart.

    A field counts where at least two of its values each fill half of the places, so that one stray
    duplicate never tears a volume in two.
    """
    if not collides(part):
        return [part]
    number = slice_places(part)
    num_places = int(number.max()) + 1
    for name, key in _TELL_APART:
        values = [key(s) for s in part.slices]
        filled: dict[Hashable, set[int]] = defaultdict(set)
        for value, place in zip(values, number, strict=True):
            filled[value].add(int(place))
        full = sorted((len(p) for p in filled.values()), reverse=True)
        if len(full) > 1 and 2 * full[1] >= num_places and full[1] > 1:
            pieces = _by_value(part, name, key)
            return [small for piece in pieces for small in split_by_headers(piece)]
    return [part]


def split_by_time(part: Part) -> list[Part] | None:
    """One part for each time point, where every place holds as many frames; None where not.

    Times of trigger or acquisition decide. Only where they do not, the InstanceNumber does, and
    only where it runs through the volumes one after the other, or through the places one after the
    other: numbers that follow neither were not given in order.
    """
    number = slice_places(part)
    counts = np.bincount(number)
    if len(counts) < 2 or counts.min() != counts.max() or counts.max() == 1:
        return None
    for rank in (_trigger, _acquired):
        grid = _ranked(part, number, rank)
        if grid is not None:
            return _time_points(part, grid)
    grid = _ranked(part, number, _instance_number)
    if grid is None or not _in_sequence(part, grid):
        return None
    return _time_points(part, grid)


def collides(part: Part) -> bool:
    """Whether two of its frames lie at one place."""
    return bool(len(np.unique(slice_places(part))) < len(part.slices))


def slice_places(part: Part) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The place of each slice along the normal, counted from 0."""
    positions = np.array([s.frame.position for s in part.slices])
    return places(positions, part.slices[0].frame.orientation)


def _by_value(part: Part, name: str, key: Callable[[Slice], Hashable]) -> list[Part]:
    groups: dict[Hashable, list[Slice]] = defaultdict(list)
    for one in part.slices:
        groups[key(one)].append(one)
    if len(groups) == 1:
        return [part]
    ordered = sorted(groups, key=_sortable)
    return [
        Part(tuple(groups[value]), part.named(f"{name}={_label(value, i)}"))
        for i, value in enumerate(ordered, 1)
    ]


def _by_number(
    part: Part, name: str, key: Callable[[Slice], tuple[float, ...]], tolerance: float
) -> list[Part]:
    """Groups of numbers that lie within a tolerance of the first of their group."""
    groups: list[tuple[tuple[float, ...], list[Slice]]] = []
    for one in sorted(part.slices, key=key):
        value = key(one)
        for centre, members in groups:
            if len(centre) == len(value) and all(
                abs(a - b) <= tolerance for a, b in zip(centre, value, strict=True)
            ):
                members.append(one)
                break
        else:
            groups.append((value, [one]))
    if len(groups) == 1:
        return [part]
    return [
        Part(
            tuple(members), part.named(f"{name}={_label(value[0] if len(value) == 1 else None, i)}")
        )
        for i, (value, members) in enumerate(groups, 1)
    ]


def _label(value: Hashable, index: int) -> str:
    """A number by itself, so that a part keeps its name when another comes; else the index."""
    return f"{value:g}" if isinstance(value, int | float) else f"#{index}"


def _sortable(value: Hashable) -> tuple[int, str | float | tuple[object, ...]]:
    """None before numbers before text, so that any mixture has an order."""
    if value is None:
        return 0, ""
    if isinstance(value, int | float):
        return 1, float(value)
    return 2, str(value)


def _meaning(one: Slice) -> tuple[str, ...]:
    return tuple(t for t in one.frame.image_type[2:] if t in _MEANINGS)


_NEVER_TOGETHER: tuple[tuple[str, Callable[[Slice], Hashable]], ...] = (
    ("class", lambda s: s.header.sop_class),
    ("size", lambda s: _size(s)),
    ("frame_of_reference", lambda s: s.header.frame_of_reference),
    ("photometric", lambda s: s.header.pixels.photometric),
    ("stack", lambda s: s.frame.stack),
    ("type", _meaning),
    ("rescale_type", lambda s: s.frame.rescale_type),
    ("b", lambda s: s.frame.diffusion.b_value),
)

_NEVER_TOGETHER_NUMBERS: tuple[tuple[str, Callable[[Slice], tuple[float, ...]], float], ...] = (
    ("orientation", lambda s: s.frame.orientation, _COSINES),
    ("spacing", lambda s: s.frame.spacing, _SPACING),
    ("echo", lambda s: () if s.frame.echo_ms is None else (s.frame.echo_ms,), _ECHO_MS),
)

_TELL_APART: tuple[tuple[str, Callable[[Slice], Hashable]], ...] = (
    ("image_type", lambda s: s.frame.image_type),
    ("direction", lambda s: s.frame.diffusion.direction),
    ("time", lambda s: s.frame.temporal),
    ("trigger", lambda s: s.frame.trigger_ms),
    ("inversion", lambda s: s.frame.inversion_ms),
    ("flip", lambda s: s.frame.flip_deg),
    ("kernel", lambda s: s.frame.kernel),
    ("acquisition", lambda s: s.frame.acquisition),
)


def _size(one: Slice) -> tuple[int, int]:
    mosaic, pixels = one.header.mosaic, one.header.pixels
    return (mosaic.rows, mosaic.columns) if mosaic else (pixels.rows, pixels.columns)


Rank = Callable[[Slice], tuple[float, ...] | None]


def _trigger(one: Slice) -> tuple[float, ...] | None:
    return None if one.frame.trigger_ms is None else (one.frame.trigger_ms,)


def _acquired(one: Slice) -> tuple[float, ...] | None:
    return None if one.frame.acquired_s is None else (one.frame.acquired_s,)


def _instance_number(one: Slice) -> tuple[float, ...] | None:
    number = one.header.instance_number
    return None if number is None else (float(number), float(one.frame.index))


def _ranked(
    part: Part, number: np.ndarray[tuple[int], np.dtype[np.int64]], rank: Rank
) -> list[list[Slice]] | None:
    """Frames of each place in the order of `rank`; None where it leaves two of them equal."""
    grid: list[list[Slice]] = [[] for _ in range(int(number.max()) + 1)]
    for one, place in zip(part.slices, number, strict=True):
        if rank(one) is None:
            return None
        grid[int(place)].append(one)
    for frames in grid:
        if len({rank(one) for one in frames}) < len(frames):
            return None
        frames.sort(key=lambda one: rank(one) or ())
    return grid


def _in_sequence(part: Part, grid: list[list[Slice]]) -> bool:
    def disjoint(groups: Iterable[Sequence[Slice]]) -> bool:
        spans = sorted(
            (min(numbers), max(numbers))
            for numbers in ([_instance_number(s) or () for s in group] for group in groups)
        )
        return all(a[1] < b[0] for a, b in pairwise(spans))

    return disjoint(grid) or disjoint(zip(*grid, strict=True))


def _time_points(part: Part, grid: list[list[Slice]]) -> list[Part]:
    return [
        replace(part, slices=tuple(slices), name=part.named(f"time={t}"))
        for t, slices in enumerate(zip(*grid, strict=True), 1)
    ]
