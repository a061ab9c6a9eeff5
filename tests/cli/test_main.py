"""The command line answers at once, and its errors are one line with the right exit code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "monai", "mlflow", "pandas", "numpy", "pydicom", "nibabel", "blosc2", "scipy")


def medssl(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "medssl", *arguments], cwd=cwd, capture_output=True, text=True
    )


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['medssl', '--help']\n"
        "from medssl.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip().splitlines()[-1] == "[]"
    for name in (
        "ingest",
        "pretrain",
        "finetune",
        "label-efficiency",
        "audit",
        "quickstart",
        "show",
    ):
        assert name in result.stdout


def test_the_keyboards_interrupt_is_told(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['medssl', 'wait']\n"
        "from medssl.cli.main import app, main\n"
        "def wait(): raise KeyboardInterrupt\n"
        "app.command('wait')(wait); main()\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 130
    assert result.stderr == "medssl: stopped; run the same command again to resume\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pretrain", "none.yaml", "--out", "r"], "no configuration file at none.yaml"),
        (["pretrain", "typo.yaml", "--out", "r"], "did you mean batch_size?"),
        (["pretrain", "nostore.yaml", "--out", "r"], "no store at nowhere"),
        (["show", "nowhere", "--out", "r"], "--out r: a PNG is written"),
        (["show", "nowhere"], "no store at nowhere"),
    ],
)
def test_a_users_fault_is_one_line_and_exit_code_2(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    rest = (
        "store: nowhere\nmethod: {name: mae}\nmodel: {name: segresnet}\n"
        "augment: {patch: {size: [16, 16, 16]}}\n"
    )
    (tmp_path / "typo.yaml").write_text(rest + "batchsize: 3\n")
    (tmp_path / "nostore.yaml").write_text(rest)
    result = medssl(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "r").exists()
