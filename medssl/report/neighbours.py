"""Volumes beside those that the encoder finds most similar, so that one sees what it goes by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from medssl.augment.batch import MODALITIES
from medssl.engine.health_probe import Probe, of_each_kind
from medssl.report.contact_sheet import window_by
from medssl.report.reconstructions import axial_plane, richest_level, show_plane

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

_QUERIES = 6
_NEAREST = 5
_SIDE, _CAPTION = 1.62, 0.5  # inches
_ROUNDED = 0.02  # more than what float16 rounds air by


@dataclass(frozen=True)
class Query:
    """A volume of the probe and its nearest of other patients, by place in the probe."""

    volume: int
    nearest: list[int]
    distances: list[float]


def nearest_of_others(
    embedded: Tensor,
    patient: npt.NDArray[np.int64],
    queries: list[int],
    most: int = _NEAREST,
) -> list[Query]:
    """The nearest volumes of other patients, by cosine distance of first views' embeddings.

    Args:
        embedded: (V, 2, K).
    """
    first = embedded[:, 0].numpy().astype(np.float64)
    unit = first / np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-30)
    found = []
    for volume in queries:
        distance = 1 - unit @ unit[volume]
        others = np.flatnonzero(patient != patient[volume])
        nearest = others[np.argsort(distance[others], kind="stable")][:most]
        found.append(Query(volume, nearest.tolist(), distance[nearest].tolist()))
    return found


def neighbours_figure(probe: Probe, embedded: Tensor) -> Figure | None:
    """A row a query: it, then its nearest of other patients; None where there is no other."""
    found = nearest_of_others(embedded, probe.patient, of_each_kind(probe, _QUERIES))
    found = [query for query in found if query.nearest]
    if not found:
        return None
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    columns = 1 + max(len(query.nearest) for query in found)
    drawn, grid = plt.subplots(
        len(found),
        columns,
        figsize=(columns * _SIDE, len(found) * (_SIDE + _CAPTION)),
        squeeze=False,
        layout="constrained",
    )
    for axes in grid.flat:
        axes.set_axis_off()
    for row, query in zip(grid, found, strict=True):
        _draw(row[0], probe, query.volume, "asked for")
        for axes, volume, distance in zip(row[1:], query.nearest, query.distances, strict=False):
            _draw(axes, probe, volume, f"distance {distance:.2g}")
            if _differs(probe, query.volume, volume):
                axes.spines[:].set(color="#D55E00", linewidth=3, linestyle="--")
    return drawn


def kind_of(probe: Probe, volume: int) -> str:
    """Modality and body part of a volume, as far as they are known."""
    return " · ".join(word for word in probe.kinds.iloc[volume] if word)


def _draw(axes: Axes, probe: Probe, volume: int, line: str) -> None:
    image = probe.views[volume, 0, 0].float().numpy()
    background = float(probe.background[volume])
    policy = MODALITIES[int(probe.policy[volume])]
    window = window_by(policy, background, image[image > background + _ROUNDED])
    spacing = probe.spacing_mm[volume]
    axes.set_axis_on()
    show_plane(
        axes,
        axial_plane(image, richest_level(image)),
        (window.low, window.high),
        float(spacing[1] / spacing[0]),
        window.inverted,
    )
    uid = str(probe.rows.index[volume])[:8]
    axes.set_xlabel(f"{kind_of(probe, volume)}\n{uid}\n{line}", fontsize=7.5)


def _differs(probe: Probe, query: int, other: int) -> bool:
    pairs = zip(probe.kinds.iloc[query], probe.kinds.iloc[other], strict=True)
    return any(a and b and a != b for a, b in pairs)
