"""Slab by slab the network answers as MONAI's inferer does that holds the whole image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data.utils import dense_patch_slices
from monai.inferers import sliding_window_inference
from torch import Tensor, nn

from medssl.transfer.sliding_window import num_windows, slide, window_starts


class Convolved(nn.Module):
    """Three classes whose logits depend on the neighbours: windows differ where they meet."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv3d(channels, 4, 5, padding=2), nn.Tanh(), nn.Conv3d(4, 3, 5, padding=2)
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(
    ("shape", "window"),
    [
        ((33, 20, 17), (8, 8, 8)),
        ((9, 41, 16), (16, 8, 12)),  # narrower than a window along the first axis
        ((8, 8, 8), (8, 8, 8)),
        ((5, 6, 7), (8, 8, 8)),
        ((40, 10, 31), (10, 6, 9)),  # odd windows: half of one is no whole number
    ],
)
@pytest.mark.parametrize("backgrounds", [[-0.7], [-0.7, 0.4]])
@torch.no_grad()
def test_slabs_make_what_the_whole_image_at_once_makes(
    shape: tuple[int, int, int], window: tuple[int, int, int], axis: int, backgrounds: list[float]
) -> None:
    channels = len(backgrounds)
    image = torch.randn((channels, *shape), generator=torch.Generator().manual_seed(1))
    network = Convolved(channels)
    told: list[int] = []
    reads: list[tuple[int, int]] = []

    def planes(start: int, stop: int) -> Tensor:
        reads.append((start, stop))
        return image.narrow(axis + 1, start, stop - start)

    slabs = list(slide(network, planes, shape, window, axis, backgrounds, told.append))
    # MONAI pads with one number: with 0, of an image whose backgrounds were taken from it.
    levels = torch.tensor(backgrounds)[:, None, None, None]
    expected = sliding_window_inference(
        (image - levels)[None], window, 3, lambda x: network(x + levels), 0.5, mode="gaussian"
    )[0]
    torch.testing.assert_close(
        torch.cat([logits for _, logits in slabs], dim=axis + 1), expected, atol=1e-5, rtol=1e-5
    )
    ends = np.cumsum([logits.shape[axis + 1] for _, logits in slabs])
    assert [start for start, _ in slabs] == [0, *ends[:-1]]
    assert sum(told) == num_windows(shape, window)
    # Every plane is read once.
    assert reads[0][0] == 0
    assert [stop for _, stop in reads] == [*(start for start, _ in reads[1:]), shape[axis]]


@pytest.mark.parametrize("length", range(8, 60, 3))
@pytest.mark.parametrize("window", [2, 5, 8])
def test_windows_begin_where_monai_begins_them(length: int, window: int) -> None:
    step = window if length == window else max(int(window * 0.5), 1)
    slices = dense_patch_slices((length, 1, 1), (window, 1, 1), (step, 1, 1))
    assert window_starts(length, window) == [s[0].start for s in slices]
