"""What a row says of a volume: hashes that agree over formats, a foreground that fits."""

from __future__ import annotations

import numpy as np

from medssl.store.describe import describe_values, foreground_of, perceptual_hash, pixel_sha256
from medssl.volume import Volume


def ball(units: str = "HU", background: float = -1000, inside: float = 40) -> Volume:
    z, y, x = np.meshgrid(*[np.arange(n) for n in (20, 24, 28)], indexing="ij")
    voxels = np.full((20, 24, 28), background, dtype=np.float32)
    voxels[(z - 10) ** 2 + (y - 12) ** 2 + (x - 14) ** 2 < 36] = inside
    return Volume(voxels, np.diag([3.0, 1, 1, 1]), "CT", units)  # type: ignore[arg-type]


def test_hash_agrees_over_storage_orders_and_sees_one_voxel() -> None:
    volume = ball()
    turned = volume.affine.copy()[:, [2, 1, 0, 3]]
    turned[:3, 3] += turned[:3, 0] * (volume.shape[2] - 1)
    turned[:3, 0] *= -1
    twin = Volume(volume.voxels.transpose(2, 1, 0)[::-1], turned, "CT", "HU")
    assert pixel_sha256(twin) == pixel_sha256(volume)
    changed = volume.voxels.copy()
    changed[3, 3, 3] += 1
    assert pixel_sha256(Volume(changed, volume.affine)) != pixel_sha256(volume)


def test_negative_zero_is_zero_and_spacing_counts() -> None:
    zeros = np.zeros((3, 3, 3), dtype=np.float32)
    assert pixel_sha256(Volume(zeros, np.eye(4))) == pixel_sha256(Volume(-zeros, np.eye(4)))
    wider = np.diag([1.0, 1, 2, 1])
    assert pixel_sha256(Volume(zeros, np.eye(4))) != pixel_sha256(Volume(zeros, wider))


def test_foreground_box_is_the_ball() -> None:
    for volume in (ball(), ball("arbitrary", background=0, inside=90)):
        row = describe_values(volume)
        assert (row["foreground_0_start"], row["foreground_0_stop"]) == (5, 16)
        assert row["foreground_voxels"] == int((volume.voxels == volume.voxels.max()).sum())
        assert row["p50"] == volume.voxels.max()


def test_blank_volume_counts_as_whole() -> None:
    blank = Volume(np.zeros((4, 4, 4), dtype=np.float32), np.eye(4))
    assert foreground_of(blank).all()


def test_perceptual_hash_is_near_for_copies_and_far_for_others() -> None:
    def distance(a: str, b: str) -> int:
        return bin(int(a, 16) ^ int(b, 16)).count("1")

    rng = np.random.default_rng(0)
    smooth = np.cumsum(np.cumsum(np.cumsum(rng.normal(size=(32, 32, 32)), 0), 1), 2)
    other = np.cumsum(np.cumsum(np.cumsum(rng.normal(size=(32, 32, 32)), 0), 1), 2)
    first = perceptual_hash(Volume(smooth.astype("f4"), np.eye(4)))
    rescaled = perceptual_hash(Volume((3 * smooth + 5).astype("f4"), np.eye(4)))
    assert distance(first, rescaled) <= 8
    assert distance(first, perceptual_hash(Volume(other.astype("f4"), np.eye(4)))) > 40


def test_padding_is_no_foreground_and_counts_in_no_percentile() -> None:
    for volume in (ball(), ball("arbitrary", background=0, inside=90)):
        plain = describe_values(volume)
        padded = volume.voxels.copy()
        padded[:, :, :3] = 3000
        row = describe_values(
            Volume(padded, volume.affine, "CT", volume.units), padding=(3000, 3000)
        )
        for name in ("foreground_voxels", "foreground_0_start", "foreground_2_start", "p99_5"):
            assert row[name] == plain[name]
        assert row["pixel_sha256"] != plain["pixel_sha256"]


def test_nothing_but_padding_counts_as_whole() -> None:
    blank = Volume(np.zeros((4, 4, 4), dtype=np.int16), np.eye(4))
    assert describe_values(blank, padding=(0, 0))["foreground_voxels"] == 64
    half = blank.voxels.copy()
    half[2:] = 5
    assert describe_values(Volume(half, np.eye(4)), padding=(0, 0))["foreground_voxels"] == 32


def test_a_background_of_padding_does_not_hide_the_one_that_was_measured() -> None:
    volume = ball("arbitrary", background=10, inside=90)
    voxels = volume.voxels.copy()
    voxels[:, :4] = 0
    row = describe_values(Volume(voxels, volume.affine, "MR", "arbitrary"), padding=(0, 0))
    assert row["foreground_voxels"] == int((voxels == 90).sum())
