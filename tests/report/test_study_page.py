"""The study's page and its curve: what they say, and that they stand alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from medssl.report.learning_curve import learning_curve, savings_text
from medssl.report.page import figure_png
from medssl.report.study import headline, limits, write_study_report

LSF = {
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
    encoder = {"method": "simclr", "volumes": 0}
    return {
        "task": {"kind": "classification", "label": "<b>malignant</b>", "classes": ["0", "1"]},
        "data": {**numbers, "dev_patients": 40, "dev_cases": 70},
        "test": {"rule": "split"},
        "exclusions": [{"reason": "no label", "cases": 3, "patients": 2}],
        "arms": {
            "scratch": {"init": "random", "encoder": None},
            "ssl_ft": {"init": "encoder", "encoder": encoder},
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
        "intervals": {"draws": 3, "level": 0.95, "replicates": 2000, "test_patients": 20},
    }


def test_page_says_what_a_reader_needs_and_fetches_nothing(
    tmp_path: Path, plan: dict[str, Any], analysis: dict[str, Any]
) -> None:
    cases = pd.DataFrame({"group_quality": ["patient", "inferred"]})
    png = figure_png(learning_curve(analysis["curve"], "auc_macro", LSF))
    failed = {"ssl_ft_0.4_2": "RuntimeError"}
    path = write_study_report(
        tmp_path / "report.html",
        plan,
        analysis,
        cases,
        png,
        failed,
        [("plan.json", "cd" * 32)],
        "ef",
    )
    html = path.read_text(encoding="utf-8")
    assert "INCONCLUSIVE – “pretrained with 10\u00a0% of the labels" in html
    assert "&lt;b&gt;malignant" in html
    for said in ("ssl_ft_0.4_2", "RuntimeError", "cd" * 32, "no upper bound", "1 inferred"):
        assert said in html
    assert not re.search(r"<script|https?://|src=\"(?!data:)", html)


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
