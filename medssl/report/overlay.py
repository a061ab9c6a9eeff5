"""A picture of a segmentation: where reference and prediction lie on the scan."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from medssl.report.figures import COLOURS
from medssl.volume import Array, Volume

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def overlay_figure(volume: Volume, reference: Array, predicted: Array) -> Figure:
    """The axial slice with most of the reference, plain and with both outlines.

    Where the reference is empty it is the slice with most of the prediction.

    Shown as radiologists look at it: from the feet, the patient's right on the left.

    Args:
        volume: the scan, (D, H, W).
        reference, predicted: masks on its grid.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.lines import Line2D

    image = volume.to_ras()
    truth, answer = (
        replace(volume, voxels=mask).to_ras().voxels for mask in (reference, predicted)
    )
    labelled = truth > 0 if (truth > 0).any() else answer > 0
    k = int(labelled.sum(axis=(0, 1)).argmax())
    x_mm, y_mm, _ = image.spacing_mm
    low, high = np.percentile(image.voxels, [0.5, 99.5])
    drawn, panels = plt.subplots(1, 2, figsize=(8.4, 4.4), layout="constrained")
    for panel in panels:
        panel.imshow(
            image.voxels[:, :, k].T, cmap="gray", vmin=low, vmax=max(high, low + 1e-6),
            origin="lower", aspect=y_mm / x_mm,
        )  # fmt: skip
        panel.invert_xaxis()
        panel.set_axis_off()
    for value in sorted(set(np.unique(truth)) | set(np.unique(answer))):
        for mask, colour, style in ((truth, COLOURS[5], "-"), (answer, COLOURS[4], "--")):
            here = np.equal(mask[:, :, k].T, value)
            if value > 0 and here.any() and not here.all():
                panels[1].contour(here, [0.5], colors=[colour], linestyles=style, linewidths=1.4)
    lines = [Line2D([], [], color=COLOURS[5]), Line2D([], [], color=COLOURS[4], linestyle="--")]
    panels[1].legend(lines, ["reference", "predicted"], loc="lower right", fontsize=8)
    return drawn
