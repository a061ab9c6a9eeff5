"""A whole study without training, analysed by medssl, its logits simulated."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from medssl.audit.audit import audit
from medssl.audit.brought import Brought
from medssl.audit.result import AuditResult, Check, Finding
from medssl.audit.study_files import StudyFiles
from medssl.efficiency.analysis import analyse
from medssl.efficiency.canonical import canonical_json, sha256_file
from medssl.efficiency.cells import StudyPaths
from medssl.efficiency.ledger import START, Entry

from .made_study import Wanted, make_study

Build = Callable[..., Path]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Studies by their properties; each is made once and must not be changed."""
    made: dict[str, Path] = {}

    def build(**properties: Any) -> Path:
        name = repr(sorted(properties.items()))
        if name not in made:
            root = tmp_path_factory.mktemp("built") / "study"
            ledger = make_study(root, Wanted(**properties))
            analysis = analyse(StudyPaths(root)).as_json
            (root / "analysis.json").write_bytes(canonical_json(analysis))
            ledger.tell("file_written", "analysis.json")
            ledger.write()
            made[name] = root
        return made[name]

    return build


class Study:
    """A study that a test may spoil, and the means to spoil it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def audit(self, **options: Any) -> AuditResult:
        return audit(self.root, **options)

    def check(self, check: Check, **options: Any) -> Finding:
        """One check alone."""
        return check.run(StudyFiles(self.root, Brought(**options)))

    def edit_table(self, path: str, edit: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
        frame = edit(pd.read_parquet(self.root / path))
        frame.to_parquet(self.root / path, index=False)

    def edit_json(self, path: str, edit: Callable[[dict[str, Any]], None]) -> None:
        values = json.loads((self.root / path).read_bytes())
        edit(values)
        (self.root / path).write_bytes(canonical_json(values))

    def json(self, path: str) -> dict[str, Any]:
        values: dict[str, Any] = json.loads((self.root / path).read_bytes())
        return values

    def lines(self) -> list[dict[str, Any]]:
        text = (self.root / "ledger.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def write_lines(self, lines: list[dict[str, Any]]) -> None:
        """Write the ledger as it stands, without mending its chain."""
        text = "".join(canonical_json(line).decode() + "\n" for line in lines)
        (self.root / "ledger.jsonl").write_text(text)

    def forge(self, lines: list[dict[str, Any]] | None = None, rehash: bool = True) -> str:
        """Write a ledger whose chain is whole again; with `rehash`, of the files as they are now.

        Returns the new root.
        """
        previous, forged = START, []
        plan = sha256_file(self.root / "plan.json")
        for number, line in enumerate(lines or self.lines(), start=1):
            facts = dict(line.get("facts", {}))
            digest = line["sha256"]
            if rehash and line["path"] and (self.root / line["path"]).is_file():
                digest = sha256_file(self.root / line["path"])
            if rehash and "plan_sha256" in facts:
                facts["plan_sha256"] = plan
            unsigned = Entry(
                number, line["utc"], line["event"], line["path"], digest, previous, "", facts
            )
            previous = unsigned.hashed()
            forged.append({**unsigned.as_dict(), "this": previous})
        self.write_lines(forged)
        return previous


@pytest.fixture
def copied(built: Build, tmp_path: Path) -> Callable[..., Study]:
    """A copy of a study of given properties, to be spoilt."""

    def copy(**properties: Any) -> Study:
        root = tmp_path / "study"
        shutil.copytree(built(**properties), root)
        return Study(root)

    return copy


@pytest.fixture
def study(copied: Callable[..., Study]) -> Study:
    """Five draws, a strong effect, nothing wrong."""
    return copied()
