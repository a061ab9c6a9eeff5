"""The page on fine-tuning says what its results say."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "explanation" / "finetuning.md"


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        PAGE.with_name("few_labels.json").read_text(encoding="utf-8")
    )
    return found


def test_tables_are_in_step_with_the_results(
    results: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    script = runpy.run_path(str(ROOT / "docs" / "make_finetuning.py"))
    runs = json.loads(PAGE.with_suffix(".json").read_text(encoding="utf-8"))
    page = PAGE.read_text(encoding="utf-8")
    assert script["with_tables"](page, script["tables"](runs, results)) == page, (
        "run python docs/make_finetuning.py"
    )


@pytest.mark.parametrize("store", ["lung_nodules", "sarcoma"])
def test_means_and_differences_are_those_of_the_single_cells(
    results: dict[str, Any], store: str
) -> None:
    part = PAGE.read_text(encoding="utf-8").split(f"<!-- begin few {store} -->")[1]
    lines = part.split("<!-- end")[0].strip().splitlines()[2:]
    shown = [
        float(re.search(r"\*\*([+-]?\d\.\d{3})\*\*", line)[1])  # type: ignore[index]
        for line in lines
    ]
    cells = results[store]["cells"]
    names = list(dict.fromkeys(name.rsplit("-", 1)[0] for name in cells))
    means = {arm: sum(cells[f"{arm}-{draw}"]["value"] for draw in range(10)) / 10 for arm in names}
    expected = list(means.values())
    expected += [means[arm] - means["scratch"] for arm in means if arm != "scratch"]
    assert len(shown) == len(expected) == 2 * len(means) - 1
    assert sorted(shown) == pytest.approx(sorted(expected), abs=0.0011)
