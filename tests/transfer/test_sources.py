"""Labelled patches: pure, balanced, and with the mask on the image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from medssl.augment.config import AugmentConfig
from medssl.store import open_store
from medssl.transfer.cases import labelled_cases
from medssl.transfer.sources import (
    ClassificationSource,
    NumberSource,
    Sampling,
    SegmentationSource,
    to_class_numbers,
)
from medssl.transfer.task_config import ClassificationTask, SegmentationTask

AUGMENT = AugmentConfig.model_validate(
    {"patch": {"size": [16, 16, 16], "spacing_mm": 1.0}, "spatial": {"rotate_probability": 0.5}}
)


def classification(path: Path, batch: int = 6) -> ClassificationSource:
    store = open_store(path)
    cases = labelled_cases(store, ClassificationTask(label="size")).frame
    # Seven of one class, three of the other.
    chosen = pd.concat([cases[cases["y_true"] == 0][:7], cases[cases["y_true"] == 1][:3]])
    return ClassificationSource(Sampling(store, chosen, AUGMENT, 1, batch), 2)


def segmentation(path: Path, share: float) -> SegmentationSource:
    store = open_store(path)
    cases = labelled_cases(store, SegmentationTask()).frame
    return SegmentationSource(Sampling(store, cases, AUGMENT, 2, 4), "mask", (1,), share)


def test_a_sample_is_a_function_of_its_numbers(ball_store: Path) -> None:
    for make in (classification, lambda path: segmentation(path, 0.5)):
        one, other = make(ball_store), make(ball_store)
        other.sample(0, 0)
        first, second = one.sample(3, 2), other.sample(3, 2)
        assert first.keys() == second.keys()
        for key, value in first.items():
            assert torch.equal(value, second[key]), key


def test_classes_stand_equally_often_and_every_case_has_its_turn(ball_store: Path) -> None:
    source = classification(ball_store)
    samples = [source.sample(step, index) for step in range(7) for index in range(6)]
    for step in range(7):
        targets = [int(s["target"]) for s in samples[6 * step : 6 * step + 6]]
        assert targets.count(0) == targets.count(1) == 3
    volumes = pd.Series([int(s["volume"]) for s in samples]).value_counts()
    assert set(volumes.index) == set(range(10))
    # 21 turns of each class: seven cases three times each, three cases seven times each.
    targets = source.cases["y_true"]
    assert {volumes[i] for i in targets.index[targets == 0]} == {3}
    assert {volumes[i] for i in targets.index[targets == 1]} == {7}


def test_the_mask_lies_on_the_bright_ball(ball_store: Path) -> None:
    source = segmentation(ball_store, 1.0)
    for index in range(8):
        sample = source.sample(0, index)
        image, mask = sample["image"][0, 0], sample["mask"][0]
        assert image.shape == mask.shape == (16, 16, 16)
        inside, outside = image[mask == 1], image[(mask == 0) & sample["valid"][0, 0]]
        assert len(inside) > 20
        assert inside.median() > outside.median() + 0.5
        # A ball's edge alone is interpolated: hardly a voxel outside is as bright as inside.
        assert (outside > inside.median()).float().mean() < 0.02


@pytest.mark.parametrize(("share", "least", "most"), [(1.0, 1.0, 1.0), (0.0, 0.0, 0.97)])
def test_patches_are_centred_on_labelled_voxels_as_asked(
    ball_store: Path, share: float, least: float, most: float
) -> None:
    config = AugmentConfig.model_validate({"patch": {"size": [8, 8, 8], "spacing_mm": 1.0}})
    store = open_store(ball_store)
    cases = labelled_cases(store, SegmentationTask()).frame
    source = SegmentationSource(Sampling(store, cases, config, 0, 4), "mask", (1,), share)
    hits = [bool(source.sample(step, i)["mask"].any()) for step in range(15) for i in range(4)]
    assert least <= np.mean(hits) <= most


def test_only_named_values_become_classes() -> None:
    mask = np.array([0, 1, 2, 5, 7])
    np.testing.assert_array_equal(to_class_numbers(mask, (2, 7)), [0, 0, 1, 0, 2])


def test_numbers_come_with_their_case_and_every_case_has_its_turn(ball_store: Path) -> None:
    store = open_store(ball_store)
    cases = labelled_cases(store, ClassificationTask(label="size")).frame
    cases = cases.assign(a=np.arange(24) + 0.5, b=np.where(np.arange(24) % 3, 1.0, np.nan))
    source = NumberSource(Sampling(store, cases.iloc[::-1], AUGMENT, 5, 6), ["a", "b"])
    samples = [source.sample(step, index) for step in range(4) for index in range(6)]
    assert sorted(int(s["volume"]) for s in samples) == list(range(24))
    for s in samples:
        number = int(s["volume"])
        assert s["target"][0] == number + 0.5
        assert bool(s["target"][1].isnan()) == (number % 3 == 0)
    one, other = source.sample(9, 1), source.sample(9, 1)
    assert all(torch.equal(v, other[k]) or v.isnan().any() for k, v in one.items())
