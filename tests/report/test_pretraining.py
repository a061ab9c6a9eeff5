"""The page of a pretraining, of runs whose metrics are known."""

from __future__ import annotations

from pathlib import Path

import pytest

from medssl.engine.config import PretrainConfig
from medssl.engine.run_folder import RunFolder
from medssl.report.pretraining import write_pretraining_report

LOOK = {"health/rank": 5.0, "health/deviation": 0.3, "health/uniformity": -0.3}
POINT = {"health/rank": 1.1, "health/deviation": 0.001, "health/uniformity": -0.0001}


@pytest.mark.parametrize(
    ("looks", "said"),
    [
        ([LOOK, LOOK, LOOK, LOOK], "No sign of collapse in 4 looks"),
        ([LOOK, POINT, POINT, POINT], "Collapsed: complete collapse at step 150"),
        ([LOOK, LOOK], "Not judged: it takes two looks"),
        ([], "and there were 0"),
    ],
)
def test_the_verdict(tmp_path: Path, looks: list[dict[str, float]], said: str) -> None:
    config = PretrainConfig(
        store=Path("store"),
        method={"name": "mae"},
        model={"name": "segresnet"},
        augment={"patch": {"size": [16, 16, 16]}},
        steps=200,
    )  # type: ignore[arg-type]
    run = RunFolder.open(tmp_path / "run", config, "pretrain")
    for number, look in enumerate(looks):
        run.write_metrics(50 * number, look)
        run.write_metrics(50 * number + 25, {"train/loss": 1 / (1 + number), "train/lr": 1e-3})
    page = write_pretraining_report(run, config, 6, None).read_text()
    run.close()
    assert said in page
    assert "Pretraining: mae" in page
    assert ("data:image/png" in page) == bool(looks)
    assert "batch_size: 8" in page
    assert "store: store" not in page
