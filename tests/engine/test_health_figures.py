"""A look's figures: neighbours against a plain loop, and what a probe cannot tell."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch

from medssl.engine.health_figures import figures_of, recognised
from medssl.engine.health_probe import Probe


def probe_of(modality: list[str], body_part: list[str], patient: list[int]) -> Probe:
    count = len(modality)
    return Probe(
        pd.DataFrame(index=[f"{n:032x}" for n in range(count)]),
        np.array(patient),
        pd.DataFrame({"modality": modality, "body_part": body_part}),
        torch.zeros(count, 2, 1, 2, 2, 2, dtype=torch.float16),
        np.ones((count, 3)),
        torch.zeros(count, dtype=torch.int64),
        torch.zeros(count),
    )


def test_neighbours_vote_without_the_patients_own_volumes():
    rng = np.random.default_rng(0)
    labels = np.array(["CT", "MR", "PT"], dtype=object)[rng.integers(0, 3, 40)]
    patient = rng.integers(0, 12, 40)
    offsets = {"CT": 0.0, "MR": 0.8, "PT": 1.6}
    angle = np.array([offsets[label] for label in labels]) + rng.normal(0, 0.5, 40)
    unit = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    right = 0
    for n in range(40):
        others = sorted(
            (-float(unit[n] @ unit[m]), m) for m in range(40) if patient[m] != patient[n]
        )
        votes = Counter(labels[m] for _, m in others[:5])
        most = max(votes.values())
        right += min(label for label in votes if votes[label] == most) == labels[n]
    told = recognised(unit, labels, patient)
    assert told is not None
    assert told[0] == pytest.approx(right / 40)
    assert told[1] == pytest.approx(max(Counter(labels).values()) / 40)
    assert 0.3 < told[0] < 1


def test_labels_that_no_other_patient_has_are_left_out():
    unit = np.eye(5, 3, dtype=np.float32) + 0.1
    patient = np.array([0, 1, 2, 3, 3])
    assert recognised(unit, np.array(["CT", "CT", "", "PT", "PT"], dtype=object), patient) is None
    labels = np.array(["CT", "CT", "MR", "MR", ""], dtype=object)
    told = recognised(unit, labels, patient)
    assert told is not None
    assert told[1] == 0.5


def test_one_modality_and_unknown_body_parts_give_no_figure_of_neighbours():
    probe = probe_of(["CT"] * 3, [""] * 3, [0, 1, 2])
    embedded = torch.randn(3, 2, 8, generator=torch.Generator().manual_seed(0))
    figures = figures_of(embedded, probe)
    assert set(figures) == {
        "health/rank", "health/deviation", "health/alignment", "health/uniformity"
    }  # fmt: skip
    assert all(np.isfinite(value) for value in figures.values())


def test_views_that_agree_and_volumes_that_differ_are_told_apart():
    probe = probe_of(["CT", "CT", "MR", "MR"], ["HEAD"] * 4, [0, 1, 2, 3])
    points = torch.tensor([[1.0, 0, 0], [0.9, 0.1, 0], [0, 0, 1], [0, 0.1, 0.9]])
    figures = figures_of(torch.stack([points, points], dim=1), probe)
    assert figures["health/alignment"] == 0
    assert figures["health/knn_modality"] == 0  # three neighbours: two of the other modality
    assert figures["health/majority_modality"] == 0.5
    assert "health/knn_body_part" not in figures
    same = torch.ones(4, 2, 3)
    collapsed = figures_of(same, probe)
    assert collapsed["health/uniformity"] == pytest.approx(0, abs=1e-6)
    assert collapsed["health/deviation"] == pytest.approx(0, abs=1e-6)
    assert collapsed["health/rank"] == pytest.approx(1, abs=1e-3)
