"""The committed studies: audited again from their archives alone, every number found again."""

from __future__ import annotations

import json
import lzma
import runpy
import tarfile
from pathlib import Path
from typing import Any

import pytest

from medssl.audit.audit import audit
from medssl.efficiency.analysis import analyse
from medssl.efficiency.cells import StudyPaths

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "studies"
ARCHIVES = sorted(FOLDER.glob("*.tar.xz"))
NEEDS_MORE = {"L3", "L7", "M2", "R1"}  # a store, or a store and an encoder


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "docs"))
        return runpy.run_path(str(ROOT / "docs" / "make_studies.py"))


def _named(archive: Path) -> Any:
    name = archive.name.split(".")[0]
    large = [pytest.mark.slow] if name == "lung_nodules" else []  # 300 cells, a minute or two
    return pytest.param(archive, id=name, marks=large)


@pytest.fixture(scope="module", params=map(_named, ARCHIVES))
def study(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked folder of a committed study."""
    folder = tmp_path_factory.mktemp("studies") / request.param.name.split(".")[0]
    with tarfile.open(request.param) as tar:
        tar.extractall(folder, filter="data")
    return folder


def test_page_says_what_the_archives_say(script: dict[str, Any]) -> None:
    assert len(ARCHIVES) == 2
    studies = {path.name.split(".")[0]: script["read"](path) for path in ARCHIVES}
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert script["with_tables"](page, script["tables"](studies)) == page, (
        "run python docs/make_studies.py"
    )


def _equal(found: Any, told: Any, where: str = "") -> None:
    """Equal but for the last digits of a number, which libraries of algebra differ in."""
    if isinstance(told, dict):
        assert found.keys() == told.keys(), where
        for name in told:
            _equal(found[name], told[name], f"{where}.{name}")
    elif isinstance(told, list):
        assert len(found) == len(told), where
        for number, (one, other) in enumerate(zip(found, told, strict=True)):
            _equal(one, other, f"{where}[{number}]")
    elif isinstance(told, float):
        digits = 1e-3 if "power_law" in where else 1e-6  # a fit stops where it is told to
        assert found == pytest.approx(told, rel=digits, abs=1e-9), where
    else:
        assert found == told, where


@pytest.mark.timeout(600)
def test_every_number_is_found_again_in_the_predictions(study: Path) -> None:
    told = json.loads((study / "analysis.json").read_text(encoding="utf-8"))
    _equal(json.loads(json.dumps(analyse(StudyPaths(study)).as_json)), told)


@pytest.mark.timeout(600)
def test_an_auditor_with_the_archive_alone_finds_the_same(study: Path) -> None:
    told = json.loads((study / "audit.json").read_text(encoding="utf-8"))
    found = audit(study, expect_root=told["ledger_root"])
    assert found.as_json()["verdict"] == told["verdict"]
    statuses = {check.id: check.status.value for check in found.checks}
    assert statuses["I1"] == "PASS"
    assert {c["id"]: c["status"] for c in told["checks"] if c["id"] not in NEEDS_MORE} == {
        name: status for name, status in statuses.items() if name not in NEEDS_MORE
    }


def test_packing_again_gives_the_same_bytes(
    study: Path, script: dict[str, Any], tmp_path: Path
) -> None:
    """No file more, none less."""
    committed = FOLDER / f"{study.name}.tar.xz"
    with tarfile.open(committed) as tar:
        tar.extractall(tmp_path / "fresh", filter="data")
    script["pack"](tmp_path / "fresh", tmp_path / "again.tar.xz")
    again, first = (lzma.decompress(p.read_bytes()) for p in (tmp_path / "again.tar.xz", committed))
    assert again == first
