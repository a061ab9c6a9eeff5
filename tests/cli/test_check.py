"""`medssl check`: its last line is the command that runs what was checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from medssl.cli.check import check
from medssl.errors import ConfigError


def test_the_command_is_told_with_what_was_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import medssl.engine.check as stage

    config = tmp_path / "c.yaml"
    config.write_text("store: s\nmodel: {name: segresnet}\naugment: {}\n")
    found = stage.Check(facts=[("scans", "3")])
    monkeypatch.setattr(stage, "check_pretraining", lambda config, folder: found)
    check(config, tmp_path, ["batch_size=4", "augment.patch.size=[8, 8, 8]"])
    assert capsys.readouterr().out.splitlines() == [
        "scans:    3",
        f"fine: medssl pretrain {config} --out RUN --set batch_size=4 "
        "--set 'augment.patch.size=[8, 8, 8]'",
    ]
    found.problems.append("no store")
    with pytest.raises(ConfigError, match="1 problem, see above"):
        check(config, tmp_path, [])
    assert "fine" not in capsys.readouterr().out
