"""Masks on another grid than their image."""

from __future__ import annotations

import numpy as np
import pytest

from medssl.archive.labels import Mask, fit_mask
from medssl.archive.reasons import Reason


@pytest.mark.parametrize("shift", [0.3, -0.3])
def test_the_outermost_voxels_of_a_cropped_mask_are_whole(shift: float) -> None:
    image = np.eye(4)
    own = np.eye(4)
    own[0, 3] = 2 + shift
    mask = Mask(np.ones((3, 5, 5), dtype=np.uint8), own)
    fitted, corrections = fit_mask(mask, image, (8, 5, 5))
    assert corrections == (Reason.LABEL_RESAMPLED,)
    assert list(np.flatnonzero(fitted.classes.any(axis=(1, 2)))) == [2, 3, 4]
