"""Few labels: tuned training from scratch against tuned fine-tuning of a pretrained encoder.

OMP_NUM_THREADS=1 python benchmarks/few_labels.py STORES OUT

In each of ten draws all arms get the same few patients. Some of these validate: they choose among
learning rates, as many for either arm, and among the steps of each training. A linear probe needs
no validation and learns from all of them; beside it stands one on an untrained encoder. The test
patients are those that `benchmarks/methods.py` sets apart; it also made the encoders, which saw
none of them, and OUT is the folder that it wrote to. Each cell's result is kept, cells that are
there are skipped, and several of these processes share the work. Then --collect FILE gathers all of
them, with the paired differences from scratch and their intervals over patients and draws.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from methods import SETTINGS, Bench

from medssl.config import parse_config
from medssl.efficiency.analysis import curve_points, effects_of
from medssl.efficiency.cells import Cell
from medssl.efficiency.curve import metric_grid
from medssl.efficiency.subsets import VALIDATION_EVERY, ordered_patients, patient_classes
from medssl.engine.config import HoldoutConfig
from medssl.engine.population import held_out_patients
from medssl.engine.run_folder import RunFolder
from medssl.progress import SILENT
from medssl.store import Store, open_store
from medssl.transfer.cases import labelled_cases
from medssl.transfer.config import FitConfig
from medssl.transfer.fit import train_and_choose
from medssl.transfer.metrics import metric_value
from medssl.transfer.tuning import tune

DRAWS = 10
LEVEL = 0.95
REPLICATES = 2000


@dataclass(frozen=True)
class Comparison:
    """What is compared on one store.

    Attributes:
        patients: labelled in each draw, those that validate among them.
        validate: how many of them validate; None: every fifth of each class.
        rates: learning rates of the trials, the same for both arms.
        seeds: of the encoder; draw d starts from seed d modulo their number.
    """

    task: dict[str, Any]
    metric: str
    method: str
    patients: int
    validate: int | None
    rates: tuple[float, ...]
    steps: int
    batch_size: int
    validate_every: int
    pretrained: dict[str, Any]
    arms: tuple[str, ...] = ("scratch", "pretrained")
    seeds: int = 3


COMPARISONS = {
    "lung_nodules": Comparison(
        task={"name": "classification", "label": "malignant", "dropout": 0.2},
        metric="auc_macro",
        method="moco",
        patients=20,
        validate=None,
        rates=(1e-3, 3e-4, 3e-3),
        steps=100,
        batch_size=16,
        validate_every=20,
        # The head learns first: its random gradients would spoil the encoder.
        pretrained={"head_only_steps": 30},
        arms=("scratch", "pretrained", "pretrained_probe", "untrained_probe"),
    ),
    "sarcoma": Comparison(
        task={"name": "segmentation"},
        metric="dice_mean",
        method="mae",
        patients=3,
        validate=1,
        rates=(3e-3, 1e-3),
        steps=150,
        batch_size=2,
        validate_every=50,
        pretrained={},
    ),
}


def cases_of(store: Store, name: str, draw: int) -> pd.DataFrame:
    """volume_uid, patient_key, split and y_true of the draw's labelled and of the test patients."""
    compared, setting = COMPARISONS[name], SETTINGS[name]
    task = parse_config(FitConfig, fit_values(name, "scratch", Path()), source=name).task
    frame = labelled_cases(store, task).frame
    if "y_true" not in frame:
        frame = frame.assign(y_true=0)
    assert setting.holdout is not None
    test = held_out_patients(store, HoldoutConfig(**setting.holdout))
    dev = frame[~frame["patient_key"].isin(test)]
    if setting.label is None:
        classes = pd.Series("", index=sorted(set(dev["patient_key"])))
    else:
        classes = patient_classes(dev.assign(label=dev["y_true"].astype(str)), "classification")
    order = ordered_patients(classes, "few labels", draw)[: compared.patients]
    if compared.validate is None:
        val = {p for p, rank in order if rank % VALIDATION_EVERY == VALIDATION_EVERY - 1}
    else:
        val = {p for p, _ in order[-compared.validate :]}
    train = {p for p, _ in order} - val
    split = np.select(
        [frame["patient_key"].isin(part) for part in (train, val, test)],
        ["train", "val", "test"],
        default="",
    )
    frame = frame.assign(split=split)
    return frame[frame["split"] != ""].reset_index(drop=True)


def fit_values(name: str, arm: str, encoder: Path) -> dict[str, Any]:
    """The training of one arm, with the first of the rates."""
    compared, setting = COMPARISONS[name], SETTINGS[name]
    pretrained = arm.startswith("pretrained")
    start: dict[str, Any] = {"init": encoder} if pretrained else {"model": setting.model}
    runtime = {"num_workers": 0, "threads": 1, "checkpoint_every": 1000, "log_every": 20}
    if arm.endswith("probe"):
        return {
            **start,
            "task": {key: compared.task[key] for key in ("name", "label")},
            "regime": {"name": "linear_probe"},
            "augment": {"patch": setting.augment["patch"]},
            "runtime": runtime,
            "batch_size": compared.batch_size,
        }
    return {
        **start,
        **(compared.pretrained if pretrained else {}),
        "task": compared.task,
        "augment": setting.augment,
        "optim": {
            "lr": compared.rates[0],
            "weight_decay": 0.01,
            "betas": [0.9, 0.999],
            "warmup_steps": 15,
        },
        "runtime": runtime,
        "steps": compared.steps,
        "batch_size": compared.batch_size,
        "validate_every": compared.validate_every,
    }


class Quiet:
    """Hears of trials and says nothing."""

    def started(self, trial: int, setting: object, run: RunFolder) -> None:
        return None

    def finished(self, trial: int, trained: object) -> None:
        return None


def do_cell(bench: Bench, name: str, arm: str, draw: int) -> dict[str, Any]:
    """Tune on the validation patients, look at the test patients once."""
    compared, store = COMPARISONS[name], open_store(bench.stores / name)
    cases = cases_of(store, name, draw)
    encoder = bench.run_of(name, compared.method, draw % compared.seeds)
    config = parse_config(FitConfig, fit_values(name, arm, encoder), source=f"{name}, {arm}")
    settings = [{"optim.lr": rate} for rate in compared.rates]
    if arm.endswith("probe"):
        settings = [{}]
        cases["split"] = cases["split"].replace("val", "train")
    out = bench.out / "few" / f"{name}-{arm}-{draw}"
    shutil.rmtree(out, ignore_errors=True)
    run = RunFolder.open(out, config, "finetune")
    try:
        tuned = tune(
            train_and_choose, config, settings, store, cases, run, Quiet(), SILENT, seed=draw
        )
        predictions = tuned.trained.predict_test(cases, run).predictions
    finally:
        run.close()
    predictions.to_parquet(bench.out / "few" / f"{name}-{arm}-{draw}.parquet")
    shutil.rmtree(out)
    test = predictions[predictions["split"] == "test"]
    return {
        "value": round(float(metric_value(compared.metric, test)), 5),
        "chosen": tuned.setting,
        "validation": [None if t.value is None else round(t.value, 5) for t in tuned.trials],
        "steps": [trial.selected_step for trial in tuned.trials],
        "counts": {
            part: {"cases": len(rows), "patients": int(rows["patient_key"].nunique())}
            for part, rows in cases.groupby("split")
        },
    }


def collect(bench: Bench, path: Path) -> None:
    """Every cell, the arms' means and their paired difference with intervals, in one file."""
    found: dict[str, Any] = {}
    for name, compared in COMPARISONS.items():
        cells = {
            (arm, draw): bench.read(f"few-{name}-{arm}-{draw}")
            for arm in compared.arms
            for draw in range(DRAWS)
            if bench.done(f"few-{name}-{arm}-{draw}")
        }
        whole = [d for d in range(DRAWS) if all((arm, d) in cells for arm in compared.arms)]
        if not whole:
            continue
        counts = cells[compared.arms[0], whole[0]]["counts"]
        labels = sum(counts[part]["cases"] for part in ("train", "val"))
        plan = {
            "arms": list(compared.arms),
            "fractions": [1.0],
            "draws": len(whole),
            "statistics": {"replicates": REPLICATES, "seed": 0, "level": LEVEL},
            "subsets": [{"fraction": 1.0, "cases": labels, "patients": compared.patients}],
        }
        frames = {
            Cell(arm, 1.0, at): pd.read_parquet(bench.out / "few" / f"{name}-{arm}-{draw}.parquet")
            for arm in compared.arms
            for at, draw in enumerate(whole)
        }
        grid = metric_grid(plan, frames, compared.metric)
        points = curve_points(grid, LEVEL)
        found[name] = {
            "method": compared.method,
            "metric": compared.metric,
            "counts": counts,
            "rates": list(compared.rates),
            "arms": {p["arm"]: {k: p[k] for k in ("mean", "lo", "hi", "draws")} for p in points},
            "differences": {
                row["arm"]: {k: row[k] for k in ("delta", "lo", "hi", "p", "mdd", "significant")}
                for row in effects_of(grid, LEVEL)
            },
            "cells": {f"{arm}-{draw}": cell for (arm, draw), cell in cells.items()},
        }
    path.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("stores", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", choices=COMPARISONS, help="one store")
    parser.add_argument("--collect", type=Path, help="gather what is done into this file")
    given = parser.parse_args()
    bench = Bench(given.stores, given.out)
    if given.collect:
        collect(bench, given.collect)
        return
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{given.out / 'unused.db'}"
    torch.set_num_threads(1)
    (given.out / "few").mkdir(parents=True, exist_ok=True)
    for draw in range(DRAWS):
        for name in [given.only] if given.only else COMPARISONS:
            for arm in COMPARISONS[name].arms:
                bench.once(
                    f"few-{name}-{arm}-{draw}",
                    lambda name=name, arm=arm, draw=draw: do_cell(bench, name, arm, draw),
                )


if __name__ == "__main__":
    main()
