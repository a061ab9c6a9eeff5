"""Regions that overlap: classes are the likeliest combination that a mask can have."""

from __future__ import annotations

import numpy as np
import torch

from medssl.models.regions import RegionHead

# Values 0 to 3; regions whole = 1, 2, 3 and core = 2, 3: 2 and 3 cannot be told apart.
MEMBERSHIP = [[False, False], [True, False], [True, True], [True, True]]


def test_a_class_is_the_likeliest_possible_combination() -> None:
    torch.manual_seed(0)
    head = RegionHead(4, MEMBERSHIP)
    maps = 3 * torch.randn(1, 4, 5, 6, 7)
    with torch.no_grad():
        p = torch.sigmoid(head.regions(maps))[0].numpy()
        given = head(maps).softmax(dim=1)[0].numpy()
    products = []
    for row in MEMBERSHIP[:3]:
        factors = [p[r] if inside else 1 - p[r] for r, inside in enumerate(row)]
        products.append(np.prod(factors, axis=0))
    expected = np.stack(products) / np.sum(products, axis=0)
    np.testing.assert_allclose(given[:3], expected, atol=1e-6)
    assert given[3].max() < 1e-6
    assert set(np.unique(given.argmax(axis=0))) == {0, 1, 2}


def test_classes_are_told_as_regions() -> None:
    classes = torch.randint(0, 4, (2, 3, 4, 5), generator=torch.Generator().manual_seed(0))
    regions = RegionHead(4, MEMBERSHIP).regions_of(classes)
    assert regions.shape == (2, 2, 3, 4, 5)
    assert torch.equal(regions[:, 0] == 1, classes >= 1)
    assert torch.equal(regions[:, 1] == 1, classes >= 2)
