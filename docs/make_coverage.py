"""Measure how often the study's intervals hold the truth; write the table and its page.

    python docs/make_coverage.py [--studies 200] [--replicates 300] [--savings 200] [--fresh]

Rows that the table has with the same numbers of studies and replicates are kept, so that a run that
was stopped goes on; `--fresh` measures all again. About four minutes of one idle core.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from medssl.efficiency import coverage  # noqa: E402
from medssl.efficiency.simulation import Regime  # noqa: E402

_INTERVAL_COLUMNS = (
    "draws",
    "patients",
    "cases each",
    "sd of draws",
    "mean, %",
    "difference, %",
    "SE / sd",
    "false support, %",
    "false telling, %",
)
_LSF_COLUMNS = (
    "draws",
    "patients",
    "sd of draws",
    "studies",
    "coverage, %",
    "open, %",
    "width, octaves",
    "median factor",
)
_INTRODUCTION = """# What the intervals hold

Made by `docs/make_coverage.py`; run it again to measure again. {studies} simulated studies for each
row, {replicates} replicates in each (a real study has 2000). The model is
`medssl.efficiency.simulation`: binary cases, 30 % positive, true areas 0.65 to 0.86; of the
variance of a score 40 % is a case's difficulty in all cells, 20 % in the cells of one arm, 40 % of
one cell alone; two cases of one patient correlate by 0.5. A share of {studies} studies has a
standard error of {error:.1f} percentage points near 95 %; rows that differ by the spread
between draws alone share their random numbers.

*Mean* and *difference*: share of the 95 % intervals over patients and draws that hold the true mean
of one arm, and the true difference of two. *SE / sd*: bootstrap standard error over the standard
deviation that the difference really has between studies; above 1 the interval is wider than
needed. *False support*: share of studies that call a claim SUPPORTED whose arm is worse by just the
margin of 0.02. *False telling*: share that find the baseline's curve steep enough where it rises by
just the margin. Both may be 5 %.

With 200 studies a share of 5 % has a standard error of 1.5 points. Three of the four rows where
false support came to 6 % or more were simulated again in 2000 studies each: with 20 draws, 300
patients and a spread of 0 and 0.03 it is 4.3 and 4.4 %, with 10 draws, 100 patients of three
cases and no spread 4.0 %.
"""
_LSF_INTRODUCTION = f"""## The label-savings factor

The pretrained arm needs {coverage.LSF_TRUTH:g} times fewer labels at every level; six
fractions, each twice the one before; {coverage.LSF_PER_OCTAVE:g} of area gained at each
doubling. *Open*: intervals without a lower or an upper bound. *Width*: median of
log2(upper / lower) of the others.
"""

_PARTS = ("intervals", "savings")
ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "medssl" / "efficiency" / coverage.TABLE
PAGE = ROOT / "docs" / "explanation" / "coverage.md"
SAVINGS = (Regime(5, 100), Regime(10, 100), Regime(10, 300), Regime(10, 300, draw_sd=0.03))


def as_markdown(table: Mapping[str, Any]) -> str:
    """The page docs/explanation/coverage.md."""
    rows: Sequence[Mapping[str, Any]] = table["intervals"]
    lines = [_INTRODUCTION.format(**table["made_with"]), *_head(_INTERVAL_COLUMNS)]
    for row in rows:
        r = row["regime"]
        cells = [r["draws"], r["patients"], r["cases_per_patient"], f"{r['draw_sd']:g}"]
        cells += [f"{100 * row[name]:.1f}" for name in ("theta", "delta")]
        cells += [f"{row['se_ratio']:.2f}"]
        cells += [f"{100 * row[name]:.1f}" for name in ("false_support", "false_telling")]
        lines.append(_row(cells))
    lines += ["", _LSF_INTRODUCTION, *_head(_LSF_COLUMNS)]
    for row in table["savings"]:
        r = row["regime"]
        cells = [r["draws"], r["patients"], f"{r['draw_sd']:g}", row["studies"]]
        cells += [f"{100 * row['coverage']:.1f}", f"{100 * row['open']:.0f}"]
        cells += [row["median_width"] or "–", row["median"] or "–"]
        lines.append(_row(cells))
    return "\n".join(lines) + "\n"


def _head(columns: Sequence[str]) -> list[str]:
    return [_row(columns), _row(["---"] * len(columns))]


def _row(cells: Sequence[object]) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def main() -> None:
    """Fill the table row by row, writing it after each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--replicates", type=int, default=300)
    parser.add_argument("--savings", type=int, default=200, help="studies for each savings row")
    parser.add_argument("--fresh", action="store_true", help="measure again what is there")
    options = parser.parse_args()
    old = {} if options.fresh or not TABLE.is_file() else json.loads(TABLE.read_text())
    table: dict[str, Any] = {
        "made_with": {
            "studies": options.studies,
            "replicates": options.replicates,
            "error": round(100 * math.sqrt(0.95 * 0.05 / options.studies), 1),
        },
        "intervals": [],
        "savings": [],
    }
    work = [("savings", r, options.savings, coverage.savings_coverage) for r in SAVINGS]
    work += [("intervals", r, options.studies, coverage.coverage_of) for r in coverage.REGIMES]
    for part, regime, studies, measure in work:
        wanted = {
            "regime": asdict(regime),
            "studies": studies,
            "replicates": options.replicates,
        }
        row = next((r for r in old.get(part, []) if wanted.items() <= r.items()), None)
        if row is None:
            start = time.process_time()
            row = measure(regime, studies, options.replicates)
            print(f"{part} {regime}: {time.process_time() - start:.0f} s", flush=True)
        table[part].append(row)
        kept = {p: table[p] + [r for r in old.get(p, []) if r not in table[p]] for p in _PARTS}
        TABLE.write_text(json.dumps({**table, **kept}, indent=1) + "\n")
    TABLE.write_text(json.dumps(table, indent=1) + "\n")
    PAGE.write_text(as_markdown(table))
    print(PAGE)


if __name__ == "__main__":
    main()
