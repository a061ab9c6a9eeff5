"""The study's page and its curve: what they say, and that they stand alone."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medssl.efficiency.cells import Cell, StudyPaths
from medssl.report.arm_styles import arm_style, moved_apart
from medssl.report.flow_diagram import flow_diagram
from medssl.report.learning_curve import learning_curve, savings_text
from medssl.report.page import figure_png
from medssl.report.reporting_items import GUIDELINES, Item
from medssl.report.study import write_study_report
from medssl.report.study_checklists import HAVE, answered, checklist_section
from medssl.report.study_cost import cost_section, price_of_labels
from medssl.report.study_limits import limits
from medssl.report.study_record import StudyRecord
from medssl.report.study_verdict import headline
from medssl.report.study_words import ARMS
from medssl.report.worst_cases import worst_cases

LSF = {
    "arm": "ssl_ft",
    "versus": "scratch",
    "power_law": None,
    "agreement": None,
    "target": 0.84,
    "reference_fraction": 0.4,
    "value": 2.13,
    "censored": "none",
    "lo": 1.2,
    "hi": None,
    "scratch_labels": 160.0,
    "pretrained_labels": 75.0,
}


def _points() -> list[dict[str, Any]]:
    points = []
    for arm, shift in (("scratch", 0.0), ("ssl_ft", 0.05)):
        for fraction, labels, mean in ((0.1, 40.0, 0.76), (0.2, 80.0, 0.8), (0.4, 160.0, 0.84)):
            draws = [mean + shift - 0.01, mean + shift + 0.01, None]
            value = mean + shift
            point = {"arm": arm, "fraction": fraction, "labels": labels, "patients": labels / 2}
            bounds = {"mean": value, "lo": value - 0.03, "hi": value + 0.03, "draws": draws}
            points.append({**point, **bounds})
    return points


@pytest.fixture
def plan() -> dict[str, Any]:
    numbers = {"patients": 60, "cases": 100, "test_patients": 20, "test_cases": 30}
    subset = {"draw": 0, "patients": 4, "cases": 7, "val_patients": 0, "val_cases": 0}
    encoder = {"method": "simclr", "volumes": 0, "store_key_id": "key-1"}
    full = {"regime": "full", "steps": 10, "labels": "given", "trials": 1}
    return {
        "task": {"kind": "classification", "label": "<b>malignant</b>", "classes": ["0", "1"]},
        "data": {**numbers, "key_id": "key-1", "dev_patients": 40, "dev_cases": 70},
        "test": {"rule": "split"},
        "exclusions": [{"reason": "no label", "cases": 3, "patients": 2}],
        "arms": {
            "scratch": {**full, "init": "random", "encoder": None},
            "ssl_ft": {**full, "init": "encoder", "encoder": encoder},
        },
        "fractions": [0.1, 0.2, 0.4],
        "draws": 3,
        "subsets": [{**subset, "fraction": f} for f in (0.1, 0.2, 0.4)],
        "search": {"trials": 1, "space": {}},
        "fit": {"model": {"name": "segresnet"}, "steps": 10, "batch_size": 2},
        "metric": "auc_macro",
        "margin": 0.02,
        "reference_fraction": 0.4,
    }


@pytest.fixture
def analysis() -> dict[str, Any]:
    effect = {"fraction": 0.1, "labels": 40.0, "arm": "ssl_ft", "versus": "scratch"}
    figures = {"delta": 0.05, "lo": 0.01, "hi": 0.09, "se": 0.02, "mdd": 0.056}
    tests = {"p": 0.25, "p_holm": 0.25, "significant": None}
    condition = {
        "id": "near_enough",
        "rule": "it is near",
        "observed": 0.01,
        "bound": -0.01,
        "holds": True,
    }
    return {
        "plan_sha256": "ab" * 32,
        "metric": "auc_macro",
        "arm": "ssl_ft",
        "missing": ["ssl_ft_0.4_2"],
        "curve": _points(),
        "effects": [{**effect, **figures, **tests}],
        "aulc": {"scratch": {"value": 0.8, "lo": 0.7, "hi": 0.9}, "ssl_ft": None},
        "lsf": LSF,
        "claim": {
            "arm": "ssl_ft",
            "frac": 0.1,
            "versus": "scratch",
            "vs_frac": 0.4,
            "verdict": "INCONCLUSIVE",
            "conditions": [condition],
        },
        "controls": {"permuted_labels": [], "scratch_2x": []},
        "paired_tests": [],
        "subgroups": None,
        "calibration": [],
        "intervals": {"draws": 3, "level": 0.95, "replicates": 2000, "test_patients": 20},
    }


@pytest.fixture
def record(tmp_path: Path, plan: dict[str, Any], analysis: dict[str, Any]) -> StudyRecord:
    """A study without predictions, records, store or audit."""
    return StudyRecord(
        paths=StudyPaths(tmp_path),
        plan=plan,
        analysis=analysis,
        cases=pd.DataFrame(
            {
                "volume_uid": ["a", "b"],
                "patient_key": ["p", "q"],
                "role": ["dev", "test"],
                "group_quality": ["patient", "inferred"],
            }
        ),
        instances=None,
        pretrain=None,
        pretrain_instances=None,
        pretraining=None,
        cells=[],
        failed={"ssl_ft_0.4_2": "RuntimeError"},
        evidence=[("plan.json", "cd" * 32)],
        ledger_root="ef",
        audit=None,
        store=None,
        no_store="nobody knows where it is",
    )


def test_page_says_what_a_reader_needs_and_fetches_nothing(
    tmp_path: Path, record: StudyRecord
) -> None:
    png = figure_png(learning_curve(record.analysis["curve"], "auc_macro", LSF))
    html = write_study_report(tmp_path / "report.html", record, png).read_text(encoding="utf-8")
    assert "INCONCLUSIVE – “pretrained with 10\u00a0% of the labels" in html
    assert "&lt;b&gt;malignant" in html
    for said in ("ssl_ft_0.4_2", "RuntimeError", "cd" * 32, "no upper bound", "1 inferred"):
        assert said in html
    assert not re.search(r"<script|https?://|src=\"(?!data:)", html)
    assert all(re.findall(r'<img alt="([^"]*)"', html))


def test_the_worst_cases_are_those_of_the_lowest_mean_probability(record: StudyRecord) -> None:
    record.analysis["subgroups"] = {  # type: ignore[index]
        "arm": "ssl_ft",
        "fraction": 0.1,
        "versus": "scratch",
        "versus_fraction": 0.4,
    }
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 30)
    logits = {}
    (record.paths.root / "predictions").mkdir()
    for draw in range(2):
        logits[draw] = rng.normal(size=(30, 2))
        pd.DataFrame(
            {
                "volume_uid": [f"v{n:02}" for n in range(30)],
                "split": "test",
                "y_true": truth,
                "logit_0": logits[draw][:, 0],
                "logit_1": logits[draw][:, 1],
            }
        ).to_parquet(record.paths.predictions(Cell("ssl_ft", 0.1, draw)))
    found = worst_cases(record)
    # A naive loop over cases and draws.
    naive = {}
    for case in range(30):
        of_class = [
            np.exp(logits[d][case, truth[case]]) / np.exp(logits[d][case]).sum() for d in range(2)
        ]
        naive[f"v{case:02}"] = sum(of_class) / 2
    assert [c.volume_uid for c in found] == sorted(naive, key=lambda uid: naive[uid])[:20]
    assert [c.score for c in found] == pytest.approx([naive[c.volume_uid] for c in found])
    assert all(case.versus is None for case in found)


def test_the_price_of_a_saved_label_is_the_cost_over_the_labels(record: StudyRecord) -> None:
    pretraining = {"seconds": 850.0, "kwh": 0.17}
    paid = StudyRecord(**{**vars(record), "pretraining": pretraining})
    assert "85 labels were saved" in price_of_labels(paid)[0]["text"]
    assert "10 s of pretraining and 0.002 kWh a label" in price_of_labels(paid)[0]["text"]
    bound = {**record.analysis, "lsf": {**LSF, "censored": "at_least"}}
    paid = StudyRecord(**{**vars(paid), "analysis": bound})
    assert "at least 85 labels" in price_of_labels(paid)[0]["text"]
    assert "at most 10 s" in price_of_labels(paid)[0]["text"]
    lost = {**record.analysis, "lsf": {**LSF, "pretrained_labels": 200.0}}
    paid = StudyRecord(**{**vars(paid), "analysis": lost})
    assert "saved no label" in price_of_labels(paid)[0]["text"]
    assert price_of_labels(record) == []


def test_the_cost_of_pretraining_and_of_each_arm_stands_in_its_row(record: StudyRecord) -> None:
    pretraining = {
        "method": "mae",
        "steps": 12_000,
        "seconds": 90.0,
        "peak_memory_bytes": 3 * 2**30,
        "kwh": 0.1234,
    }
    cells = [
        {
            "arm": "scratch",
            "trials": [{"steps": 50}, {"steps": 50}],
            "cost": {"seconds": 30.0, "peak_memory_bytes": size * 2**20, "kwh": kwh},
        }
        for size, kwh in ((400, 0.25), (600, 0.5))
    ]
    told = {"pretraining": pretraining, "cells": cells}
    rows = cost_section(StudyRecord(**{**vars(record), **told})).parts[0]["rows"]
    shown = [[cell["text"] for cell in row] for row in rows]
    assert shown == [
        ["pretraining (mae)", "–", "–", "12,000", "–", "90 s", "3.0 GiB", "0.123 kWh"],
        ["from scratch", "2", "4", "200", "30 s", "60 s", "600 MiB", "0.75 kWh"],
    ]
    cells[0]["cost"]["kwh"] = None  # a sum over some of the cells would be too small
    rows = cost_section(StudyRecord(**{**vars(record), **told})).parts[0]["rows"]
    assert [row[-1]["text"] for row in rows] == ["0.123 kWh", "–"]


def test_guidelines_are_told_in_order_and_whole() -> None:
    """Numbers as the guidelines count: CLAIM straight on, the others with items in parts."""
    parts = {
        "CLAIM 2024": (44, {}),
        "TRIPOD+AI": (
            27,
            {3: "abc", 5: "ab", 6: "abc", 8: "abc", 9: "abc", 12: "abcdefg", 18: "abcdef"}
            | {20: "abc", 23: "ab", 27: "abc"},
        ),
        "STARD-AI": (40, {15: "abcd", 16: "abc", 17: "ab", 26: "ab", 40: "ab"}),
    }
    assert [g.name for g in GUIDELINES] == list(parts)
    for guideline in GUIDELINES:
        last, split = parts[guideline.name]
        assert [i.number for i in guideline.items] == [
            f"{n}{letter}" for n in range(1, last + 1) for letter in split.get(n, [""])
        ]
        assert {i.answer for i in guideline.items} == {"yes", "partly", "no"}
        assert {i.without for i in guideline.items} <= {"partly", "no"}
        assert {i.needs for i in guideline.items} <= {"", *HAVE}


@pytest.mark.parametrize(
    ("name", "topics"),
    [
        (
            "CLAIM 2024",
            "5 prospective, 7 sources, 11 de-identification, 13 acquired, 14 reference, "
            "17 test set, 18 annotators, 20 disjoint, 21 size, 23 library, 24 weights, "
            "27 ensembles, 29 uncertainty, 31 explanation, 33 external, 34 registration, "
            "36 characteristics, 39 failures, 40 limitations, 42 protocol, 44 funding",
        ),
        (
            "TRIPOD+AI",
            "3c inequalities, 5b dates, 6c treatments, 7 preparation, 8c blinding, 10 size, "
            "11 missing, 12d clusters, 12f updating, 13 imbalance, 14 fairness, 15 thresholds, "
            "17 ethical, 18d registration, 18f code, 19 public, 20c development, 22 in full, "
            "23a intervals, 24 updating, 26 limitations, 27a missing input",
        ),
        (
            "STARD-AI",
            "6 ethical, 7 eligibility, 10 consecutive, 12 annotated, 13 devices, 15c cut-offs, "
            "15d who is to use, 16a reference, 19 indeterminate, 20 missing, 22 size, 23 fairness, "
            "24 diagram, 26a severity, 27 time, 29 external, 30 tabulated, 32 harm, "
            "33 limitations, 36 registration, 38 funding, 39 commercial, 40b audited",
        ),
    ],
)
def test_items_ask_what_the_lists_ask_under_their_number(name: str, topics: str) -> None:
    """Topics as the lists that were read give them, where one shifted by a place would show."""
    (items,) = (g.items for g in GUIDELINES if g.name == name)
    asks = {item.number: item.asks for item in items}
    for topic in topics.split(", "):
        number, word = topic.split(" ", 1)
        assert word in asks[number], number


def test_page_says_beside_a_guideline_what_its_items_were_checked_against(
    record: StudyRecord,
) -> None:
    _, counts, *lists = checklist_section(record).parts
    for row, guideline, whole in zip(counts["rows"], GUIDELINES, lists, strict=True):
        told = [cell["text"] for cell in row]
        assert guideline.name in told[0]
        assert guideline.reference in told[0]
        assert told[-1] == guideline.checked
        answers = [cells[2]["text"] for cells in whole["parts"][0]["rows"]]
        assert told[1:4] == [str(answers.count(word)) for word in ("yes", "partly", "no")]
        assert len(answers) == len(guideline.items)
    read = {g.name: "not the article" not in g.checked for g in GUIDELINES}
    assert read == {"CLAIM 2024": True, "TRIPOD+AI": False, "STARD-AI": False}


def test_answers_lead_to_sections_of_the_page(tmp_path: Path, record: StudyRecord) -> None:
    png = figure_png(learning_curve(record.analysis["curve"], "auc_macro", LSF))
    html = write_study_report(tmp_path / "report.html", record, png).read_text(encoding="utf-8")
    headings = set(re.findall(r"<h2[^>]*>([^<]*)</h2>", html))
    for item in (i for g in GUIDELINES for i in g.items if not i.where.startswith("the ")):
        assert set(item.where.split(":")[0].split(", ")) <= headings, item


def test_an_item_falls_back_where_the_study_lacks_what_it_takes(record: StudyRecord) -> None:
    by_group = Item("23a", "by group", "yes", "Subgroups", "groups", "partly")
    assert answered(by_group, record)[2:] == ("partly", HAVE["groups"][1])
    stated = Item("4", "aims", "yes", "Claim", "claim")
    assert answered(stated, record)[2:] == ("yes", "Claim")
    unstated = StudyRecord(**{**vars(record), "analysis": {**record.analysis, "claim": None}})
    assert answered(stated, unstated)[2:] == ("no", HAVE["claim"][1])


def test_no_two_arms_look_alike_without_colour() -> None:
    styles = [arm_style(arm) for arm in ARMS]
    assert len({style.marker for style in styles}) == len(ARMS)
    assert len({str(style.dash) for style in styles}) == len(ARMS)
    assert len({style.colour for style in styles}) == len(ARMS)


def test_names_are_moved_apart_as_little_as_it_takes() -> None:
    assert moved_apart([0.0, 100.0], 10) == [0.0, 100.0]
    assert moved_apart([50.0, 50.0, 50.0], 10) == pytest.approx([40, 50, 60])
    assert np.diff(moved_apart([1.0, 2.0, 3.0, 90.0], 10)).min() >= 10 - 1e-9


def test_limits_follow_from_the_files(plan: dict[str, Any], analysis: dict[str, Any]) -> None:
    known = pd.DataFrame({"group_quality": ["patient"]})
    said = " ".join(limits(plan, analysis, known))
    assert "3 draws" in said
    assert "which volumes the encoder of ssl_ft saw" in said
    assert "by seed alone" not in said
    plan["fractions"], plan["draws"] = [0.1, 1.0], 10
    plan["arms"]["ssl_ft"]["encoder"]["volumes"] = 9
    said = " ".join(limits(plan, analysis, known))
    assert "differ by seed alone" in said
    assert "10 draws" not in said
    assert "encoder" not in said


def test_headline_without_a_claim_gives_the_difference_with_the_fewest_labels(
    analysis: dict[str, Any],
) -> None:
    line = headline({**analysis, "claim": None})
    assert "With 40 labels, pretrained minus from scratch is +0.050 (+0.010 to +0.090)" in line


@pytest.mark.parametrize(
    ("censored", "words"),
    [
        ("none", "2.1 × fewer labels"),
        ("at_least", "≥ 2.1 × fewer labels"),
        ("at_most", "≤ 2.1 × fewer labels"),
        ("undefined", ""),
    ],
)
def test_censoring_shows_in_the_words(censored: str, words: str) -> None:
    assert savings_text({**LSF, "censored": censored}) == words


def test_a_factor_under_one_is_told_as_more_labels() -> None:
    assert savings_text({**LSF, "value": 0.25}) == "4 × more labels"
    assert savings_text({**LSF, "value": 0.25, "censored": "at_most"}) == "≥ 4 × more labels"


def test_curve_draws_every_draw_and_the_arrow_only_where_labels_are_saved() -> None:
    drawn = learning_curve(_points(), "auc_macro", LSF)
    axes = drawn.axes[0]
    dots = sum(len(c.get_offsets()) for c in axes.collections if hasattr(c, "get_sizes"))
    assert dots >= 12
    assert any("fewer labels" in t.get_text() for t in axes.texts)
    loses = {**LSF, "scratch_labels": 75.0, "pretrained_labels": 160.0}
    none = learning_curve(_points(), "auc_macro", loses).axes[0]
    assert not any("fewer labels" in t.get_text() for t in none.texts)


def test_long_reasons_stay_within_their_box() -> None:
    reason = "the store has no label of the task's classes for them"
    counts = ("patients", "cases", "test_patients", "test_cases", "dev_patients", "dev_cases")
    plan = {
        "data": dict.fromkeys(counts, 1000),
        "exclusions": [{"reason": reason, "patients": 1234, "cases": 5678}],
        "subsets": [{"fraction": 1.0, "patients": 9, "cases": 9, "val_cases": 0}],
    }
    shown = re.findall(r"<text[^>]*>([^<]*)</text>", flow_diagram(plan))
    assert max(len(html.unescape(line)) for line in shown) <= 56
    words = html.unescape(" ".join(shown)).replace("\u2003", "")
    assert f"{reason}: 1,234 patients, 5,678 volumes" in words
