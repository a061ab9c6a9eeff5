"""Where patches are cut: on the body, and for two views of one scan with a set overlap.

Positions are millimetres along the scan's own axes (`ScanInfo.frame`), from its middle.
"""

from __future__ import annotations

import numpy as np

from medssl.augment.body import body_shown, draw_with_body
from medssl.augment.scan_info import ScanInfo, Vector
from medssl.store.body import BodyMask

_SHAKE = 0.1
_MAY_BE_CUT = 1 / 3

Range = tuple[Vector, Vector]


def draw_centre(
    rng: np.random.Generator, scan: ScanInfo, extent_mm: Vector, body: BodyMask | None = None
) -> Vector:
    """(3,) RAS millimetres: the middle of a patch of `extent_mm` that shows foreground.

    Along each axis: the patch lies inside the scan where it fits; inside the foreground's box
    where it fits there too, and otherwise takes in all of that box. A patch larger than the scan
    has the scan near its middle. With `body`, places that show mostly air are drawn again
    (`medssl.augment.body.draw_with_body`).
    """
    low, high = _where_foreground_fills(scan, extent_mm)

    def draw() -> Vector:
        return _to_world(scan, rng.uniform(low, high))

    if body is None:
        return draw()
    return draw_with_body(draw, lambda centre: body_shown(body, scan, centre, extent_mm))


def draw_two_centres(
    rng: np.random.Generator,
    scan: ScanInfo,
    extent_mm: Vector,
    overlap: tuple[float, float],
    body: BodyMask | None = None,
) -> tuple[Vector, Vector]:
    """Middles of two patches whose shared part of a patch's volume lies in the range `overlap`.

    Where that cannot be with all of the foreground's box in both, each shows at least two thirds
    of it along each axis; where the scan or its foreground is too small even so, they share more.
    Turning and scaling come on top. With `body`, a pair of which one shows mostly air is drawn
    again.
    """

    def draw() -> tuple[Vector, Vector]:
        return _two_centres(rng, scan, extent_mm, overlap)

    if body is None:
        return draw()
    return draw_with_body(
        draw, lambda pair: min(body_shown(body, scan, centre, extent_mm) for centre in pair)
    )


def _two_centres(
    rng: np.random.Generator, scan: ScanInfo, extent_mm: Vector, overlap: tuple[float, float]
) -> tuple[Vector, Vector]:
    shared = rng.uniform(*overlap)
    low, high = _where_foreground_fills(scan, extent_mm)
    if _least_shared(low, high, extent_mm) > shared:
        low, high = _where_foreground_fills(scan, extent_mm, _MAY_BE_CUT)
        shared = max(shared, _least_shared(low, high, extent_mm))
    offset = _split_offset(rng, shared, high - low, extent_mm)
    first = rng.uniform(low, np.maximum(high - offset, low))
    second = first + offset
    swapped = rng.random(3) < 0.5
    return (
        _to_world(scan, np.where(swapped, second, first)),
        _to_world(scan, np.where(swapped, first, second)),
    )


def _split_offset(rng: np.random.Generator, shared: float, room: Vector, extent: Vector) -> Vector:
    """Offsets with prod(1 - offset / extent) = shared, none larger than its room.

    -log(shared) is dealt out to the axes at random; what is too much for one goes to the others.
    """
    most = -np.log(np.maximum(1 - room / extent, 1e-6))
    total = -np.log(max(shared, 1e-6))
    part = np.minimum(total * rng.dirichlet(np.ones(3)), most)
    for axis in rng.permutation(3):
        part[axis] += min(most[axis] - part[axis], max(total - part.sum(), 0.0))
    return np.asarray(extent * (1 - np.exp(-part)))


def _least_shared(low: Vector, high: Vector, extent: Vector) -> float:
    return float(np.prod(np.maximum(1 - (high - low) / extent, 0.0)))


def _where_scan_fills(scan: ScanInfo, extent: Vector) -> Range:
    """Middles of patches that lie inside the scan, or near its middle where they are larger."""
    spare = np.asarray(scan.frame_shape) * scan.spacing_mm - extent
    shake = np.minimum(-spare / 2, _SHAKE * extent)
    reach = np.where(spare >= 0, spare / 2, shake)
    return -reach, reach


def _where_foreground_fills(scan: ScanInfo, extent: Vector, cut: float = 0.0) -> Range:
    """Middles of patches inside the foreground's box, or around it where they are larger.

    A share `cut` of the smaller of the two may lie outside the other.
    """
    low, high = _where_scan_fills(scan, extent)
    start, stop = scan.foreground_mm()
    one, other = start + extent / 2, stop - extent / 2
    beyond = cut * np.minimum(stop - start, extent)
    return (
        np.clip(np.minimum(one, other) - beyond, low, high),
        np.clip(np.maximum(one, other) + beyond, low, high),
    )


def _to_world(scan: ScanInfo, from_middle: Vector) -> Vector:
    return np.asarray(scan.centre_mm + scan.frame @ from_middle)
