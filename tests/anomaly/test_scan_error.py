"""A whole scan against its own values: windows, padding, blending and the way back to its grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medssl.anomaly.scan_error import scan_error, screened
from medssl.augment.cache_config import CacheConfig
from medssl.augment.config import PatchConfig
from medssl.augment.reader import Reader
from medssl.augment.scan_info import ScanInfo
from medssl.store import open_store
from medssl.transfer.sliding_window import num_windows


def of_store(path, uid):
    store = open_store(path)
    row = store.row(uid)
    scan = ScanInfo.from_row({str(name): value for name, value in row.items()})
    return store, Reader(store, CacheConfig(gigabytes=0)), scan


@pytest.mark.parametrize("shape", [(20, 24, 18), (6, 20, 8)])
def test_the_error_of_a_constant_answer_is_the_distance_from_it_at_every_own_voxel(
    make_store, make_waves, oracle, tmp_path, shape
) -> None:
    scans = {f"{n}": (f"p{n}", make_waves(n, shape)) for n in range(2)}
    path = make_store(tmp_path / "store", scans)
    for uid in scans:  # the axes of the second one are turned
        store, reader, scan = of_store(path, uid)
        patch = PatchConfig(size=(8, 8, 8))
        found = screened(reader, scan, patch)
        told = []
        method = oracle(lambda image, _: torch.full_like(image, 0.25))
        error = scan_error(method, found, patch.size, scan.normaliser.background, 1, told.append)
        assert sum(told) == num_windows(found.image.shape, patch.size)
        own, counted = found.on_own_grid(error)
        values = scan.normaliser(store.read(uid).voxels)
        assert own.shape == shape
        assert counted.all()
        np.testing.assert_allclose(own, abs(values - 0.25), atol=1e-4)


def test_what_is_padding_takes_no_part(make_store, make_waves, oracle, tmp_path) -> None:
    _, reader, scan = of_store(make_store(tmp_path / "s", {"0": ("p", make_waves(0))}), "0")
    found = screened(reader, scan, PatchConfig(size=(8, 8, 8)))
    found.counted[:, :10] = False
    asked = []

    def rule(image, hidden):
        asked.append(len(image))
        return image + 3.0

    error = scan_error(oracle(rule), found, (8, 8, 8), scan.normaliser.background)
    np.testing.assert_allclose(error[:, 10:], 3.0, atol=1e-4)
    assert not error[:, :10].any()
    # Of the 5 x 5 x 4 windows those that begin at 0 along the second axis show nothing: 4 passes.
    assert sum(asked) == 4 * (num_windows((20, 24, 18), (8, 8, 8)) * 4 // 5)
    own, counted = found.on_own_grid(error)
    np.testing.assert_array_equal(counted, found.counted)
    np.testing.assert_allclose(own[:, 10:], 3.0, atol=1e-4)
    assert not own[:, :10].any()
