"""R1: cells that really were trained are trained again; and the audit of such a study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medssl.audit.checks import rerun
from medssl.audit.result import Status
from medssl.efficiency.config import StudyConfig
from medssl.efficiency.publish import analyse_study
from medssl.efficiency.study import run_study
from medssl.store import open_store

from ..efficiency.conftest import bright_config as bright_config
from ..efficiency.conftest import bright_store as bright_store
from .conftest import Study


class _NoTracker:
    run_id = "none"

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


@pytest.fixture
def trained(
    bright_config: Callable[..., StudyConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Study:
    """Two arms, one fraction, one draw, two steps."""
    monkeypatch.setattr("medssl.tracking.start", lambda *_, **__: _NoTracker())
    config = bright_config(arms=["scratch", "permuted_labels"], fractions=[1.0])
    run_study(config, tmp_path / "study")
    analyse_study(config, tmp_path / "study")
    return Study(tmp_path / "study")


def test_cells_run_again_agree_to_the_digit(trained: Study, bright_store: Path) -> None:
    result = trained.audit(store=bright_store, rerun=True)
    again = result.check("R1")
    assert again.status is Status.PASS, again.observed
    assert "scratch_1_0: logits within 0" in again.observed
    assert "permuted_labels_1_0: logits within 0" in again.observed
    wrong = [c for c in result.checks if c.status in (Status.FAIL, Status.ERROR)]
    assert not wrong, wrong
    assert result.check("L7").status is Status.PASS

    brought = {"store": open_store(bright_store), "rerun": True}
    trained.edit_table(
        "predictions/scratch_1_0.parquet", lambda f: f.assign(logit_1=f["logit_1"] + 0.001)
    )
    other = trained.check(rerun.CHECK, **brought)
    assert other.status is Status.FAIL
    assert "scratch_1_0: logits within 0.001" in other.observed
    # On another machine the metric decides, which such a shift does not move.
    trained.edit_json(
        "cells/scratch_1_0/cell.json", lambda v: v["provenance"].update(device="another")
    )
    assert trained.check(rerun.CHECK, **brought).status is Status.PASS


def test_a_cell_that_needs_the_encoder_is_not_run_without(study: Study, tmp_path: Path) -> None:
    from medssl.store.writer import create_store

    create_store(tmp_path / "store", "key-1", {})
    finding = study.check(rerun.CHECK, store=open_store(tmp_path / "store"), rerun=True)
    assert finding.status is Status.INCONCLUSIVE  # the store is empty, so that scratch cannot run
    assert "ssl_ft_0.25_0 not run: --encoder" in finding.observed
    assert "could not be run again" in finding.observed
    assert study.check(rerun.CHECK).status is Status.NOT_RUN
