from __future__ import annotations

import pytest

from medssl.archive.names import distant_key, parse_name


@pytest.mark.parametrize(
    ("relative", "scope", "case", "is_label", "role_folder"),
    [
        ("imagesTr/la_003_0000.nii.gz", "*tr", "la_003_0000", False, True),
        ("labelsTr/la_003.nii.gz", "*tr", "la_003", True, True),
        ("site/masks/p1/x.nii", "site/*/p1", "x", True, True),
        ("images/x_mask.nii", "*", "x_mask", False, True),  # the folder says more than the name
        ("p3/CT_image.nii", "p3", "CT", False, False),
        ("p3/CT_mask.nii", "p3", "CT", True, False),
        ("seg-07.nii", "", "07", True, False),
        ("mask.nii", "", "", True, False),
        ("thorax/maskell_01.nii", "thorax", "maskell_01", False, False),
        ("x_MA\u017fK.nii", "", "x_MA\u017fK", False, False),
    ],
)
def test_a_path_tells_role_place_and_case(
    relative: str, scope: str, case: str, is_label: bool, role_folder: bool
) -> None:
    name = parse_name(relative)
    assert (name.scope, name.case) == (scope, case)
    assert (name.is_label, name.role_folder) == (is_label, role_folder)


def test_a_channel_is_also_called_by_its_case() -> None:
    name = parse_name("images/la_003_0001.nii")
    assert name.keys == ["la_003_0001", "la_003"]
    assert name.channel == "0001"
    assert parse_name("sub-01_T1w.nii").bids_key == "sub-01"
    assert parse_name("x_T1w.nii").bids_key is None


def test_only_a_name_with_a_number_is_looked_for_elsewhere() -> None:
    assert distant_key(parse_name("IXI012_mask.nii")) == "IXI012"
    assert distant_key(parse_name("sub-01_label-les_mask.nii")) == "sub-01"
    assert distant_key(parse_name("t1_mask.nii")) is None


def test_the_folder_above_is_that_of_plain_folders() -> None:
    assert parse_name("a/p1/x.nii").parent == "a"
    assert parse_name("p1/x.nii").parent == ""
    assert parse_name("x.nii").parent is None
    assert parse_name("a/images/x.nii").parent is None
