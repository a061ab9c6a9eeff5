"""What fine-tuning reaches on three public sets, by the example configurations:

python benchmarks/finetuning.py STORES OUT

STORES holds the stores hippocampus, lung_nodules and adrenal, made by `medssl ingest`. Runs go to
OUT/runs; those that are there are not done again. With --collect FILE the results of all finished
runs are written as the file that docs/make_finetuning.py makes tables of.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import pandas as pd

from medssl.efficiency.analysis import curve_points, effects_of
from medssl.efficiency.cells import Cell
from medssl.efficiency.curve import metric_grid

CONFIGS = Path(__file__).parents[1] / "configs"
SEEDS = range(5)  # fixed before the first of these runs
RATES = (1e-3, 2e-3)
CHOSEN = 2e-3  # by validation with seed 0, for either arm; the further seeds take it
FURTHER_SEEDS = (1, 2)
LEVEL = 0.95
ONE_CORE = "runtime.threads=1"


def runs_of(out: Path) -> dict[str, tuple[str, list[str]]]:
    """Name of each run -> its configuration under configs/, and overrides; in order."""
    encoder = ["init=" + str(out / "runs" / "hippocampus-mae"), "model=null"]
    starts = {"scratch": [], "pretrained": encoder}
    fits = [(rate, 0) for rate in RATES] + [(CHOSEN, seed) for seed in FURTHER_SEEDS]
    return {
        "hippocampus-mae": ("pretrain/hippocampus.yaml", ["runtime.threads=2"]),
        **{
            f"hippocampus-{arm}-{rate:g}-{seed}": (
                "finetune/hippocampus.yaml",
                [ONE_CORE, f"optim.lr={rate}", f"seed={seed}", *start],
            )
            for arm, start in starts.items()
            for rate, seed in fits
        },
        "lung_nodules": ("finetune/lung_nodules_folds.yaml", []),
        **{f"adrenal-{s}": ("finetune/adrenal.yaml", [f"seed={s}"]) for s in SEEDS},
    }


def do_run(stores: Path, out: Path, name: str) -> None:
    """One pretraining or fine-tuning, resumed or done already."""
    from medssl.config import load_config
    from medssl.engine.config import PretrainConfig
    from medssl.engine.pretrain import pretrain
    from medssl.transfer.config import FinetuneConfig
    from medssl.transfer.finetune import finetune

    path, overrides = runs_of(out)[name]
    store = stores / name.split("-")[0]
    overrides = [f"store={store}", *overrides]
    run = out / "runs" / name
    if path.startswith("pretrain"):
        pretrain(load_config(PretrainConfig, CONFIGS / path, overrides), run)
    else:
        finetune(load_config(FinetuneConfig, CONFIGS / path, overrides), run)
    print(name, "done", flush=True)


def collect(out: Path, path: Path) -> None:
    """The results of the runs that are finished, by name."""
    found: dict[str, Any] = {}
    for name in runs_of(out):
        summary = out / "runs" / name / "summary.json"
        if not summary.is_file():
            continue
        values = json.loads(summary.read_text(encoding="utf-8"))
        kept = ("metrics", "seconds", "steps", "selected_step", "parts", "notes", "volumes")
        found[name] = {key: values[key] for key in kept if key in values}
        validation = _validation(out / "runs" / name)
        if validation:
            found[name]["validation"] = validation
        if "folds" in values:
            found[name]["folds"] = [fold["metrics"] for fold in values["folds"]]
    found["hippocampus-seeds"] = _seeds_compared(out)
    path.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _seeds_compared(out: Path) -> dict[str, Any]:
    """Dice of either arm at the chosen rate, by seed; the difference, over patients and seeds."""
    arms, seeds = ["scratch", "pretrained"], (0, *FURTHER_SEEDS)
    runs = {
        Cell(arm, 1.0, at): out / "runs" / f"hippocampus-{arm}-{CHOSEN:g}-{seed}"
        for arm in arms
        for at, seed in enumerate(seeds)
    }
    frames = {cell: pd.read_parquet(run / "predictions.parquet") for cell, run in runs.items()}
    cases = pd.read_parquet(next(iter(runs.values())) / "cases.parquet")
    labelled = cases[cases["split"] != "test"]
    patients = labelled["patient_key"].nunique()
    plan = {
        "arms": arms,
        "fractions": [1.0],
        "draws": len(seeds),
        "statistics": {"replicates": 2000, "seed": 0},
        "subsets": [{"fraction": 1.0, "cases": len(labelled), "patients": patients}],
    }
    grid = metric_grid(plan, frames, "dice_mean")
    points, (effect,) = curve_points(grid, LEVEL), effects_of(grid, LEVEL)
    return {
        "arms": {p["arm"]: {k: p[k] for k in ("mean", "lo", "hi", "draws")} for p in points},
        "difference": {k: effect[k] for k in ("delta", "lo", "hi")},
    }


def _validation(run: Path) -> list[dict[str, float]]:
    """Step and the metrics of every look at the validation part."""
    log = run / "metrics.jsonl"
    if not log.is_file():  # a cross-validation has one in each fold
        return []
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return [
        {key: row[key] for key in ("step", "val/dice_mean", "val/auc_macro") if key in row}
        for row in rows
        if any(key.startswith("val/") for key in row)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("stores", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", help="names of runs that begin so")
    parser.add_argument("--collect", type=Path, help="gather what is done into this file")
    given = parser.parse_args()
    if given.collect:
        collect(given.out, given.collect)
        return
    given.out.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{given.out / 'mlflow.db'}")
    for name in runs_of(given.out):
        if not given.only or name.startswith(given.only):
            do_run(given.stores, given.out, name)


if __name__ == "__main__":
    main()
