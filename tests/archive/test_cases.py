from __future__ import annotations

from pathlib import Path

import pytest

from medssl.archive.cases import Case, Cases, patient_tag, series_tag
from medssl.archive.cases_table import read_cases
from medssl.archive.identity import Key
from medssl.errors import ConfigError

KEY = Key(b"k" * 32)


def table(tmp_path: Path, text: str, name: str = "cases.csv") -> Cases:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return read_cases(path)


def for_images(cases: Cases, images: list[tuple[str, str]]) -> dict[str, Case]:
    """The case of each image (archive-relative path, BIDS subject) that has one."""
    cases.count_names(relative for relative, _ in images)
    found = {relative: cases.for_image(relative, subject) for relative, subject in images}
    return {relative: case for relative, case in found.items() if case is not None}


def test_a_row_is_found_by_name_stem_path_or_pattern(tmp_path: Path) -> None:
    cases = table(
        tmp_path,
        "image,patient,malignant\na,P1,0\nb.nii.gz,P2,1\nin/c,P3,0\nin/d.nii,P4,1\nct_*,P5,0\n",
    )
    names = ["x/a.nii.gz", "b.nii.gz", "in/c.nii", "in/d.nii", "y/ct_9.nii", "none.nii"]
    found = for_images(cases, [(name, "") for name in names])
    assert {n: c.patient for n, c in found.items()} == {
        "x/a.nii.gz": "P1", "b.nii.gz": "P2", "in/c.nii": "P3", "in/d.nii": "P4", "y/ct_9.nii": "P5"
    }  # fmt: skip
    assert found["b.nii.gz"].labels == (("malignant", "1"),)
    assert found["b.nii.gz"].group_quality == "patient"
    assert cases.unmatched() == []


def test_unmatched_and_ambiguous_rows_are_told_by_line(tmp_path: Path) -> None:
    cases = table(tmp_path, "image,y\na,0\ngone,1\ntwice,1\n")
    found = for_images(cases, [("a.nii", ""), ("p/twice.nii", ""), ("q/twice.nii", "")])
    assert set(found) == {"a.nii"}
    assert cases.unmatched() == [3]
    assert cases.ambiguous_lines() == [4]


def test_the_closer_row_goes_first(tmp_path: Path) -> None:
    cases = table(
        tmp_path, "file,patient_id,modality,units,sex\n*.nii,,CT,HU,\na.nii,,,SUV,\n,sub-1,,,F\n"
    )
    found = for_images(cases, [("a.nii", "sub-1"), ("b.nii", "")])
    assert (found["a.nii"].units, found["a.nii"].modality, found["a.nii"].sex) == ("SUV", "CT", "F")
    assert (found["b.nii"].units, found["b.nii"].sex) == ("HU", "")


def test_dicom_rows_are_found_by_keyed_hashes(tmp_path: Path) -> None:
    cases = table(tmp_path, "series,patient_id,grade\n1.2.3,,2\n,MRN7,3\n").tagged(KEY)
    by_series = cases.for_series(series_tag(KEY, "1.2.3"), patient_tag(KEY, "other"), "f/1.dcm")
    by_patient = cases.for_series(series_tag(KEY, "9"), patient_tag(KEY, "MRN7"), "f/2.dcm")
    assert by_series is not None
    assert by_series.labels == (("grade", "2"),)
    assert by_patient is not None
    assert by_patient.labels == (("grade", "3"),)
    assert cases.for_series("x", "y", "f") is None


def test_participants_of_a_bids_data_set(tmp_path: Path) -> None:
    text = "participant_id\tage\tsex\tgroup\nsub-01\t39\tm\tdepr\nsub-02\tn/a\tF\tcontrol\n"
    cases = table(tmp_path, text, "participants.tsv")
    found = for_images(cases, [("sub-01/anat/sub-01_T1w.nii", "sub-01"), ("s2.nii", "sub-02")])
    assert (found["sub-01/anat/sub-01_T1w.nii"].age, found["s2.nii"].age != 0) == (39.0, True)
    assert [c.sex for c in found.values()] == ["M", "F"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("patient,y\na,1\n", "no column says what a row is for"),
        ("image,modality\na,XR\n", "line 2: modality is none of CT, MR, PT, OT"),
        ("image,sex\na,F\nb,female?\n", "line 3: sex is none of"),
        ("image,age\na,old\n", "line 2: age is no number"),
        ("image,split\na,training\n", "split is none of train, val, test"),
        ("image,site\na,St. Mary\n", "site is not"),
        ("image,y\na,1\na,2\n", "line 2, 3: the same image with other contents"),
        ("image,y\n,1\n", "line 2: empty in image"),
        ("image,y,y\na,1,1\n", "column y is there twice"),
        ("image,patient_name\na,SECRET^NAME\n", "column 2 has a name that may hold identities"),
        ("image,MRN\na,12345\n", "column 2 has a name that may hold identities"),
        ("image,finding\na,SECRET free text\n", "line 2: column finding holds free text or a date"),
        ("image,seen\na,2019-04-01\n", "line 2: column seen holds free text or a date"),
    ],
)
def test_faults_are_told_by_line_and_never_by_value(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        table(tmp_path, text)
    assert "SECRET" not in str(caught.value)


def test_too_many_classes_are_no_classes(tmp_path: Path) -> None:
    rows = "".join(f"i{n},c{n}\n" for n in range(101))
    with pytest.raises(ConfigError, match="more than 100 classes"):
        table(tmp_path, f"image,y\n{rows}")


def test_blank_lines_do_not_shift_the_numbers(tmp_path: Path) -> None:
    cases = table(tmp_path, "image,y\na,1\n\n\ngone,2\n\n")
    for_images(cases, [("a.nii", "")])
    assert cases.unmatched() == [5]


def test_the_same_row_twice_counts_once(tmp_path: Path) -> None:
    cases = table(tmp_path, "image,y\na,1\na,1\n")
    assert for_images(cases, [("a.nii", "")])["a.nii"].labels == (("y", "1"),)
