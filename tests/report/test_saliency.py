"""Saliency of a classifier whose reasons are known, and a map of embeddings of known spread."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from medssl.models.build import Classifier, build_classifier
from medssl.models.config import (
    GenesisConfig,
    ModelConfig,
    ResEncConfig,
    ResNetConfig,
    SegResNetConfig,
    ViTConfig,
)
from medssl.report.embedding_map import map_figure, principal_components
from medssl.report.saliency import confident_cases, grad_cam, occlusion, saliency_figure
from medssl.report.segmented_cases import worst_and_median

SMALL = SegResNetConfig(init_filters=4, blocks_down=(1, 1))


class Brightest(nn.Module):
    """An encoder of one map that is the image itself, taken at half its grid."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.MaxPool3d(2)

    def layers(self) -> list[nn.Module]:
        return [self.pool]

    def embed(self, voxels: Tensor) -> Tensor:
        return self.pool(voxels).mean(dim=(2, 3, 4))


def bright_or_dark() -> Classifier:
    """Class 1 by the mean of the brightest of eight voxels, class 0 by a constant."""
    net = build_classifier(SMALL, 1, 2, (16, 16, 16), 0.0).eval()
    net.encoder = Brightest()  # type: ignore[assignment]
    net.head = nn.Linear(1, 2)
    with torch.no_grad():
        net.head.weight.copy_(torch.tensor([[0.0], [40.0]]))
        net.head.bias.copy_(torch.tensor([1.0, 0.0]))
    return net.requires_grad_(False)


def image_with_spot() -> np.ndarray:
    image = np.zeros((16, 16, 16), dtype=np.float32)
    image[10:13, 2:5, 7:9] = 5.0
    return image


def test_grad_cam_finds_the_spot_that_speaks_for_the_class() -> None:
    image = image_with_spot()
    cam = grad_cam(bright_or_dark(), image[None], 1)
    assert cam is not None
    assert cam.shape == image.shape
    assert cam.max() == pytest.approx(1.0)
    assert cam[image > 0].mean() > 5 * cam[image == 0].mean()
    # The head's first row is zero: nothing speaks for class 0, and noise is not blown up.
    assert grad_cam(bright_or_dark(), image[None], 0) is None


def test_occlusion_is_the_fall_in_probability_of_a_naive_loop() -> None:
    image, net = image_with_spot(), bright_or_dark()
    drop = occlusion(net, image[None], 1, backgrounds=[-0.5])

    def probability(voxels: np.ndarray) -> float:
        with torch.no_grad():
            logits = net(torch.from_numpy(voxels)[None, None])
        return float(torch.softmax(logits, 1)[0, 1])

    whole = probability(image)
    total, count = np.zeros(image.shape), np.zeros(image.shape)
    for x in range(0, 13, 2):
        for y in range(0, 13, 2):
            for z in range(0, 13, 2):
                hidden = image.copy()
                box = (slice(x, x + 4), slice(y, y + 4), slice(z, z + 4))
                hidden[box] = -0.5
                total[box] += whole - probability(hidden)
                count[box] += 1
    np.testing.assert_allclose(drop, total / count, atol=1e-5)
    assert np.unravel_index(drop.argmax(), drop.shape)[0] in range(8, 15)


@pytest.mark.parametrize(
    "model",
    [
        SMALL,
        ResEncConfig(features_per_stage=(4, 8), n_blocks_per_stage=(1, 1)),
        ResNetConfig(depth=10, conv1_stride=1),
        GenesisConfig(width=4),
    ],
)
def test_every_convolutional_encoder_has_a_cam(model: ModelConfig) -> None:
    patch = (24, 24, 24)
    net = build_classifier(model, 1, 3, patch, 0.0).eval().requires_grad_(False)
    image = np.random.default_rng(0).normal(size=patch).astype(np.float32)
    with torch.no_grad():
        before = net(torch.from_numpy(image)[None, None])
    cams = [grad_cam(net, image[None], c) for c in range(3)]
    there = [cam for cam in cams if cam is not None]
    assert there
    assert all(cam.min() >= 0 and cam.max() == pytest.approx(1.0) for cam in there)
    with torch.no_grad():
        torch.testing.assert_close(net(torch.from_numpy(image)[None, None]), before)


def test_tokens_have_no_cam_and_the_picture_is_drawn_without() -> None:
    model = ViTConfig(token_size=4, dim=12, depth=2, heads=2)
    net = build_classifier(model, 1, 2, (8, 8, 8), 0.0).eval()
    image = np.random.default_rng(0).normal(size=(8, 8, 8)).astype(np.float32)
    assert grad_cam(net, image[None], 0) is None
    drawn = saliency_figure(image, None, occlusion(net, image[None], 0, [-1.0]), np.ones(3))
    assert [axes.get_title() for axes in drawn.axes[:3]] == ["crop", "Grad-CAM: none", "occlusion"]


def test_the_most_confident_cases_are_chosen() -> None:
    margins = [3.0, -5.0, 1.0, -0.5, 4.0, -2.0]
    test = pd.DataFrame({"y_true": [1, 1, 1, 0, 1, 1], "logit_0": 0.0, "logit_1": margins})
    # Right: 4 (class 1, surest) and 3 (class 0); wrong: 1, then 5.
    assert confident_cases(test) == [4, 3, 1, 5]


def test_the_worst_and_the_median_cases_are_chosen() -> None:
    tp = np.array([50, 10, 90, 30, 70, 0, 60, 0])
    fn = np.where(np.arange(8) == 7, 0, 100 - tp)  # the last case has no class at all
    test = pd.DataFrame({"tp_1": tp, "fp_1": 0, "fn_1": fn})
    worst, median = worst_and_median(test)
    assert worst == [5, 1, 3]
    assert median == [0, 6]  # of seven, the median is 50


def test_principal_components_are_those_of_a_singular_value_decomposition() -> None:
    rng = np.random.default_rng(0)
    embedded = rng.normal(size=(40, 6)) * np.array([5, 3, 1, 0.5, 0.2, 0.1])
    points, shares = principal_components(embedded)
    centred = embedded - embedded.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(points), np.abs(u[:, :2] * s[:2]), atol=1e-9)
    np.testing.assert_allclose(shares, (s**2 / (s**2).sum())[:2])
    again, _ = principal_components(embedded[:, ::-1].copy())
    np.testing.assert_allclose(again, points, atol=1e-9)


def test_kinds_have_marks_of_their_own_and_the_rest_is_one() -> None:
    points = np.random.default_rng(0).normal(size=(20, 2))
    kinds = [f"kind{min(number, 9)}" for number in range(20)]
    drawn = map_figure(points, kinds, np.arange(20) % 2 == 0)
    shown = [t.get_text() for t in drawn.axes[0].get_legend().get_texts()]
    assert len(shown) == 7
    assert shown[-1] == "other"
    assert "kind9" in shown
    marks = {c.get_paths()[0].vertices.tobytes() for c in drawn.axes[0].collections}
    assert len(marks) == 7
