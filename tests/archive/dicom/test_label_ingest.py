"""SEG and RTSTRUCT through the whole stage: masks, late labels, refusals, names that are PHI."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydicom.uid import generate_uid

from medssl.archive.config import IngestConfig
from medssl.archive.ingest import ingest
from medssl.archive.summary import IngestResult
from medssl.store.store import open_store

Write = Callable[..., Path]
NEEDLES = ["Mustermann", "Leberherd", "gtvmax"]


@pytest.fixture
def take(tmp_path: Path, key_file: Path) -> Callable[..., IngestResult]:
    """Ingest tmp/archive into tmp/store, in one reading process."""

    def run(**settings: Any) -> IngestResult:
        values = {"archive": tmp_path / "archive", "store": tmp_path / "store", "workers": 1}
        return ingest(IngestConfig.model_validate({**values, "key_file": key_file, **settings}))

    return run


@pytest.fixture
def series(make_series: Callable[..., Any], tmp_path: Path) -> Any:
    """A series of eight slices, 2 mm apart, 12 rows of 1.5 mm, 10 columns, in the archive."""
    one = make_series()
    one.folder = tmp_path / "archive" / "images"
    one.write()
    return one


def square(at: int, first: int, last: int) -> list[list[float]]:
    """A contour round the voxels from first to last row and column of a slice, LPS mm."""
    low, high = first - 0.5, last + 0.5
    corners = [(low, low), (low, high), (high, high), (high, low)]
    return [[-20.0 + c, -30.0 + 1.5 * r, 100.0 + 2.0 * at] for r, c in corners]


def box(at: int, first: int, last: int) -> np.ndarray:
    out = np.zeros((8, 12, 10), dtype=bool)
    out[at, first : last + 1, first : last + 1] = True
    return out


def mask_of(tmp_path: Path) -> np.ndarray:
    store = open_store(tmp_path / "store")
    (uid,) = store.manifest["volume_uid"]
    return np.asarray(store.read_label(uid).voxels)


def test_structure_set_and_segmentation_add_up_in_the_order_of_the_configuration(
    tmp_path: Path,
    series: Any,
    take: Any,
    write_structure_set: Write,
    write_segmentation: Write,
) -> None:
    rois = {"GTV 1": [square(3, 2, 6)], "GTV 2": [square(5, 2, 4)], "Body": [square(1, 0, 9)]}
    write_structure_set(tmp_path / "archive/rs", series.slices, rois)
    organs = {"Liver": box(3, 4, 8), "Spleen": box(4, 1, 2)}
    write_segmentation(tmp_path / "archive/sub/seg", series.slices, organs)
    result = take(structures={"liver": 3, "gtv*": 7}, linkage=tmp_path / "link.parquet")
    assert (result.num_volumes, result.masks, result.num_rejected) == (1, 1, 0)
    expected = np.where(box(3, 4, 8), 3, 0)
    expected[box(3, 2, 6) | box(5, 2, 4)] = 7
    np.testing.assert_array_equal(mask_of(tmp_path), expected)
    store = open_store(tmp_path / "store")
    (row,) = store.labels.to_dict("records")
    assert (row["value"], row["corrections"]) == ("0,3,7", "LABEL_OVERLAP")
    links = pd.read_parquet(tmp_path / "link.parquet")
    of_volume = links[links["volume_uid"] != ""]
    assert sorted(of_volume["outcome"]) == ["CORRECTED", "CORRECTED", "EXACT"]

    again = take(structures={"gtv*": 7, "liver": 3}, linkage=tmp_path / "link.parquet")
    assert again.run.units_read == 1
    expected[box(3, 4, 8)] = 3
    np.testing.assert_array_equal(mask_of(tmp_path), expected)
    assert take(structures={"gtv*": 7, "liver": 3}).run.units_read == 0


def test_names_are_nowhere_but_in_the_linkage_file(
    tmp_path: Path,
    series: Any,
    take: Any,
    write_structure_set: Write,
    write_segmentation: Write,
    capfd: Any,
) -> None:
    archive = tmp_path / "archive"
    write_structure_set(archive / "a", series.slices, {"gtvmax Mustermann": [square(3, 2, 6)]})
    write_structure_set(archive / "b", series.slices, {"Mustermann rest": [square(3, 2, 6)]})
    write_structure_set(
        archive / "c", series.slices, {"gtvmax": [square(3, 2, 6)]}, kind="OPEN_PLANAR"
    )
    write_segmentation(archive / "d", series.slices, {"Leberherd Mustermann": box(3, 4, 8)})
    linkage = tmp_path / "link.parquet"
    result = take(structures={"GTV*": 1}, linkage=linkage)
    assert result.masks == 1
    assert result.rejected == {"LABEL_NOT_MAPPED": 2, "LABEL_CONTOUR_INVALID": 1}
    told = "\n".join(result.lines()) + "".join(capfd.readouterr())
    store = tmp_path / "store"
    written = [p.read_bytes() for p in store.rglob("*") if p.is_file()] + [told.encode()]
    spread = [n.encode(code) for n in NEEDLES for code in ("utf-8", "utf-16-le")]
    assert not any(needle in content for content in written for needle in spread)
    links = pd.read_parquet(linkage)
    parts = links.loc[links["reason_code"] == "LABEL_NOT_MAPPED", "part"]
    assert set(parts) == {"Mustermann rest", "Leberherd Mustermann"}
    rejected = open_store(store).rejected
    assert set(rejected["kind"]) == {"label"}
    assert set(rejected["detail"]) == {"1 structures", "contour 1: OPEN_PLANAR"}


def test_a_label_that_comes_late_is_attached_and_one_that_goes_is_taken_away(
    tmp_path: Path, series: Any, take: Any, write_structure_set: Write
) -> None:
    settings = {"structures": {"gtv": 1}}
    assert take(**settings).masks == 0
    path = write_structure_set(tmp_path / "archive/rs", series.slices, {"GTV": [square(3, 2, 6)]})
    result = take(**settings)
    assert (result.run.units_read, result.masks, result.num_volumes) == (1, 1, 1)
    np.testing.assert_array_equal(mask_of(tmp_path), box(3, 2, 6))
    path.unlink()
    result = take(**settings)
    assert (result.run.units_read, result.masks, result.num_volumes) == (1, 0, 1)
    assert not list((tmp_path / "store" / "labels").glob("*/*.b2nd"))


def test_a_label_that_comes_first_waits_for_its_series(
    tmp_path: Path, series: Any, take: Any, write_structure_set: Write
) -> None:
    (tmp_path / "archive/images").rename(tmp_path / "later")
    rois = {"GTV": [square(3, 2, 6)]}
    other_study = {"StudyInstanceUID": generate_uid()}
    write_structure_set(tmp_path / "archive/rs", series.slices, rois, **other_study)
    result = take(structures={"gtv": 1})
    assert (result.num_volumes, result.rejected) == (0, {"LABEL_WITHOUT_IMAGE": 1})
    (tmp_path / "later").rename(tmp_path / "archive/images")
    result = take(structures={"gtv": 1})
    assert (result.num_volumes, result.masks, result.rejected) == (1, 1, {})


def test_settings_of_structures_leave_series_without_labels_alone(
    tmp_path: Path, series: Any, take: Any
) -> None:
    assert take().run.units_read == 1
    assert take(structures={"gtv": 1}).run.units_read == 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"FrameOfReferenceUID": "1.2.3.4"}, "LABEL_FRAME_DIFFERS"),
        ({"series": ["1.2.3.5", "1.2.3.6"]}, "LABEL_SEVERAL_SERIES"),
        ({"series": ["1.2.3.5"]}, "LABEL_WITHOUT_IMAGE"),
        ({"series": []}, "LABEL_WITHOUT_IMAGE"),
        ({"PatientID": "P2"}, "LABEL_WITHOUT_IMAGE"),
        ({"kind": "POINT"}, "LABEL_CONTOUR_INVALID"),
    ],
)
def test_a_label_that_cannot_be_placed_costs_itself_alone(
    tmp_path: Path,
    series: Any,
    take: Any,
    write_structure_set: Write,
    changes: dict[str, Any],
    reason: str,
) -> None:
    rois = {"GTV": [square(3, 2, 6)]}
    write_structure_set(tmp_path / "archive/rs", series.slices, rois, **changes)
    result = take(structures={"gtv": 1})
    assert (result.num_volumes, result.masks, result.rejected) == (1, 0, {reason: 1})


def test_a_label_of_several_series_goes_to_the_one_that_its_contours_name(
    tmp_path: Path, series: Any, take: Any, write_structure_set: Write, write_segmentation: Write
) -> None:
    from pydicom import dcmread

    first = series.slices[0]
    path = write_structure_set(
        tmp_path / "archive/rs",
        series.slices,
        {"GTV": [square(3, 2, 6)]},
        series=["1.2.3.5", first.SeriesInstanceUID],
        instances=[series.slices[3].SOPInstanceUID],
    )
    ds = dcmread(path)
    listed = ds.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
    listed.RTReferencedSeriesSequence[1].ContourImageSequence = [
        ds.ROIContourSequence[0].ContourSequence[0].ContourImageSequence[0]
    ]
    ds.save_as(path)
    assert take(structures={"gtv": 1}).masks == 1


def test_an_older_version_of_a_label_is_never_merged_with_the_newer(
    tmp_path: Path, series: Any, take: Any, write_structure_set: Write
) -> None:
    archive = tmp_path / "archive"
    write_structure_set(archive / "old", series.slices, {"GTV": [square(3, 2, 6)]})
    write_structure_set(archive / "new", series.slices, {"GTV": [square(3, 2, 7)]})
    result = take(structures={"gtv": 1})
    assert (result.masks, result.rejected) == (0, {"LABEL_AMBIGUOUS": 2})
    write_structure_set(archive / "new", series.slices, {"GTV": [square(3, 2, 6)]})
    assert take(structures={"gtv": 1}).masks == 1


def test_a_split_series_has_its_label_on_the_volume_that_was_drawn_on(
    tmp_path: Path, make_series: Any, take: Any, write_structure_set: Write
) -> None:
    one = make_series("MR")
    one.folder = tmp_path / "archive" / "images"
    echoes = []
    for echo in (10, 80):
        for i, ds in enumerate(one.slices):
            ds.EchoTime, ds.SOPInstanceUID = echo, f"1.2.3.{echo}.{i}"
        one.folder = tmp_path / "archive" / f"echo{echo}"
        one.write()
        echoes.append([ds.SOPInstanceUID for ds in one.slices])
    rois = {"GTV": [square(3, 2, 6)]}
    path = tmp_path / "archive/rs"
    write_structure_set(path, one.slices, rois, instances=[echoes[1][3]])
    result = take(structures={"gtv": 1}, linkage=tmp_path / "link.parquet")
    assert (result.num_volumes, result.masks) == (2, 1)
    links = pd.read_parquet(tmp_path / "link.parquet").set_index("source")
    label = links.loc[str(path)]
    assert label["volume_uid"] in set(links.loc[links["part"] == "echo=80", "volume_uid"])
    write_structure_set(path, one.slices, rois)  # of the series as a whole
    assert take(structures={"gtv": 1}).masks == 2


def test_a_label_on_slices_that_make_no_volume_goes_to_no_other(
    tmp_path: Path, make_series: Any, take: Any, write_structure_set: Write
) -> None:
    one = make_series("MR")
    for echo in (10, 80):
        for i, ds in enumerate(one.slices):
            ds.EchoTime, ds.SOPInstanceUID = echo, f"1.2.3.{echo}.{i}"
        one.folder = tmp_path / "archive" / f"echo{echo}"
        paths = one.write()
    paths[5].unlink()
    write_structure_set(
        tmp_path / "archive/rs", one.slices, {"GTV": [square(3, 2, 6)]}, instances=["1.2.3.80.3"]
    )
    result = take(structures={"gtv": 1})
    assert (result.num_volumes, result.masks) == (1, 0)
    assert result.rejected == {"MISSING_SLICE": 1, "LABEL_WITHOUT_IMAGE": 1}


def test_a_damaged_label_leaves_its_image_alone(
    tmp_path: Path, series: Any, take: Any, write_segmentation: Write
) -> None:
    path = write_segmentation(tmp_path / "archive/seg", series.slices, {"a": box(3, 2, 6)})
    path.write_bytes(path.read_bytes()[:-9])
    result = take(structures={"a": 1})
    assert (result.num_volumes, result.rejected) == (1, {"PIXEL_DATA_LENGTH": 1})


def test_contours_are_not_drawn_on_slices_that_were_made_by_resampling(
    tmp_path: Path, make_series: Any, take: Any, write_structure_set: Write
) -> None:
    one = make_series()
    one.folder = tmp_path / "archive" / "images"
    for i, ds in enumerate(one.slices):
        ds.ImagePositionPatient = [-20, -30, 100 + 2.0 * i + (0.7 if i == 3 else 0)]
    one.write()
    rois = {"GTV": [square(1, 2, 6), square(4, 2, 6)]}
    write_structure_set(tmp_path / "archive/rs", one.slices, rois)
    result = take(structures={"gtv": 1}, irregular_spacing="resample")
    assert result.corrections == {"SPACING_RESAMPLED": 1}
    assert (result.masks, result.rejected) == (0, {"LABEL_OFF_SLICE": 1})


def test_a_label_among_the_slices_hides_no_lost_slice(
    tmp_path: Path, series: Any, take: Any, write_structure_set: Write
) -> None:
    images = tmp_path / "archive" / "images"
    rois = {"GTV": [square(3, 2, 6)]}
    write_structure_set(images / "050_10", series.slices, rois, series=["1.2.3"])
    (images / "040_8").write_bytes((images / "035_7").read_bytes()[:200])
    result = take(structures={"gtv": 1})
    assert result.num_volumes == 0
    assert {"MISSING_SLICE", "LABEL_WITHOUT_IMAGE"} <= set(result.rejected)
