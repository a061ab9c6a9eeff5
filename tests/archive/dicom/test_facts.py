"""Only words of fixed lists leave a header."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from medssl.archive.dicom.facts import facts_of


def header(**values: Any) -> Dataset:
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


@pytest.mark.parametrize(
    ("description", "contrast"),
    [
        ("AX T2 FLAIR FS", "FLAIR"),
        ("t1_mprage_sag_p2", "T1"),
        ("Sag T1 SE", "T1"),
        ("REST1 w SMS", "OTHER"),
        ("cor t2_tse", "T2"),
        ("T2* GRE", "T2STAR"),
        ("ep2d_diff_3scan_trace", "DWI"),
        ("ADC (10^-6 mm^2/s)", "ADC"),
        ("BOLD run 2", "BOLD"),
        ("PD_TSE", "PD"),
        ("STIR cor", "STIR"),
        ("3D TOF", "ANGIO"),
        ("SWI_Images", "SWI"),
        ("Mr Smith follow-up", "OTHER"),
    ],
)
def test_descriptions_become_a_contrast(description: str, contrast: str) -> None:
    assert facts_of(header(SeriesDescription=description), "MR").contrast == contrast


@pytest.mark.parametrize(
    ("values", "contrast"),
    [
        ({"ScanningSequence": "SE", "RepetitionTime": 500, "EchoTime": 12}, "T1"),
        ({"ScanningSequence": "SE", "RepetitionTime": 4000, "EchoTime": 100}, "T2"),
        ({"ScanningSequence": "SE", "RepetitionTime": 3000, "EchoTime": 15}, "PD"),
        ({"ScanningSequence": "GR", "RepetitionTime": 30, "EchoTime": 15}, "OTHER"),
        (
            {
                "ScanningSequence": ["SE", "IR"],
                "RepetitionTime": 9000,
                "EchoTime": 120,
                "InversionTime": 2500,
            },
            "FLAIR",
        ),
        ({}, "OTHER"),
    ],
)
def test_times_decide_where_the_description_does_not(values: dict[str, Any], contrast: str) -> None:
    assert facts_of(header(**values), "MR").contrast == contrast


def test_body_part_maker_model_field_and_age() -> None:
    facts = facts_of(
        header(
            BodyPartExamined="ABDOMEN_PELVIS",
            Manufacturer="SIEMENS / MIM Software",
            ManufacturerModelName="Skyra of Dr Smith",
            MagneticFieldStrength="15000",
            PatientSex="F",
            PatientAge="018M",
        ),
        "MR",
    )
    assert (facts.body_part, facts.manufacturer, facts.model) == ("ABDOMEN", "SIEMENS", "SKYRA")
    assert (facts.field_strength_t, facts.sex, facts.age_years) == (1.5, "F", 1.5)


def test_age_between_birth_and_study() -> None:
    facts = facts_of(header(PatientBirthDate="19500615", StudyDate="20200101"), "CT")
    assert facts.age_years == 69
    assert math.isnan(facts_of(header(PatientAge="000Y"), "CT").age_years)


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
@given(st.text(alphabet=st.characters(max_codepoint=0x2FF, exclude_categories=["Cc"]), max_size=20))
def test_no_free_text_passes(words: str) -> None:
    ds = header(
        SeriesDescription=words,
        BodyPartExamined=words,
        Manufacturer=words,
        ManufacturerModelName=words,
        PatientSex=words[:1],
        PatientAge=words[:4],
    )
    facts = dataclasses.asdict(facts_of(ds, "MR"))
    for value in facts.values():
        if isinstance(value, str) and value not in ("", "F", "M", "O"):
            assert value.isupper() or "_" in value
            assert len(value) <= 20
            assert value == "OTHER" or value != words or words.upper() == words
