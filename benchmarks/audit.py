"""The audit of a large study: 200 cells, 300 test patients, 2000 replicates, page included.

    python benchmarks/audit.py [--draws 10] [--patients 750]

The study is simulated, not trained. Prints the seconds of the whole audit and of each check; the
last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "audit"))

from made_study import CLAIM, Wanted, make_study  # type: ignore[import-not-found]

from medssl.audit import audit as module
from medssl.efficiency.analysis import analyse
from medssl.efficiency.canonical import canonical_json
from medssl.efficiency.cells import StudyPaths

ARMS = ("scratch", "ssl_ft", "scratch_2x", "permuted_labels")
FRACTIONS = (0.1, 0.2, 0.4, 0.7, 1.0)


def main(draws: int, patients: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder) / "study"
        ledger = make_study(
            study,
            Wanted(
                draws=draws,
                arms=ARMS,
                fractions=FRACTIONS,
                trials=8,
                patients=patients,
                replicates=2000,
                claim={**CLAIM, "frac": 0.1},
            ),
        )
        analysis = canonical_json(analyse(StudyPaths(study)).as_json)
        (study / "analysis.json").write_bytes(analysis)
        ledger.tell("file_written", "analysis.json")
        ledger.write()
        seconds: dict[str, float] = {}
        run = module._run
        module._run = lambda check, files: _timed(seconds, check.id, lambda: run(check, files))
        before = time.process_time()
        result = _timed(seconds, "whole", lambda: module.audit(study))
        cpu_seconds = time.process_time() - before
        for name, taken in sorted(seconds.items(), key=lambda item: -item[1]):
            print(f"{name:6} {taken:8.2f} s")
        plan = json.loads((study / "plan.json").read_bytes())
    cells = len(ARMS) * len(FRACTIONS) * draws
    told = {"cells": cells, "test_patients": plan["data"]["test_patients"]}
    told |= {"seconds": seconds["whole"], "cpu_seconds": cpu_seconds}
    print(json.dumps({**told, "verdict": result.verdict}))


def _timed(seconds: dict[str, float], name: str, work: Callable[[], Any]) -> Any:
    start = time.perf_counter()
    try:
        return work()
    finally:
        seconds[name] = time.perf_counter() - start


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--patients", type=int, default=750, help="two of five are tested")
    arguments = parser.parse_args()
    main(arguments.draws, arguments.patients)
