"""An overlay shows the slice where the reference is, in millimetres."""

from __future__ import annotations

import numpy as np

from medssl.report.overlay import overlay_figure
from medssl.volume import Volume


def test_the_slice_with_most_of_the_reference_is_shown() -> None:
    voxels = np.zeros((8, 9, 10), dtype=np.float32) + np.arange(10)  # each slice has one value
    volume = Volume(voxels, np.diag([1.0, 2.0, 3.0, 1.0]))
    reference, predicted = np.zeros((2, 8, 9, 10), dtype=np.int64)
    reference[2:5, 2:5, 3] = 1
    predicted[1:7, 1:8, 6] = 1  # larger, elsewhere
    shown = overlay_figure(volume, reference, predicted).axes[0].images[0]
    assert np.unique(shown.get_array()).tolist() == [3.0]
    assert overlay_figure(volume, reference, predicted).axes[0].get_aspect() == 2.0
    empty = np.zeros_like(reference)
    shown = overlay_figure(volume, empty, predicted).axes[0].images[0]
    assert np.unique(shown.get_array()).tolist() == [6.0]
