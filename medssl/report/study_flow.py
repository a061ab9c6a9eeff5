"""Who took part in a study, and whether any of them was on both sides."""

from __future__ import annotations

from typing import Any

import pandas as pd

from medssl.report.flow_diagram import flow_diagram
from medssl.report.page import Part, Section, drawing, subheading, table, text
from medssl.report.study_record import StudyRecord

_COLUMNS = {
    "sex": "sex",
    "age_band": "age",
    "site": "site",
    "modality": "modality",
    "manufacturer": "manufacturer",
    "label": "label",
}
_MOST = 8
_KEYS = {
    "patient_key": "patients",
    "series_key": "series",
    "pixel_sha256": "volumes with the same voxels",
}
_SOURCES = {"instance_key": "source instances", "file_sha256": "source files"}


def flow_section(record: StudyRecord) -> Section:
    """The diagram, and what is known of test and development patients."""
    parts: list[Part] = [
        drawing(
            flow_diagram(record.plan),
            "The test set was split off once, by patient. Of the labelled subsets the smallest to "
            "the largest draw is given; validation is part of the labels.",
        ),
        subheading("Who they are"),
        table(["", "", "development", "test"], _who(record.cases)),
        text("Patients; of the label, volumes. What the store does not know is listed as unknown."),
    ]
    return Section("Patient flow", parts)


def leakage_section(record: StudyRecord) -> Section:
    """What test, development and pretraining share, compared by key and by hash."""
    plan = record.plan
    cases = record.cases
    test, development = cases[cases["role"] == "test"], cases[cases["role"] == "dev"]
    rows = [
        (f"{what}, test and development", *_shared(test[key], development[key]))
        for key, what in _KEYS.items()
        if key in cases
    ]
    encoders = [arm["encoder"] for arm in plan["arms"].values() if arm["encoder"] is not None]
    said: list[Part] = []
    if encoders and record.pretrain is None:
        said.append(
            text(
                "Nothing says which volumes the encoder saw: whether it saw test patients cannot "
                "be checked."
            )
        )
    if encoders and record.pretrain is not None:
        rows += _of_pretraining(record, test)
        if any(e["store_key_id"] != plan["data"]["key_id"] for e in encoders):
            said.append(
                text(
                    "The encoder's volumes were keyed with another key: patients, series and "
                    "instances cannot be told apart by it, and only hashes of voxels and files "
                    "speak."
                )
            )
    return Section(
        "Leakage",
        [
            table(["on both sides", "test has", "the other has", "shared"], rows),
            *said,
            _known(record),
            *_audited(record),
        ],
    )


def _of_pretraining(record: StudyRecord, test: pd.DataFrame) -> list[tuple[Any, ...]]:
    assert record.pretrain is not None
    rows: list[tuple[Any, ...]] = [
        (f"{what}, test and pretraining", *_shared(test[key], record.pretrain[key]))
        for key, what in _KEYS.items()
        if key in test and key in record.pretrain
    ]
    instances, seen = record.instances, record.pretrain_instances
    if instances is None or seen is None:
        return rows
    of_test = instances[instances["volume_uid"].isin(test["volume_uid"])]
    return rows + [
        (f"{what}, test and pretraining", *_shared(of_test[key], seen[key]))
        for key, what in _SOURCES.items()
        if key in of_test and key in seen
    ]


def _shared(ours: pd.Series[Any], theirs: pd.Series[Any]) -> tuple[int, int, str]:
    one, other = ({str(v) for v in side.dropna() if str(v)} for side in (ours, theirs))
    both = len(one & other)
    return len(one), len(other), "none" if not both else f"{both}"


def _known(record: StudyRecord) -> Part:
    kinds = record.cases["group_quality"].value_counts()
    told = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    return text(f"How the patient of a volume is known: {told}.")


def _audited(record: StudyRecord) -> list[Part]:
    """What an audit of this very state says of leaks."""
    if record.audit is None:
        return [
            text(
                "Near-duplicates, blank images and what was fitted on whom are looked at by "
                "medssl audit STUDY; analyse again after it, and its findings stand here."
            )
        ]
    checks = [c for c in record.audit["checks"] if str(c["id"]).startswith("L")]
    rows = [(c["id"], c["status"], c["rule"], c["observed"]) for c in checks]
    return [
        text("The audit of this state of the study says:"),
        table(["check", "status", "passes when", "observed"], rows),
    ]


def _who(cases: pd.DataFrame) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    for column, told in _COLUMNS.items():
        if column not in cases:
            continue
        known = cases[column].fillna("").astype(str).replace("", "unknown")
        unit = "volume_uid" if column == "label" else "patient_key"
        frame = cases.assign(**{column: known})
        counts = frame.groupby([column, "role"])[unit].nunique().unstack(fill_value=0)
        counts = counts.reindex(columns=["dev", "test"], fill_value=0)
        if list(counts.index) == ["unknown"]:
            rows.append((told, "unknown", int(counts["dev"].sum()), int(counts["test"].sum())))
            continue
        order = counts.sum(axis=1).sort_values(ascending=False, kind="stable").index
        for place, value in enumerate(order[:_MOST]):
            of_value = counts.loc[value]
            name = told if place == 0 else ""
            rows.append((name, str(value), int(of_value["dev"]), int(of_value["test"])))
        if len(order) > _MOST:
            rest = counts.loc[order[_MOST:]].sum()
            others = f"{len(order) - _MOST} others"
            rows.append(("", others, int(rest["dev"]), int(rest["test"])))
    return rows
