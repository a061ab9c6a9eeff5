"""SEG and RTSTRUCT into one map of classes for each volume that they were drawn on.

Names of ROIs and segments may hold PHI: they are matched with the patterns of the configuration
here, and leave for nowhere but the linkage file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from medssl.archive.labels import Mask
from medssl.archive.reasons import Reason
from medssl.errors import CodecError

if TYPE_CHECKING:
    from medssl.archive.dicom import Header
    from medssl.archive.dicom.structures import Drawn, Grid, Structure


@dataclass(frozen=True)
class Target:
    """A volume that was taken, as far as a label has to know it."""

    grid: Grid
    frame_of_reference: str
    instances: frozenset[str]


@dataclass(frozen=True)
class Refusal:
    """A label file that was not taken; `names` are for the linkage file alone."""

    label: Header
    reason: Reason
    detail: str = ""
    names: tuple[str, ...] = ()


@dataclass
class LabelMap:
    """The classes of one volume, from one or several label files."""

    mask: Mask
    corrections: tuple[Reason, ...]
    sources: tuple[Header, ...]


@dataclass
class Labelled:
    """What the label files of a unit come to: maps by the number of their volume, and refusals."""

    maps: dict[int, LabelMap] = field(default_factory=dict)
    refused: list[Refusal] = field(default_factory=list)


@dataclass(frozen=True)
class _Piece:
    """One structure on the grid of one volume, cut to the box that holds it.

    `rank` is its place among the patterns.
    """

    label: Header
    name: str
    rank: int
    box: tuple[slice, ...]
    inside: Drawn
    corrections: tuple[Reason, ...]

    def voxels(self, shape: tuple[int, int, int]) -> npt.NDArray[np.int64]:
        """The flat indices of its voxels in the volume."""
        at = np.argwhere(self.inside) + np.array([b.start for b in self.box])
        return np.asarray(np.ravel_multi_index(tuple(at.T), shape))


def label_volumes(
    labels: Sequence[Header],
    targets: Sequence[Target],
    known_instances: frozenset[str],
    structures: Mapping[str, int],
) -> Labelled:
    """Draw the label files of one series on its volumes.

    A label file is taken whole or not at all; several of them add up. Where two classes meet, the
    later one of `structures` has the voxel (LABEL_OVERLAP).

    Args:
        labels: headers of the label files.
        targets: the volumes of the series.
        known_instances: all SOP instances of the series, also those that make no volume.
        structures: pattern of a name to class, in the order in which they are painted.

    Raises:
        CodecError: the decoder of a segmentation is not installed.
    """
    out = Labelled()
    pieces: dict[int, list[_Piece]] = defaultdict(list)
    for label in labels:
        found = _drawn(label, targets, known_instances, structures)
        if isinstance(found, Refusal):
            out.refused.append(found)
            continue
        for at, piece in found:
            pieces[at].append(piece)
    disputed = {
        id(piece.label)
        for at, each in pieces.items()
        for piece in _disputed(each, targets[at].grid.shape)
    }
    out.refused += [Refusal(x, Reason.LABEL_AMBIGUOUS) for x in labels if id(x) in disputed]
    classes = list(structures.values())
    for at, each in sorted(pieces.items()):
        agreed = [piece for piece in each if id(piece.label) not in disputed]
        if agreed:
            out.maps[at] = _painted(agreed, targets[at].grid, classes)
    return out


def class_rank(name: str, structures: Mapping[str, int]) -> int | None:
    """The place of the last pattern that fits a name, whatever its case; None where none does."""
    plain = name.strip().casefold()
    ranks = [i for i, p in enumerate(structures) if fnmatchcase(plain, p.strip().casefold())]
    return ranks[-1] if ranks else None


def _drawn(
    label: Header,
    targets: Sequence[Target],
    known_instances: frozenset[str],
    structures: Mapping[str, int],
) -> Refusal | list[tuple[int, _Piece]]:
    """The mapped structures of one file with the numbers of their volumes, or why there are none.

    Whatever goes wrong in a label costs the label alone, never the image.
    """
    from medssl.archive.dicom.structures import LabelFault

    try:
        return _pieces_of(label, targets, known_instances, structures)
    except LabelFault as fault:
        return Refusal(label, fault.reason, fault.detail)
    except MemoryError:
        return Refusal(label, Reason.WORKER_OUT_OF_MEMORY)
    except CodecError:
        raise
    except OSError:
        return Refusal(label, Reason.UNREADABLE_FILE)
    except Exception as error:
        return Refusal(label, Reason.INTERNAL_ERROR, type(error).__name__)


def _pieces_of(
    label: Header,
    targets: Sequence[Target],
    known_instances: frozenset[str],
    structures: Mapping[str, int],
) -> Refusal | list[tuple[int, _Piece]]:
    from medssl.archive.dicom.structures import LabelFault

    series = label.label.series if label.label is not None else ()
    if len(series) > 1:
        raise LabelFault(Reason.LABEL_SEVERAL_SERIES, f"{len(series)} series")
    if not targets:
        raise LabelFault(Reason.LABEL_WITHOUT_IMAGE)
    found = _read(label)
    ranked = [(one, class_rank(one.name, structures)) for one in found]
    mapped = [(one, rank) for one, rank in ranked if rank is not None]
    if not mapped:
        names = tuple(one.name for one in found)
        detail = f"{len(found)} structures"
        return Refusal(label, Reason.LABEL_NOT_MAPPED, detail, names)
    pieces = []
    for one, rank in mapped:
        for at, drawn, corrections in _on_volumes(one, targets, known_instances):
            pieces.append((at, _Piece(label, one.name, rank, *_cut(drawn), corrections)))
    return pieces


def _read(label: Header) -> Sequence[Structure]:
    from medssl.archive.dicom.label_reference import STRUCTURE_SET
    from medssl.archive.dicom.segmentation import read_segmentation
    from medssl.archive.dicom.structure_set import read_structure_set

    if label.sop_class == STRUCTURE_SET:
        return read_structure_set(label.path)
    return read_segmentation(label.path)


def _on_volumes(
    one: Structure, targets: Sequence[Target], known_instances: frozenset[str]
) -> list[tuple[int, Drawn, tuple[Reason, ...]]]:
    """A structure on the volumes that it was drawn on: by its instances, else by its grid."""
    from medssl.archive.dicom.structures import LabelFault

    chosen = list(enumerate(targets))
    named = one.instances & known_instances
    if named:
        chosen = [(at, target) for at, target in chosen if target.instances & named]
        if not chosen:
            raise LabelFault(Reason.LABEL_WITHOUT_IMAGE, "drawn on slices that make no volume")
    chosen = [(at, t) for at, t in chosen if _same_frame(one, t, bool(named))]
    if not chosen:
        raise LabelFault(Reason.LABEL_FRAME_DIFFERS)
    placed, faults = [], []
    for at, target in chosen:
        try:
            placed.append((at, *one.draw(target.grid)))
        except LabelFault as fault:
            if fault.reason not in (Reason.LABEL_OFF_SLICE, Reason.LABEL_GRID_MISMATCH):
                raise
            faults.append(fault)
    if not placed:
        raise faults[0]
    return placed


def _same_frame(one: Structure, target: Target, named: bool) -> bool:
    """Frames of reference that are stated are equal; where one is not, the instances have to say
    that the structure was drawn on this volume."""
    if one.frame_of_reference and target.frame_of_reference:
        return one.frame_of_reference == target.frame_of_reference
    return named


def _cut(drawn: Drawn) -> tuple[tuple[slice, ...], Drawn]:
    """The smallest box that holds all that is drawn, and what is drawn in it."""
    box = []
    for axis in range(3):
        filled = np.flatnonzero(drawn.any(axis=tuple({0, 1, 2} - {axis})))
        box.append(slice(int(filled[0]), int(filled[-1]) + 1) if len(filled) else slice(0, 0))
    return tuple(box), drawn[tuple(box)].copy()


def _disputed(pieces: Sequence[_Piece], shape: tuple[int, int, int]) -> list[_Piece]:
    """Structures of one name that two files draw over each other, but not alike: two versions."""
    by_name: dict[str, list[_Piece]] = defaultdict(list)
    for piece in pieces:
        by_name[piece.name.strip().casefold()].append(piece)
    out: list[_Piece] = []
    for same in by_name.values():
        for one, other in combinations(same, 2):
            if one.label is not other.label:
                a, b = one.voxels(shape), other.voxels(shape)
                shared = len(np.intersect1d(a, b, assume_unique=True))
                if shared and not shared == len(a) == len(b):
                    out += (one, other)
    return out


def _painted(pieces: Sequence[_Piece], grid: Grid, classes: Sequence[int]) -> LabelMap:
    painted: npt.NDArray[np.uint8] = np.zeros(grid.shape, dtype=np.uint8)
    corrections = [reason for piece in pieces for reason in piece.corrections]
    for piece in sorted(pieces, key=lambda p: p.rank):
        value = classes[piece.rank]
        within = painted[piece.box]
        below = within[piece.inside]
        if ((below != 0) & (below != value)).any():
            corrections.append(Reason.LABEL_OVERLAP)
        within[piece.inside] = value
    return LabelMap(
        Mask(painted, grid.affine),
        tuple(dict.fromkeys(corrections)),
        tuple({id(p.label): p.label for p in pieces}.values()),
    )
