"""The analysis reads files alone, and its numbers are those of a naive computation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from medssl.efficiency.analysis import analyse
from medssl.efficiency.canonical import canonical_json
from medssl.efficiency.cells import StudyPaths
from medssl.efficiency.config import ClaimConfig, StudyConfig
from medssl.efficiency.publish import analyse_study
from medssl.efficiency.study import run_study
from medssl.errors import StudyError

Make = Callable[..., StudyConfig]

pytestmark = pytest.mark.usefixtures("no_tracking")


@pytest.fixture
def study(make_config: Make, tmp_path: Path, fake_train: Any) -> Path:
    run_study(make_config(), tmp_path / "study", train=fake_train)
    return tmp_path / "study"


def test_values_and_effects_equal_a_naive_computation(study: Path) -> None:
    values = analyse(StudyPaths(study)).as_json
    auc = {}
    for row in values["cells"]:
        frame = pd.read_parquet(study / "predictions" / f"{row['cell']}.parquet")
        test = frame[frame["split"] == "test"]
        area = roc_auc_score(test["y_true"], test["logit_1"] - test["logit_0"])
        auc[row["cell"]] = area
        assert row["metrics"]["auc_macro"] == pytest.approx(area, abs=1e-9)
    for effect in values["effects"]:
        f = f"{effect['fraction']:g}"
        deltas = [auc[f"ssl_ft_{f}_{d}"] - auc[f"scratch_{f}_{d}"] for d in range(3)]
        assert effect["delta"] == pytest.approx(np.mean(deltas))
        assert effect["lo"] <= effect["delta"] <= effect["hi"]
        assert effect["significant"] is None
        assert effect["mdd"] == pytest.approx(2.8 * effect["se"])
    assert values["missing"] == []
    sizes = pd.DataFrame(analyse(StudyPaths(study)).plan["subsets"]).groupby("fraction")["cases"]
    labels = {p["fraction"]: p["labels"] for p in values["curve"]}
    assert labels == pytest.approx(sizes.mean().to_dict())


def test_analysis_is_reproducible_to_the_byte(study: Path, make_config: Make) -> None:
    first = analyse_study(make_config(), study)
    written = {n: (study / n).read_bytes() for n in ("analysis.json", "curve.png", "ledger.jsonl")}
    again = analyse_study(make_config(), study)
    assert {n: (study / n).read_bytes() for n in written} == written
    assert first.ledger_root == again.ledger_root
    assert canonical_json(json.loads(written["analysis.json"])) == written["analysis.json"]


def test_another_claim_can_be_judged_without_touching_the_study(study: Path) -> None:
    claim = ClaimConfig(frac=0.25, vs_frac=1.0, metric="auc_macro", margin=0.02)
    outcome = analyse(StudyPaths(study), claim).claim
    assert outcome is not None
    assert outcome.verdict in ("INCONCLUSIVE", "VACUOUS")
    assert analyse(StudyPaths(study)).claim is None


def test_secondary_results_and_the_power_law_are_there(study: Path) -> None:
    values = analyse(StudyPaths(study)).as_json
    assert values["schema"] == "medssl.analysis/2"
    assert values["arm"] == values["lsf"]["arm"] == "ssl_ft"
    # Three fractions: a law of three parameters would check nothing.
    assert values["lsf"]["power_law"] is None
    assert {row["test"] for row in values["paired_tests"]} == {"delong"}
    assert [row["fraction"] for row in values["paired_tests"]] == [0.25, 0.5, 1.0]
    assert {row["measure"] for row in values["calibration"]} == {"brier", "ece"}
    assert values["controls"] == {"permuted_labels": [], "scratch_2x": []}
    intervals = values["intervals"]
    assert intervals["coverage"]["regime"]["draws"] == 5
    assert intervals["note"] == intervals["coverage"]["note"]
    # The store says nothing of site or sex; all is one modality.
    assert values["subgroups"]["gaps"] == []
    assert [row["column"] for row in values["subgroups"]["left_out"]] == ["modality"]


def test_cells_with_other_test_cases_are_refused(study: Path) -> None:
    path = study / "predictions" / "ssl_ft_1_2.parquet"
    pd.read_parquet(path).iloc[1:].to_parquet(path, index=False)
    with pytest.raises(StudyError, match=r"ssl_ft_1_2\.parquet has other test cases"):
        analyse(StudyPaths(study))


def test_statistics_need_neither_torch_nor_mlflow() -> None:
    import subprocess
    import sys

    code = (
        "import sys, medssl.efficiency.analysis, medssl.efficiency.subsets; "
        "print([m for m in ('torch', 'monai', 'mlflow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
