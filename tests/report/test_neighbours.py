"""Neighbours against a plain loop, and what is drawn of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import torch

from medssl.augment.batch import MODALITIES
from medssl.engine.health_probe import Probe
from medssl.report.neighbours import nearest_of_others, neighbours_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

AIR = -1.6213


def probe_of(modality: list[str], patient: list[int]) -> Probe:
    """Patches of air with one bright voxel, not in the middle, in float16."""
    count = len(modality)
    views = torch.full((count, 2, 1, 4, 6, 6), AIR, dtype=torch.float16)
    views[:, :, :, 2, 3, 1] = 2.0
    return Probe(
        pd.DataFrame(index=[f"{n:032x}" for n in range(count)]),
        np.array(patient),
        pd.DataFrame({"modality": modality, "body_part": [""] * count}),
        views,
        np.ones((count, 3)),
        torch.full((count,), MODALITIES.index("MR")),
        torch.full((count,), AIR),
    )


def test_the_nearest_of_other_patients_are_those_of_a_plain_loop() -> None:
    generator = torch.Generator().manual_seed(1)
    embedded = torch.randn(9, 2, 4, generator=generator)
    patient = np.array([0, 0, 1, 1, 2, 3, 4, 4, 5])
    for query in nearest_of_others(embedded, patient, [0, 4, 8], most=3):
        here = embedded[query.volume, 0].tolist()
        told = []
        for other in range(9):
            if patient[other] == patient[query.volume]:
                continue
            there = embedded[other, 0].tolist()
            dot = sum(a * b for a, b in zip(here, there, strict=True))
            lengths = math.hypot(*here) * math.hypot(*there)
            told.append((1 - dot / lengths, other))
        expected = sorted(told)[:3]
        assert query.nearest == [other for _, other in expected]
        assert query.distances == pytest.approx([distance for distance, _ in expected], abs=1e-6)


def drawn_axes(probe: Probe, embedded: torch.Tensor) -> list[Axes]:
    drawn = neighbours_figure(probe, embedded)
    assert drawn is not None
    return [axes for axes in drawn.axes if axes.images]


def test_a_neighbour_of_another_modality_is_framed() -> None:
    embedded = torch.eye(3)[[0, 0, 1]][:, None].repeat(1, 2, 1)
    axes = drawn_axes(probe_of(["MR", "MR", "PT"], [0, 1, 2]), embedded)
    assert len(axes) == 9  # each of three asked for, with both others
    framed = ["distance 1" in a.get_xlabel() for a in axes]
    assert [a.spines["left"].get_linewidth() == 3 for a in axes] == framed
    assert sum(framed) == 4


def test_air_that_float16_rounds_does_not_set_the_window() -> None:
    axes = drawn_axes(probe_of(["MR", "MR"], [0, 1]), torch.randn(2, 2, 4))
    for shown in axes:
        low, high = shown.images[0].get_clim()
        assert low == pytest.approx(AIR, abs=1e-3)
        assert high == pytest.approx(2.0, abs=0.05)


def test_one_patient_alone_has_no_neighbours() -> None:
    assert neighbours_figure(probe_of(["MR", "MR"], [7, 7]), torch.randn(2, 2, 4)) is None
