"""Pages of whole studies of every shape: each renders, and says what is there and what is not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medssl.audit.audit import audit
from medssl.efficiency.analysis import analyse
from medssl.efficiency.cells import StudyPaths
from medssl.efficiency.ledger import Ledger
from medssl.report.learning_curve import learning_curve
from medssl.report.page import figure_png
from medssl.report.study import write_study_report
from medssl.report.study_record import read_record

from ..audit.made_study import Wanted, make_study

SECTIONS = (
    "Claim",
    "Learning curve",
    "Effects",
    "Labels saved",
    "Cost",
    "Plan",
    "Patient flow",
    "Leakage",
    "Subgroups",
    "Calibration",
    "Worst cases",
    "Representation health",
    "Running it again",
    "Reporting guidelines",
    "Limits",
    "Evidence",
)
ALL = (
    "scratch",
    "ssl_ft",
    "ssl_linear",
    "ssl_knn",
    "random_linear",
    "scratch_2x",
    "permuted_labels",
)


@pytest.fixture
def page_of(tmp_path: Path) -> Callable[..., str]:
    """The page of a made study; `spoil` may take files away first."""

    def make(spoil: Callable[[StudyPaths], None] | None = None, **properties: Any) -> str:
        paths = StudyPaths(tmp_path / "study")
        wanted = Wanted(**{"patients": 120, "replicates": 100, **properties})
        make_study(paths.root, wanted).write()
        if spoil is not None:
            spoil(paths)
        analysis = analyse(paths)
        values = analysis.as_json
        with Ledger(paths.ledger) as ledger:
            entries, root = ledger.entries, ledger.root()
        plan, nowhere = analysis.plan, tmp_path / "no store"
        record = read_record(paths, plan, values, entries, root, nowhere)
        drawn = learning_curve(values["curve"], values["metric"], values["lsf"], values["arm"])
        page = write_study_report(paths.report, record, figure_png(drawn))
        html = page.read_text("utf-8")
        assert not re.search(r"<script|https?://|src=\"(?!data:)", html)
        assert all(re.findall(r'<img alt="([^"]*)"', html))
        return html

    return make


def _headings(html: str) -> list[str]:
    return re.findall(r"<h2[^>]*>([^<]+)</h2>", html)


def test_all_arms_and_all_sections(page_of: Callable[..., str]) -> None:
    html = page_of(arms=ALL, fractions=(0.1, 0.25, 0.5, 1.0), draws=5)
    assert tuple(_headings(html)) == SECTIONS
    for said in (
        "pretrained, kNN probe",
        "Control: labels permuted",
        "Control: twice the steps",
        "power law",
        "gap, from scratch",
        "Brier score: the numbers",
        "No pictures: the store is not where it was",
        "pretraining (simclr)",
        "simulated studies",
    ):
        assert said in html, said


def test_one_arm_without_encoder_or_claim(page_of: Callable[..., str]) -> None:
    html = page_of(arms=("scratch",), claim=None, draws=2)
    assert tuple(_headings(html)) == SECTIONS[1:]
    assert "There is one arm only" in html
    assert "No arm of this study starts from a pretrained encoder" in html
    assert "no claim was stated" in html  # an item of the guidelines that is not answered


def test_segmentation_has_no_probabilities_to_calibrate(page_of: Callable[..., str]) -> None:
    html = page_of(segmentation=True, claim=None)
    assert "there are no probabilities of a case to be calibrated" in html
    assert "lowest mean Dice" in html
    assert "Wilcoxon signed-rank" in html


def test_cells_that_are_missing_are_named(page_of: Callable[..., str]) -> None:
    def spoil(paths: StudyPaths) -> None:
        (paths.root / "predictions" / "ssl_ft_1_0.parquet").unlink()
        for record in paths.root.glob("cells/*/cell.json"):
            record.unlink()

    html = page_of(spoil)
    assert "Cells without predictions: ssl_ft_1_0." in html
    assert "No cell has left a record of where it ran" in html


def test_an_audit_of_this_state_stands_on_the_page_and_one_of_another_does_not(
    page_of: Callable[..., str], tmp_path: Path
) -> None:
    def judged(paths: StudyPaths) -> None:
        audit(paths.root)

    def outdated(paths: StudyPaths) -> None:
        path = paths.root / "audit.json"
        path.write_text(json.dumps({"ledger_root": "0" * 64, "checks": [{"id": "R1"}]}))

    assert "The audit of this state of the study says" in page_of(judged)
    (tmp_path / "study").rename(tmp_path / "first")
    assert "The audit of this state" not in page_of(outdated)
