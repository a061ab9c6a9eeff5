"""A network slid over an image, its answers given out slab by slab along one axis.

Windows lie where MONAI's `sliding_window_inference` puts them, overlap by half, and are blended by
its Gaussian weights; so are the results. It holds the logits of the whole image, though; here only
the planes of one window's length are held, whatever the image's length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import torch
from torch import Tensor, nn

from medssl.augment.array_sampling import Size

OVERLAP = 0.5
_AT_ONCE = 2

Planes = Callable[[int, int], Tensor]
Told = Callable[[int], None]


def window_starts(length: int, window: int) -> list[int]:
    """Where windows begin along an axis that is no shorter than they are; the last one ends it."""
    step = window if length == window else max(int(window * (1 - OVERLAP)), 1)
    number = -(-(length - window) // step) + 1
    return [min(i * step, length - window) for i in range(number)]


def num_windows(shape: Size, window: Size) -> int:
    """Of how many windows the answer for an image of this shape is blended."""
    count = 1
    for length, side in zip(shape, window, strict=True):
        count *= len(window_starts(max(length, side), side))
    return count


def slide(
    network: nn.Module,
    planes: Planes,
    shape: Size,
    window: Size,
    axis: int,
    backgrounds: Sequence[float],
    told: Told = lambda windows: None,
) -> Iterator[tuple[int, Tensor]]:
    """Blended logits (K, D, H, W) of successive slabs along `axis`, each with its first plane.

    Memory, of C channels: 4 bytes x (K + C + 2) x the window's length along `axis` x the image's
    size along the other two axes, twice that for a moment, and what the network takes for two
    windows.

    Args:
        planes: the image's planes from start to stop along `axis`, as (C, D, H, W) float32 on the
            CPU.
        shape: (D, H, W) of the image; one smaller than a window is padded on both sides.
        backgrounds: of each channel, the value that it is padded with.
        told: called with the number of windows that are done.
    """
    device = next(network.parameters()).device
    padded = [max(n, side) for n, side in zip(shape, window, strict=True)]
    before = [(p - n) // 2 for p, n in zip(padded, shape, strict=True)]
    inside = [slice(b, b + n) for b, n in zip(before, shape, strict=True)]
    held_shape = [window[axis] if a == axis else padded[a] for a in range(3)]
    starts = [window_starts(p, side) for p, side in zip(padded, window, strict=True)]
    weights = _gaussian(window)
    across = [a for a in range(3) if a != axis]
    corners = list(product(*(starts[a] for a in across)))
    image = torch.stack([torch.full(held_shape, background) for background in backgrounds])
    count = torch.zeros(held_shape)
    logits: Tensor | None = None
    read_to = 0  # planes of the padded image that were read
    for number, start in enumerate(starts[axis]):
        end = start + window[axis]
        first = max(read_to, before[axis])
        last = min(end, before[axis] + shape[axis])
        if first < last:
            place = list(inside)
            place[axis] = slice(first - start, last - start)
            image[(slice(None), *place)] = planes(first - before[axis], last - before[axis])
        read_to = end
        for at in range(0, len(corners), _AT_ONCE):
            boxes = [_box(corner, across, window) for corner in corners[at : at + _AT_ONCE]]
            batch = torch.stack([image[(slice(None), *box)] for box in boxes])
            answers = network(batch.to(device)).float().cpu()
            if logits is None:
                logits = torch.zeros((answers.shape[1], *held_shape))
            for box, answer in zip(boxes, answers, strict=True):
                logits[(slice(None), *box)] += answer * weights
                count[box] += weights
            told(len(boxes))
        assert logits is not None
        following = starts[axis][number + 1] if number + 1 < len(starts[axis]) else end
        done = following - start
        stop = min(done, inside[axis].stop - start)
        begin = max(0, before[axis] - start)
        if begin < stop:
            place = list(inside)
            place[axis] = slice(begin, stop)
            yield start + begin - before[axis], logits[(slice(None), *place)] / count[tuple(place)]
        for channel, background in zip(image, backgrounds, strict=True):
            _shift(channel, done, axis, background)
        _shift(count, done, axis, 0.0)
        _shift(logits, done, axis + 1, 0.0)


def _gaussian(window: Size) -> Tensor:
    from monai.data.utils import compute_importance_map

    weights: Tensor = compute_importance_map(window, mode="gaussian", sigma_scale=0.125)
    return weights


def _box(corner: tuple[int, ...], across: list[int], window: Size) -> tuple[slice, ...]:
    box = [slice(None)] * 3
    for start, a in zip(corner, across, strict=True):
        box[a] = slice(start, start + window[a])
    return tuple(box)


def _shift(held: Tensor, by: int, axis: int, empty: float) -> None:
    """Move the planes forward, in place, the freed ones being filled with `empty`."""
    length = held.shape[axis]
    kept = length - by
    for to in range(0, kept, by):  # pieces that do not overlap their own source
        size = min(by, kept - to)
        held.narrow(axis, to, size).copy_(held.narrow(axis, to + by, size))
    held.narrow(axis, kept, by).fill_(empty)
