"""The pictures of a reconstruction."""

from __future__ import annotations

import numpy as np
import torch

from medssl.methods.base import Pictures
from medssl.report.reconstructions import reconstruction_figure


def test_hidden_voxels_are_left_out_and_the_output_has_the_window_of_the_target() -> None:
    target = torch.linspace(0, 1, 2 * 4 * 6 * 8).reshape(2, 1, 4, 6, 8)
    shown = 5 * target
    shown[:, :, :, :3] = torch.nan
    pictures = Pictures(shown, target + 0.01, target)
    drawn = reconstruction_figure(pictures, ["first", "second"], np.array([[3.0, 1, 1], [1, 1, 1]]))
    axes = [a for a in drawn.axes if a.images]
    assert len(axes) == 6
    for row in (axes[:3], axes[3:]):
        inside, output, truth = (a.images[0] for a in row)
        hidden = np.ma.getmaskarray(inside.get_array())
        assert hidden.sum() == hidden.size // 2
        assert output.get_clim() == truth.get_clim()
        assert inside.get_clim() != truth.get_clim()
        added = np.asarray(output.get_array()) - np.asarray(truth.get_array())
        assert np.allclose(added, np.where(hidden, 0.01, 0), atol=1e-6)
    assert [a.get_ylabel() for a in axes[::3]] == ["first", "second"]
