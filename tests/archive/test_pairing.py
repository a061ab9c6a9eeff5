from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from medssl.archive.pairing import Pairing
from medssl.archive.reasons import Reason

WITHOUT = Reason.LABEL_WITHOUT_IMAGE
AMBIGUOUS = Reason.LABEL_AMBIGUOUS


@dataclass
class Pairs:
    images: dict[str, str | None]
    unpaired_labels: dict[str, Reason]
    unlabelled_images: set[str]
    paired_labels: list[str]


def pair_labels(relatives: Iterable[str], label_maps: Collection[str] = ()) -> Pairs:
    with closing(Pairing()) as pairing:
        pairing.add(relatives)
        pairing.index()
        pairing.pair(label_maps)
        images = list(pairing.images())
        return Pairs(
            {relative: label for relative, label, _ in images},
            dict(pairing.unpaired_labels()),
            {relative for relative, _, unlabelled in images if unlabelled},
            list(pairing.paired_labels()),
        )


def extended_names(relatives: Iterable[str]) -> dict[str, str]:
    with closing(Pairing()) as pairing:
        pairing.add(relatives)
        pairing.index()
        return dict(pairing.extended_names())


@pytest.mark.parametrize(
    "pairs",
    [
        {"images/h_001.nii.gz": "labels/h_001.nii.gz"},
        {"imagesTr/h_1.nii": "labelsTr/h_1.nii", "imagesTs/h_2.nii": None},
        {
            "imagesTr/la_0003_0000.nii.gz": "labelsTr/la_0003.nii.gz",
            "imagesTr/la_0003_0001.nii.gz": "labelsTr/la_0003.nii.gz",
            "imagesTs/la_0004_0000.nii.gz": None,
        },
        {"images/x_0001.nii": "labels/x_0001.nii", "images/x_0002.nii": "labels/x_0002.nii"},
        {"p3/CT_image.nii": "p3/CT_mask.nii", "p3/MR_T1_image.nii": "p3/MR_T1_mask.nii"},
        {"volume-0.nii": "segmentation-0.nii", "volume-1.nii": "segmentation-1.nii"},
        {"c1/imaging.nii": "c1/segmentation.nii", "c2/imaging.nii": "c2/segmentation.nii"},
        {"b/B1_t1.nii.gz": "b/B1_seg.nii.gz", "b/B1_t2.nii.gz": "b/B1_seg.nii.gz"},
        {"scan1.nii": "scan1-label.nii", "scan2.nii": "mask_scan2.nii"},
        {"a/images/x.nii": "a/labels/x.nii", "b/images/x.nii": "b/labels/x.nii"},
        {"site/images/p1/x.nii": "site/masks/p1/x.nii"},
        {"sub-01/anat/sub-01_T1w.nii": "derivatives/man/sub-01/anat/sub-01_label-les_mask.nii"},
        {"raw/IXI012.nii": "other/IXI012_mask.nii"},
        {"thorax/maskell_01.nii": None, "thorax/segal.nii": None},
    ],
)
def test_known_layouts_pair_by_name(pairs: dict[str, str | None]) -> None:
    names = {*pairs, *(label for label in pairs.values() if label)}
    found = pair_labels(names)
    assert found.images == pairs
    assert found.unpaired_labels == {}
    assert found.unlabelled_images == set()


@pytest.mark.parametrize(
    ("names", "images", "labels", "unlabelled"),
    [
        (["images/a_1.nii", "labels/a_1.nii", "images/a_2.nii", "labels/a_3.nii"],
         {"images/a_1.nii": "labels/a_1.nii", "images/a_2.nii": None},
         {"labels/a_3.nii": WITHOUT}, {"images/a_2.nii"}),
        (["p1/CT_image.nii", "p1/CT_mask.nii", "p2/CT_mask.nii", "p3/CT_image.nii"],
         {"p1/CT_image.nii": "p1/CT_mask.nii", "p3/CT_image.nii": None},
         {"p2/CT_mask.nii": WITHOUT}, {"p3/CT_image.nii"}),
        (["p1/CT_image.nii", "p2/CT_mask.nii"], {"p1/CT_image.nii": None},
         {"p2/CT_mask.nii": WITHOUT}, set()),
        (["x.nii", "x_mask.nii", "x_seg.nii"], {"x.nii": None},
         {"x_mask.nii": AMBIGUOUS, "x_seg.nii": AMBIGUOUS}, set()),
        (["images/x.nii", "images/x.nii.gz", "labels/x.nii"],
         {"images/x.nii": None, "images/x.nii.gz": None}, {"labels/x.nii": AMBIGUOUS}, set()),
        (["imagesTs/x.nii", "labelsTr/x.nii"], {"imagesTs/x.nii": None},
         {"labelsTr/x.nii": WITHOUT}, set()),
        (["a/1.nii", "a/2.nii", "a/mask.nii"], {"a/1.nii": None, "a/2.nii": None},
         {"a/mask.nii": AMBIGUOUS}, set()),
        (["images/a.nii", "images/b.nii"], {"images/a.nii": None, "images/b.nii": None}, {}, set()),
        (["labels/a.nii"], {}, {"labels/a.nii": WITHOUT}, set()),
    ],
)  # fmt: skip
def test_what_finds_no_partner_is_told(
    names: list[str],
    images: dict[str, str | None],
    labels: dict[str, Reason],
    unlabelled: set[str],
) -> None:
    found = pair_labels(names)
    assert found.images == images
    assert found.unpaired_labels == labels
    assert found.unlabelled_images == unlabelled


def test_an_extended_name_is_a_label_only_where_its_voxels_are() -> None:
    names = ["nifti/I12_ds.nii", "other/I12_ds_DLMUSE.nii", "nifti/I12_ds_brain.nii"]
    assert extended_names(names) == {
        "other/I12_ds_DLMUSE.nii": "nifti/I12_ds.nii",
        "nifti/I12_ds_brain.nii": "nifti/I12_ds.nii",
    }
    found = pair_labels(names, {"other/I12_ds_DLMUSE.nii"})
    assert found.images == {
        "nifti/I12_ds.nii": "other/I12_ds_DLMUSE.nii",
        "nifti/I12_ds_brain.nii": None,
    }


def test_a_label_map_of_a_label_map_has_no_image() -> None:
    names = ["x.nii", "x_a.nii", "x_a_b.nii"]
    found = pair_labels(names, {"x_a.nii", "x_a_b.nii"})
    assert found.images == {"x.nii": "x_a.nii"}
    assert found.unpaired_labels == {"x_a_b.nii": WITHOUT}


def test_names_that_are_not_utf8_come_back_as_they_are() -> None:
    image, label = (os.fsdecode(b"caf\xe9/" + name) for name in (b"x\xff.nii", b"x\xff_seg.nii"))
    found = pair_labels([label, image])
    assert found.images == {image: label}
    assert found.paired_labels == [label]


def rss_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("mask", ["labelsTr/IXI{:06d}.nii", "imagesTr/IXI{:06d}_0000_DL.nii"])
def test_200_000_names_take_no_memory_of_their_own(mask: str) -> None:
    def names() -> Iterator[str]:
        for number in range(100_000):
            yield f"imagesTr/IXI{number:06d}_0000.nii"
            yield mask.format(number)

    before = rss_mib()
    with closing(Pairing()) as pairing:
        pairing.add(names())
        pairing.index()
        pairing.pair(relative for relative, _ in pairing.extended_names())
        assert sum(label is not None for _, label, _ in pairing.images()) == 100_000
        assert sum(1 for _ in pairing.paired_labels()) == 100_000
        assert rss_mib() - before < 34  # 25 by SQLite's cache; names in memory would take 43
