from __future__ import annotations

import pytest

from medssl.archive.pairing import Pairing
from medssl.archive.reasons import Reason

WITHOUT = Reason.LABEL_WITHOUT_IMAGE
AMBIGUOUS = Reason.LABEL_AMBIGUOUS


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
