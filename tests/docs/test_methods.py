"""The page on methods says what its results say."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "explanation" / "methods.md"


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs" / "make_methods.py"))


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(PAGE.with_suffix(".json").read_text(encoding="utf-8"))
    return found


def test_tables_are_in_step_with_the_results(
    script: dict[str, Any], results: dict[str, Any]
) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert script["with_tables"](page, script["tables"](results)) == page, (
        "run python docs/make_methods.py"
    )


@pytest.mark.parametrize("store", ["lung_nodules", "adrenal"])
@pytest.mark.parametrize(("probe", "title"), [("linear", "Linear"), ("knn", "Nearest")])
def test_a_row_holds_every_seed_and_says_what_is_beyond_their_spread(
    results: dict[str, Any], store: str, probe: str, title: str
) -> None:
    """Read back from the page, and computed from the single draws."""
    part = PAGE.read_text(encoding="utf-8").split(f"<!-- begin {store} {probe} -->")[1]
    lines = part.split("<!-- end")[0].strip().splitlines()
    assert lines[0].startswith(f"| {title}")
    counts = [cell.strip() for cell in lines[0].split("|")[2:-1]]
    assert counts == ["10", "20", "40", "80", "all"]

    def truth(encoder: str) -> np.ndarray:
        cells = [results["cells"][f"probe-{store}-{encoder}-{seed}"]["auc"] for seed in range(3)]
        return np.array([[np.mean(cell[probe][count]) for count in counts] for cell in cells])

    bar = truth("random")
    for line, encoder in zip(lines[4:], ["hybrid", "mae", "simclr", "moco"], strict=True):
        own = truth(encoder)
        name, *cells = [cell.strip() for cell in line.split("|")[1:-1]]
        assert name == f"`{encoder}`"
        for column, cell in enumerate(cells):
            numbers = [float(text) for text in re.findall(r"0\.\d{3}", cell)]
            np.testing.assert_allclose(
                numbers, [own[:, column].mean(), *own[:, column]], atol=5.1e-4
            )
            above = (own[:, column, None] > bar[None, :, column]).all()
            below = (own[:, column, None] < bar[None, :, column]).all()
            assert ("** +" in cell, "** −" in cell) == (above, below)


def test_every_encoder_was_probed_on_the_same_number_of_draws(results: dict[str, Any]) -> None:
    probed = {name: cell for name, cell in results["cells"].items() if name.startswith("probe-")}
    assert len(probed) == 2 * 5 * 3
    for cell in probed.values():
        for aucs in cell["auc"].values():
            assert [len(aucs[n]) for n in ("10", "20", "40", "80", "all")] == [10] * 4 + [1]


def test_a_table_without_a_place_is_refused(
    script: dict[str, Any], results: dict[str, Any]
) -> None:
    page = PAGE.read_text(encoding="utf-8").replace("<!-- begin cost -->", "")
    with pytest.raises(ValueError, match="cost"):
        script["with_tables"](page, script["tables"](results))
