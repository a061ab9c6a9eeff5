"""`medssl finetune`: what it prints, and that a wrong configuration costs no heavy import."""

from __future__ import annotations

from pathlib import Path

import pytest

from medssl.cli.finetune import finetune
from medssl.errors import ConfigError, StoreError


def test_a_wrong_key_is_named_with_the_nearest_valid_one(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("store: s\ntask: {name: segmentation, maks: m}\naugment: {}\n")
    with pytest.raises(ConfigError, match=r"maks; did you mean mask"):
        finetune(config, tmp_path / "run")


def test_a_missing_store_ends_before_anything_is_written(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(
        f"store: {tmp_path / 'none'}\ntask: {{name: segmentation}}\n"
        "model: {name: segresnet}\naugment: {patch: {size: [16, 16, 16]}}\n"
    )
    with pytest.raises(StoreError, match="no store at"):
        finetune(config, tmp_path / "run", ["steps=3"])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("split", "tested"),
    [
        ("{}", "test part:"),
        ("{source: folds, folds: 4}", "all patients, each tested once (4 folds):"),
    ],
)
def test_it_says_who_was_tested_and_last_where_the_report_is(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    split: str,
    tested: str,
) -> None:
    import medssl.transfer.finetune as stage

    config = tmp_path / "c.yaml"
    config.write_text(
        "store: s\ntask: {name: segmentation}\nmodel: {name: segresnet}\n"
        f"augment: {{patch: {{size: [16, 16, 16]}}}}\nsplit: {split}\n"
    )
    out = tmp_path / "run"
    result = stage.FinetuneResult(
        out, {"test/dice_mean": 0.9}, out / "p.parquet", out / "m", 12.0, ["dice_mean 0.9"], True
    )
    monkeypatch.setattr(stage, "finetune", lambda config, out, progress: result)
    finetune(config, out)
    lines = capsys.readouterr().out.splitlines()
    assert "was done already" in lines[0]
    assert lines[0].endswith(tested)
    assert lines[1].strip() == "dice_mean 0.9"
    assert lines[-1].endswith(str(out / "report.html"))
