"""The signal above the background times a factor."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medssl.augment.intensity.brightness import Brightness

from .conftest import change, rising


def test_the_signal_is_multiplied_and_the_background_stays() -> None:
    factor = Brightness(1.3).draw(np.random.default_rng(3), 1.0)["factor"]
    assert abs(factor - 1) > 0.01
    changed = change(Brightness(1.3), rising(), 3)
    torch.testing.assert_close(changed + 1, (rising() + 1) * factor)


@pytest.mark.parametrize("strength", [0.1, 1.0, 2.0])
def test_factors_stay_in_their_range(strength: float) -> None:
    drawn = [Brightness(1.3).draw(np.random.default_rng(s), strength) for s in range(300)]
    logs = np.log([one["factor"] for one in drawn])
    assert np.abs(logs).max() <= strength * np.log(1.3) + 1e-9
    assert logs.max() > 0.9 * strength * np.log(1.3)
