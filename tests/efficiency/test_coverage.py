"""The table of coverage: what is in it, and what a study is told of it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from medssl.efficiency import coverage
from medssl.efficiency.simulation import Regime


def test_the_committed_table_is_whole_and_no_claim_is_supported_too_often() -> None:
    table = coverage.measured_coverage()
    assert len(table["intervals"]) == len(coverage.REGIMES)
    made = [Regime(**row["regime"]) for row in table["intervals"]]
    assert made == list(coverage.REGIMES)
    studies = table["made_with"]["studies"]
    supported = [row["false_support"] for row in table["intervals"]]
    # 5 % are allowed; of all regimes together at most 6 %, of one what chance explains.
    assert sum(supported) / len(supported) <= 0.06
    assert max(supported) <= 0.05 + 4 * (0.05 * 0.95 / studies) ** 0.5


def test_the_page_shows_the_committed_table() -> None:
    docs = Path(__file__).parents[2] / "docs"
    spec = importlib.util.spec_from_file_location("make_coverage", docs / "make_coverage.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = (docs / "explanation" / "coverage.md").read_text()
    assert page == module.as_markdown(coverage.measured_coverage())


def test_a_study_is_told_of_the_regime_nearest_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    told = coverage.coverage_note(10, 110, 1.1, 0.012)
    assert (told["regime"]["draws"], told["regime"]["patients"]) == (10, 100)
    assert told["regime"]["draw_sd"] == 0.01
    assert "10 draws, 100 test patients" in told["note"]
    rows = [{**row, "delta": 0.88} for row in coverage.measured_coverage()["intervals"]]
    monkeypatch.setattr(coverage, "measured_coverage", lambda: {"intervals": rows})
    low = coverage.coverage_note(10, 110, 1.1, None)
    assert low["low"] is True
    assert low["note"].endswith("narrower than they should be.")


def test_coverage_is_counted_over_studies_and_repeats_itself() -> None:
    regime = Regime(5, 40)
    row = coverage.coverage_of(regime, studies=6, replicates=100)
    assert row == coverage.coverage_of(regime, studies=6, replicates=100)
    assert row["delta"] * 6 == pytest.approx(round(row["delta"] * 6), abs=1e-3)
    savings = coverage.savings_coverage(Regime(5, 100), studies=3, replicates=100)
    assert 0 <= savings["coverage"] <= 1
    assert savings["truth"] == 4
