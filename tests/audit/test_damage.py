"""Whatever a file of a study holds: a finding, never a breakdown."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from medssl.audit.checks import CHECKS
from medssl.audit.result import AuditResult, Status
from medssl.audit.study_files import DamagedFile, StudyFiles
from medssl.errors import MedsslError

SMALL: dict[str, Any] = {
    "draws": 1,
    "patients": 40,
    "replicates": 20,
    "fractions": (1.0,),
    "claim": None,
    "trials": 2,
}
JSON = ["plan.json", "pretraining.json", "analysis.json", "cells/ssl_ft_1_0/cell.json"]
TABLES = ["cases.parquet", "splits.parquet", "pretrain.parquet", "predictions/ssl_ft_1_0.parquet"]
VALUES = [None, "x", -1, 10**6, 0.5, [], {}, True, [None], {"a": None}, ""]


def _check_all(study: Any) -> None:
    """Every check ends in a finding or in one of the ways that an audit turns into a FAIL."""
    files = StudyFiles(study.root)
    for check in CHECKS:
        try:
            check.run(files)
        except (DamagedFile, MedsslError):
            continue


def _places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value, each list through its first and last item."""
    found = [path] if path else []
    if isinstance(node, dict):
        for key, item in node.items():
            found += _places(item, (*path, key))
    elif isinstance(node, list) and node:
        for index in {0, len(node) - 1}:
            found += _places(node[index], (*path, index))
    return found


@pytest.mark.parametrize("path", JSON)
def test_any_value_anywhere_in_a_json_file(copied: Callable[..., Any], path: str) -> None:
    study = copied(**SMALL)
    text = (study.root / path).read_bytes()
    rng = random.Random(path)
    for place in rng.sample(_places(json.loads(text)), 8):
        values = json.loads(text)
        node = values
        for step in place[:-1]:
            node = node[step]
        if rng.random() < 0.3 and isinstance(node, dict):
            del node[place[-1]]
        else:
            node[place[-1]] = rng.choice(VALUES)
        (study.root / path).write_text(json.dumps(values))
        try:
            _check_all(study)
        except Exception as error:
            raise AssertionError(f"{path}, {place}: {type(error).__name__}") from error


@pytest.mark.parametrize("path", TABLES)
def test_any_column_of_a_table(copied: Callable[..., Any], path: str) -> None:
    study = copied(**SMALL)
    frame = pd.read_parquet(study.root / path)
    rng = random.Random(path)
    for column in rng.sample(list(frame.columns), min(4, len(frame.columns))):
        for spoilt in (
            frame.drop(columns=column),
            frame.assign(**{column: rng.choice(["x", "", 3.5, None])}),
            frame.iloc[: rng.randrange(len(frame))],
        ):
            spoilt.to_parquet(study.root / path, index=False)
            try:
                _check_all(study)
            except Exception as error:
                raise AssertionError(f"{path}, {column}: {type(error).__name__}") from error


def test_a_check_that_breaks_down_costs_no_other(
    copied: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medssl.audit.page.write_audit_page", lambda *_: None)
    study = copied(**SMALL)
    sound: AuditResult = study.audit()

    def bug(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("medssl.audit.checks.metrics._truth", bug)
    result: AuditResult = study.audit()
    assert (result.verdict, result.exit_code) == ("UNKNOWN", 5)
    assert result.check("M1").status is Status.ERROR
    assert "ZeroDivisionError" in result.crashes[0]
    others = [check for check in result.checks if check.id != "M1"]
    assert others == [check for check in sound.checks if check.id != "M1"]
