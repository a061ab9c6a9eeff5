"""Studies with real training, tiny: killed and resumed to the bit; masks of a segmentation."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from medssl.config import dump_config
from medssl.efficiency.canonical import sha256_file
from medssl.efficiency.ledger import read_ledger, verify_chain
from medssl.efficiency.publish import analyse_study
from medssl.efficiency.study import run_study

pytestmark = pytest.mark.usefixtures("no_tracking")

_RUN = """
import sys
from pathlib import Path
import medssl.tracking

class Nothing:
    run_id = "none"
    def __getattr__(self, name):
        return lambda *_, **__: None

medssl.tracking.start = lambda *_, **__: Nothing()
from medssl.config import load_config
from medssl.efficiency.config import StudyConfig
from medssl.efficiency.study import run_study
run_study(load_config(StudyConfig, Path(sys.argv[1])), Path(sys.argv[2]))
"""


def test_killed_study_ends_with_the_bits_of_an_unbroken_one(
    bright_config: Any, tmp_path: Path
) -> None:
    config = bright_config()
    run_study(config, tmp_path / "whole")

    written = tmp_path / "study.yaml"
    written.write_text(dump_config(config))
    broken = tmp_path / "broken"
    child = subprocess.Popen([sys.executable, "-c", _RUN, str(written), str(broken)])
    state = broken / "cells" / "scratch_1_0" / "trials" / "1" / "metrics.jsonl"
    try:
        # Into the second trial of the second cell, past its first checkpoints.
        deadline = time.monotonic() + 200
        while not (state.is_file() and len(state.read_text().splitlines()) >= 3):
            assert child.poll() is None, "the study ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        os.kill(child.pid, signal.SIGKILL)
    finally:
        child.kill()
        child.wait()
    assert not (broken / "predictions" / "scratch_1_0.parquet").exists()

    assert run_study(config, broken).trained == 1
    for path in (tmp_path / "whole" / "predictions").iterdir():
        assert sha256_file(path) == sha256_file(broken / "predictions" / path.name)
    entries = read_ledger(broken / "ledger.jsonl")
    assert verify_chain(entries) == []
    # The first fraction has no validation part, and so one trial.
    assert sum(e.event == "training_started" for e in entries) == 3
    log = broken / "cells" / "scratch_1_0" / "trials" / "1" / "run.log"
    assert "resumed at step" in log.read_text()


def test_masks_of_a_segmentation_lie_where_the_predictions_say(
    bright_config: Any, tmp_path: Path
) -> None:
    config = bright_config({"name": "segmentation", "mask": "cube"}, "dice_mean")
    study = tmp_path / "study"
    run_study(config, study)
    frame = pd.read_parquet(study / "predictions" / "scratch_0.4_0.parquet")
    test = frame[frame["split"] == "test"]
    for path, digest in zip(test["mask_path"], test["mask_sha256"], strict=True):
        assert path.startswith("masks/scratch_0.4_0/")
        assert sha256_file(study / path) == digest
    analysed = analyse_study(config, study)
    assert analysed.missing == []
    cases = pd.read_parquet(study / "cases.parquet")
    assert set(cases["label"]) == {"1"}
