"""Slices that fell out of their stack by a damaged header, though their files can be read.

One whose orientation, spacing or echo is damaged makes a part of its own. Missed in the middle it
leaves a gap; missed at an end it would leave a stack that passes for whole. So a single slice that
lies just where a stack would go on counts as a slice of that stack, and so does an image of its
kind that does not tell its position.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medssl.archive.dicom.frames import Frame
from medssl.archive.dicom.geometry import Misplaced
from medssl.archive.dicom.grouping import Slice
from medssl.archive.dicom.header import Header
from medssl.archive.reasons import Reason

_SAME_PLACE = 0.1  # of a step


def check_strays(ordered: Sequence[Slice], strays: Sequence[Frame]) -> None:
    """Raise Misplaced where one of `strays` continues a stack.

    Args:
        ordered: the slices of the stack along its normal, two or more.
        strays: frames that are in no stack of their series; those without a position are passed
            over.
    """
    first, last = (np.array(ordered[end].frame.position) for end in (0, -1))
    step = (last - first) / (len(ordered) - 1)
    for stray in strays:
        if len(stray.position) != 3:
            continue
        for number, place in ((0, first - step), (len(ordered) + 1, last + step)):
            off = np.linalg.norm(np.array(stray.position) - place)
            if off <= _SAME_PLACE * np.linalg.norm(step):
                raise Misplaced(
                    Reason.MISSING_SLICE,
                    f"a slice that lies where slice {number} of {len(ordered)} would has another "
                    "orientation, spacing or kind",
                )


def num_without_place(headers: Sequence[Header], model: Header) -> int:
    """How many single-frame images of a model's kind do not tell their position."""
    return sum(
        len(header.frames) == 1
        and not header.frames[0].position
        and not header.frames[0].marker
        and _kind(header) == _kind(model)
        for header in headers
    )


def _kind(header: Header) -> tuple[object, ...]:
    pixels = header.pixels
    return header.sop_class, pixels.rows, pixels.columns, header.frames[0].image_type
