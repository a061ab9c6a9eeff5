"""The quickstart, as a newcomer runs it: twice."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


def quickstart(folder: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    result = subprocess.run(
        [sys.executable, "-m", "medssl", "quickstart", "--out", "quickstart"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout


@pytest.mark.slow
def test_everything_that_the_summary_names_is_there_and_a_second_run_says_so(
    tmp_path: Path,
) -> None:
    summary = quickstart(tmp_path).split("What came in")[1]
    named = [
        tmp_path / name for name in re.findall(r"quickstart/[\w./-]+\.(?:png|html|json)", summary)
    ]
    assert len(named) >= 6
    for path in named:
        assert path.stat().st_size > 1000, path
    audit = json.loads((tmp_path / "quickstart/study/audit.json").read_text())
    assert audit["verdict"] in ("INCONCLUSIVE", "VACUOUS")
    assert {c["status"] for c in audit["checks"]} & {"FAIL"} == set()
    # What identifies the made-up patients is in the archive alone.
    needles = (tmp_path / "quickstart/sample/needles.txt").read_bytes().splitlines()
    for path in (tmp_path / "quickstart").rglob("*"):
        if path.is_file() and "sample" not in path.relative_to(tmp_path).parts:
            data = path.read_bytes()
            assert not [n for n in needles if len(n) > 5 and n in data], path

    again = quickstart(tmp_path)
    assert "was done already" in again.splitlines()[-1]
