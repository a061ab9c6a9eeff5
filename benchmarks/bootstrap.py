"""The crossed bootstrap of a whole study: patients and draws resampled together.

    python benchmarks/bootstrap.py [--replicates 2000] [--patients 300]

A made-up study of 200 cells (2 arms, 10 fractions, 10 draws) goes through `metric_grid` as a real
one does, for the area under the ROC curve and for Dice. The peer is the usual loop: scikit-learn's
roc_auc_score with the replicate's weights, timed on a few cells and multiplied out. One thread. The
last line is one JSON object: seconds of ours, and the ratio to the peer.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from sklearn.metrics import roc_auc_score  # noqa: E402

from medssl.efficiency.cells import Cell, cells_of_plan  # noqa: E402
from medssl.efficiency.curve import metric_grid  # noqa: E402
from medssl.transfer.intervals import patient_weights  # noqa: E402

_PEER_CALLS = 300


def made_up(patients: int, replicates: int) -> tuple[dict[str, Any], dict[str, dict[Cell, Any]]]:
    """The plan of a study, and its predictions of classes and of masks."""
    fractions = [0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0]
    plan: dict[str, Any] = {
        "arms": {"scratch": {}, "ssl_ft": {}},
        "fractions": fractions,
        "draws": 10,
        "subsets": [
            {"fraction": f, "draw": d, "cases": 1000 * f, "patients": 1000 * f}
            for f in fractions
            for d in range(10)
        ],
        "statistics": {"replicates": replicates, "seed": 0, "level": 0.95},
    }
    rng = np.random.default_rng(0)
    keys = [f"{number:08d}" for number in range(patients)]
    cases = pd.DataFrame({"volume_uid": keys, "patient_key": keys, "split": "test"})
    y = (rng.random(patients) < 0.3).astype(np.int64)
    classes, masks = {}, {}
    for cell in cells_of_plan(plan):
        classes[cell] = cases.assign(y_true=y, logit_0=0.0, logit_1=rng.normal(size=patients) + y)
        counts = {f"{kind}_{c}": rng.integers(1, 500, patients) for c in (1, 2) for kind in _COUNTS}
        masks[cell] = cases.assign(**counts)
    return plan, {"auc_macro": classes, "dice_mean": masks}


_COUNTS = ("tp", "fp", "fn")


def peer_seconds(frame: pd.DataFrame, replicates: int) -> float:
    """Seconds that the loop takes for one replicate of one cell."""
    weights = patient_weights(frame, min(replicates, _PEER_CALLS), 0)
    start = time.process_time()
    for row in weights:
        roc_auc_score(frame["y_true"], frame["logit_1"], sample_weight=row)
    return (time.process_time() - start) / len(weights)


def main() -> None:
    """Run both, print a table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--replicates", type=int, default=2000)
    parser.add_argument("--patients", type=int, default=300)
    options = parser.parse_args()
    plan, studies = made_up(options.patients, options.replicates)
    result: dict[str, float] = {}
    for metric, frames in studies.items():
        wall, cpu = time.perf_counter(), time.process_time()
        metric_grid(plan, frames, metric)
        result[f"{metric}_seconds"] = round(time.perf_counter() - wall, 2)
        result[f"{metric}_cpu_seconds"] = round(time.process_time() - cpu, 2)
    frames = studies["auc_macro"]
    peer = peer_seconds(next(iter(frames.values())), options.replicates)
    whole = peer * len(frames) * options.replicates
    result["auc_vs_sklearn_loop"] = round(whole / result["auc_macro_cpu_seconds"], 1)
    print(f"{len(frames)} cells, {options.patients} patients, {options.replicates} replicates")
    for name, value in result.items():
        print(f"{name:28} {value:10.2f}")
    print(f"{'sklearn loop, cpu seconds':28} {whole:10.0f}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
