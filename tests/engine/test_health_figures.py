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
    unit = np.random.default_rng(0).normal(size=(15, 3)).astype(np.float32)
    patient = np.array([*range(13), 13, 13])
    labels = np.array(["CT"] * 13 + ["PT"] * 2, dtype=object)
    assert recognised(unit, labels, patient) is None
    patient[14] = 14
    told = recognised(unit, labels, patient)
    assert told is not None
    assert told[1] == pytest.approx(13 / 15)
    labels = np.array(["CT", "CT", "MR", "MR", ""] * 3, dtype=object)
    told = recognised(unit, labels, patient)
    assert told is not None
    assert told[1] == 0.5
    assert recognised(unit[:11], labels[:11], patient[:11]) is None  # nine have a label


def test_one_modality_and_unknown_body_parts_give_no_figure_of_neighbours():
    probe = probe_of(["CT"] * 3, [""] * 3, [0, 1, 2])
    embedded = torch.randn(3, 2, 8, generator=torch.Generator().manual_seed(0))
    figures = figures_of(embedded, probe)
    assert set(figures) == {
        "health/rank", "health/deviation", "health/alignment", "health/uniformity"
    }  # fmt: skip
    assert all(np.isfinite(value) for value in figures.values())


def test_views_that_agree_and_volumes_that_differ_are_told_apart():
    probe = probe_of(["CT"] * 6 + ["MR"] * 6, ["HEAD"] * 12, list(range(12)))
    centres = torch.tensor([[1.0, 0, 0]] * 6 + [[0, 0, 1.0]] * 6)
    points = centres + 0.1 * torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    figures = figures_of(torch.stack([points, points], dim=1), probe)
    assert figures["health/alignment"] == 0
    assert figures["health/knn_modality"] == 1  # five of its own kind are left to each
    assert figures["health/majority_modality"] == 0.5
    assert "health/knn_body_part" not in figures
    collapsed = figures_of(torch.ones(12, 2, 3), probe)
    assert collapsed["health/uniformity"] == pytest.approx(0, abs=1e-6)
    assert collapsed["health/deviation"] == pytest.approx(0, abs=1e-6)
    assert collapsed["health/rank"] == pytest.approx(1, abs=1e-3)
