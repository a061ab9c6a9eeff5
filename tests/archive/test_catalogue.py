from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing

import pytest

from medssl.archive.catalogue import Catalogue, Entry
from medssl.archive.find import FileKind, Found

NOT_UTF8 = os.fsdecode(b"caf\xe9.nii")


def entry(relative: str, kind: FileKind) -> Entry:
    found = Found("/archive", relative, 10, "stamp")
    return Entry(f"key {relative!a}", found, kind, unit_key=f"unit {relative!a}", fresh=False)


@pytest.fixture
def catalogue() -> Iterator[Catalogue]:
    with closing(Catalogue()) as catalogue:
        for relative in ("b.nii", NOT_UTF8, "a/x.hdr"):
            catalogue.add(entry(relative, FileKind.NIFTI))
        for relative in ("a/x.img", "a/x.1.img", "a/xy.img", "x.img"):
            catalogue.add(entry(relative, FileKind.PAIR_DATA))
        catalogue.add(entry("c.dcm", FileKind.DICOM))
        catalogue.index()
        yield catalogue


def test_nifti_files_are_found_by_their_names(catalogue: Catalogue) -> None:
    assert list(catalogue.nifti_names()) == ["a/x.hdr", "b.nii", NOT_UTF8]
    for relative in catalogue.nifti_names():
        assert catalogue.by_relative(relative) == entry(relative, FileKind.NIFTI)
    assert catalogue.by_relative("c.dcm") is None
    assert catalogue.by_relative("none.nii") is None


def test_the_voxels_of_a_header_are_found_by_its_name(catalogue: Catalogue) -> None:
    found = [e.found.relative for e in catalogue.pair_data("a/x")]
    assert found == ["a/x.1.img", "a/x.img"]


def test_tags_that_are_set_are_to_be_remembered(catalogue: Catalogue) -> None:
    catalogue.tag("b.nii", "label map")
    tagged = catalogue.by_relative("b.nii")
    assert tagged is not None
    assert (tagged.tags, tagged.fresh) == ("label map", True)
