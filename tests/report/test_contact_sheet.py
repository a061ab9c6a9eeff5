"""The sheet shows planes the way radiologists look at them, and the drawn numbers below."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medssl.augment.intensity.gamma import Gamma
from medssl.augment.placement import Pose
from medssl.report.augmented_views import ShownScan, View
from medssl.report.contact_sheet import (
    DPI,
    contact_sheet,
    letters_of,
    plane_of,
    window_of,
    write_png,
)

UID = "3f9a12cd" + "0123456789abcdef" * 2


def shown(policy: str = "MR", views: int = 3) -> ShownScan:
    rng = np.random.default_rng(0)
    image = rng.uniform(-1, 1, (8, 10, 6)).astype(np.float32)
    drawn = [View(image, np.eye(4), Pose(scale=1.25), None, [(Gamma(1.5), {"power": 1.234})])]
    return ShownScan(
        UID, policy, np.array([1.0, 1.5, 2.0]), np.ones(image.shape, dtype=bool), -1.0,
        View(image, np.eye(4), Pose(), None, []), drawn * views,
    )  # type: ignore[arg-type]  # fmt: skip


@pytest.mark.parametrize(
    ("plane", "corner"),
    [(0, (7, 9, 3)), (1, (7, 5, 5)), (2, (4, 9, 5))],
)
def test_the_first_pixel_is_right_and_front_or_head(
    plane: int, corner: tuple[int, int, int]
) -> None:
    image = np.zeros((8, 10, 6))
    image[corner] = 1.0
    picture = plane_of(image, plane)
    assert picture[0, 0] == 1.0
    assert picture.sum() == 1.0


def test_planes_lie_as_wide_and_as_high_as_their_axes() -> None:
    image = np.zeros((8, 10, 6))
    assert [plane_of(image, plane).shape for plane in range(3)] == [(10, 8), (6, 8), (6, 10)]


def test_letters_follow_a_mirrored_and_a_turned_patch() -> None:
    assert letters_of(np.eye(4)) == [("L", "R"), ("P", "A"), ("F", "H")]
    assert letters_of(np.diag([-1.0, 1.0, 1.0, 1.0]))[0] == ("R", "L")
    turned = np.eye(4)
    turned[:3, :3] = [[0.1, 0.9, 0.0], [-0.9, 0.1, 0.0], [0.0, 0.0, 1.0]]
    assert letters_of(turned) == [("A", "P"), ("L", "R"), ("F", "H")]


def test_one_window_serves_all_views_of_a_scan() -> None:
    assert (window_of(shown("CT")).low, window_of(shown("CT")).high) == (-0.2, 0.3)
    assert window_of(shown("PT")).inverted
    mr = window_of(shown())
    assert mr.low == -1.0
    assert 0.9 < mr.high < 1.0


def test_what_was_drawn_stands_under_each_view() -> None:
    figure = contact_sheet([shown(views=2), shown("CT", views=4)], "first line")
    texts = [text.get_text().replace("\N{NO-BREAK SPACE}", " ") for text in figure.axes[0].texts]
    assert texts.count("scaled × 1.25\nGamma: power 1.23") == 6
    assert texts.count("without augmentation") == 2
    assert texts.count("first line") == 1
    assert len(figure.axes[0].images) == 3 * (3 + 5)
    assert not any(UID in text for text in texts)
    assert sum(UID[:8] in text for text in texts) == 2


@pytest.mark.parametrize("views", [1, 5])
def test_texts_do_not_overlap_and_stay_on_the_paper(views: int) -> None:
    scans = [shown(policy, views) for policy in ("MR", "PT", "CT")]
    figure = contact_sheet(scans, "Patches as pretraining draws them, plane by plane. " * 4)
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    paper = figure.bbox
    for number, one in enumerate(boxes):
        assert min(one.x0, one.y0) >= 0
        assert one.x1 <= paper.x1
        assert one.y1 <= paper.y1
        assert not any(one.overlaps(other) for other in boxes[number + 1 :])


def test_the_png_is_grey_says_nothing_of_its_making_and_is_the_same_each_time(
    tmp_path: Path,
) -> None:
    for name in ("a", "b"):
        write_png(contact_sheet([shown()], "first line"), tmp_path / "new" / f"{name}.png")
    one = (tmp_path / "new" / "a.png").read_bytes()
    assert one == (tmp_path / "new" / "b.png").read_bytes()
    with Image.open(tmp_path / "new" / "a.png") as picture:
        assert picture.mode == "L"
        assert set(picture.info) == {"dpi"}
        width, height = contact_sheet([shown()], "first line").get_size_inches() * DPI
        assert picture.size == (round(width), round(height))
        assert np.asarray(picture).std() > 20
    assert UID.encode() not in one
    assert b"atplotlib" not in one
