"""What an audit reads, writes and survives."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from medssl.audit.audit import _run as run_check
from medssl.audit.audit import audit
from medssl.audit.result import Check, Finding, Status
from medssl.audit.study_files import StudyFiles
from medssl.efficiency.canonical import sha256_file
from medssl.errors import ConfigError, StoreError, StudyError

READ = [
    *("plan.json", "cases.parquet", "splits.parquet", "instances.parquet", "pretrain.parquet"),
    *("pretrain_instances.parquet", "ledger.jsonl", "analysis.json"),
    "predictions/scratch_0.25_0.parquet",
]


@pytest.fixture
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medssl.audit.page.write_audit_page", lambda *_: None)


def _hashes(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): sha256_file(path) for path in files}


def test_writes_two_files_and_changes_nothing_else(study: Any) -> None:
    before = _hashes(study.root)
    result = study.audit()
    first = _hashes(study.root)
    assert {**before, **first} == first
    assert first.keys() - before.keys() == {"audit.json", "audit.html"}
    written = json.loads(result.audit_json.read_text())
    assert set(written) == {"schema", "claim", "verdict", "checks", "ledger_root"}
    assert written["ledger_root"] == study.lines()[-1]["this"]
    assert written["verdict"] == "SUPPORTED"
    assert written["claim"]["frac"] == 0.25
    for check in written["checks"]:
        assert set(check) == {"id", "status", "rule", "observed", "evidence"}
        for item in check["evidence"]:
            assert item["sha256"] == before[item["path"]]
    page = result.page.read_text()
    assert "SUPPORTED" in page
    assert "data:image/png;base64," in page
    assert "http" not in page.replace("http-equiv", "")
    assert all(check.id in page for check in result.checks)
    # A second audit finds the same, although its own files are there now.
    study.audit()
    assert _hashes(study.root)["audit.json"] == first["audit.json"]


@pytest.mark.usefixtures("no_page")
@pytest.mark.parametrize("damage", ["missing", "torn", "garbage"])
@pytest.mark.parametrize("path", READ)
def test_a_damaged_file_is_a_fail_that_names_it(study: Any, path: str, damage: str) -> None:
    file = study.root / path
    if damage == "missing":
        file.unlink()
    elif damage == "torn":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    else:
        file.write_bytes(b"\x00\xff not what it was\n" * 20)
    result = study.audit()
    assert result.exit_code == 1
    named = [c.id for c in result.checks if c.status is Status.FAIL and path in c.observed]
    assert named, [(c.id, c.observed) for c in result.checks]


def test_the_page_is_written_of_a_damaged_study_too(study: Any) -> None:
    (study.root / "plan.json").write_text("{}")
    assert "cannot be read" in study.audit().page.read_text()


def test_a_segmentation_study(copied: Callable[..., Any]) -> None:
    claim = {"arm": "ssl_ft", "frac": 0.25, "versus": "scratch", "vs_frac": 1.0}
    claim |= {"metric": "dice_mean", "margin": 0.02, "min_lsf": None}
    study = copied(segmentation=True, draws=3, claim=claim, patients=60)
    result = study.audit()
    assert not [c for c in result.checks if c.status is Status.FAIL], result.checks
    assert result.verdict == "INCONCLUSIVE"
    study.edit_table("predictions/ssl_ft_1_0.parquet", lambda f: f.assign(tp_1=f["tp_1"] + 1))
    study.forge()
    assert study.audit().check("M1").status is Status.FAIL


@pytest.mark.usefixtures("no_page")
def test_without_a_claim_the_study_is_sound(copied: Callable[..., Any]) -> None:
    result = copied(claim=None).audit()
    assert (result.verdict, result.exit_code, result.claim) == ("SOUND", 0, None)
    assert result.check("C2").status is Status.NOT_RUN


@pytest.mark.usefixtures("no_page")
def test_a_claim_of_the_auditors_own(study: Any, tmp_path: Path) -> None:
    claim = yaml.safe_load((study.root / "claim.yaml").read_text())
    path = tmp_path / "claim.yaml"
    path.write_text(yaml.safe_dump(claim))
    assert study.audit(claim=path).check("C2").status is Status.PASS
    path.write_text(yaml.safe_dump({**claim, "min_lsf": 1.5}))
    other = study.audit(claim=path)
    assert other.check("C2").status is Status.WARN
    assert "not the one that the plan was frozen with" in other.check("C2").observed
    path.write_text(yaml.safe_dump({**claim, "min_lsf": 50}))
    assert study.audit(claim=path).exit_code == 3
    path.write_text(yaml.safe_dump({**claim, "frac": 0.3}))
    with pytest.raises(StudyError, match=r"no fraction 0\.3; there are: 0\.25, 1"):
        study.audit(claim=path)
    path.write_text(yaml.safe_dump({**claim, "fraction": 0.3}))
    with pytest.raises(ConfigError, match="unknown key fraction"):
        study.audit(claim=path)


def test_what_is_no_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no folder"):
        audit(tmp_path / "nowhere")
    with pytest.raises(StudyError, match="is no study"):
        audit(tmp_path)


def test_works_without_torch_and_mlflow(study: Any) -> None:
    code = (
        "import sys, pathlib\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('torch', 'monai', 'mlflow'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from medssl.audit.audit import audit\n"
        "sys.exit(audit(pathlib.Path(sys.argv[1])).exit_code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(study.root)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def _command(*arguments: str) -> Any:
    import typer

    from medssl.cli.audit import audit as command

    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command)
    return CliRunner().invoke(app, list(arguments))


def test_command_prints_the_table_the_verdict_and_where_it_is(study: Any) -> None:
    done = _command(str(study.root))
    assert done.exit_code == 0
    assert "verdict: SUPPORTED" in done.stdout
    assert "INCONCLUSIVE" not in done.stdout
    assert done.stdout.splitlines()[-1].startswith("audit:")
    assert str(study.root / "audit.json") in done.stdout.splitlines()[-1]


def test_command_ends_with_the_code_of_the_verdict(study: Any) -> None:
    study.edit_json("analysis.json", lambda values: values.update(metric="dice_mean"))
    assert _command(str(study.root)).exit_code == 1


def test_command_refuses_a_wrong_root_and_a_folder_that_is_no_study(
    study: Any, tmp_path: Path
) -> None:
    for arguments in ([str(study.root), "--expect-root", "abc"], [str(tmp_path / "none")]):
        done = _command(*arguments)
        assert isinstance(done.exception, StudyError)
        assert done.exception.exit_code == 2
    assert _command(str(study.root), "--no-such-option").exit_code == 2


def test_a_bug_of_ours_is_told_apart_from_a_fault_of_the_study(
    study: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("medssl.audit.audit.reach_verdict", bug)
    done = _command(str(study.root))
    assert done.exit_code == 5
    assert "internal error" in done.output


def test_an_error_of_a_check_names_no_folder_of_this_machine(study: Any) -> None:
    """Its text goes into audit.json, which travels with the study."""

    def fails(files: Any) -> Finding:
        raise StoreError(f"{files.root}/volumes: cannot be read")

    result, crash = run_check(Check("X1", "a rule", "FAIL", fails), StudyFiles(study.root))
    assert crash is None
    assert result.status is Status.FAIL
    assert result.observed == "STUDY/volumes: cannot be read"
