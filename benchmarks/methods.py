"""What pretraining by each method is worth on real scans, one core a process:

OMP_NUM_THREADS=1 python benchmarks/methods.py STORES OUT

For every store and method an encoder is pretrained under three seeds without the test patients;
probes and fine-tunings then compare it with untrained encoders of the same shape and with training
from scratch. STORES holds the stores lung_nodules, adrenal, sarcoma and hippocampus, made by
`medssl ingest`. Each cell's result is one JSON file under OUT; cells that are there are skipped,
and several of these processes share the work. Then --collect FILE gathers all of them into the
file that docs/make_methods.py makes tables of.
"""

from __future__ import annotations

import argparse
import fcntl
import itertools
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from medssl.augment.config import AugmentConfig
from medssl.config import parse_config
from medssl.efficiency.subsets import ordered_patients, patient_classes
from medssl.engine.config import HoldoutConfig, PretrainConfig
from medssl.engine.population import held_out_patients
from medssl.engine.pretrain import pretrain
from medssl.engine.run_folder import RunFolder
from medssl.engine.seeding import seed_weights
from medssl.models.build import build_encoder
from medssl.models.weights import load_encoder
from medssl.store import Store, open_store
from medssl.transfer.config import FitConfig
from medssl.transfer.embedding import embed_volumes
from medssl.transfer.fit import fit
from medssl.transfer.initial import weights_file
from medssl.transfer.metrics import metric_value
from medssl.transfer.probe import knn_probe, linear_probe
from medssl.transfer.size_baseline import size_only_predictions

METHODS = ("hybrid", "mae", "simclr", "moco")
SEEDS = (0, 1, 2)
LABELLED = (10, 20, 40, 80)
DRAWS = 10


@dataclass(frozen=True)
class Setting:
    """A store: what the network sees, who is held out, what is measured.

    Attributes:
        blocks_down: of a SegResNet with 8 filters, the same for all methods.
        batch_size: by method.
        steps: by method, so that each takes about as long.
        methods: settings of a method other than its defaults.
        lr: of pretraining by method, where it is not 1e-3.
        label: of the probes.
        labelled: numbers of patients with masks to fine-tune on; none: there is no fine-tuning.
        validate: patients that choose the rate of fine-tuning, at the first of these numbers.
        rates: learning rates of fine-tuning, of which validation patients choose.
    """

    augment: dict[str, Any]
    blocks_down: list[int]
    batch_size: dict[str, int]
    steps: dict[str, int]
    methods: dict[str, dict[str, Any]]
    holdout: dict[str, Any] | None = None
    exclude_splits: tuple[str, ...] = ("test",)
    lr: dict[str, float] = field(default_factory=dict)
    label: str | None = None
    labelled: tuple[int, ...] = ()
    validate: int = 0
    fit_steps: int = 0
    fit_batch: int = 2
    rates: tuple[float, ...] = (3e-3, 1e-3)

    @property
    def model(self) -> dict[str, Any]:
        return {"name": "segresnet", "init_filters": 8, "blocks_down": self.blocks_down}


# Size is the strongest sign of malignancy, so no view varies it; a nodule has no up and no left.
# Slices are few and thick: half of the nodules have four or fewer.
NODULES = Setting(
    augment={
        "patch": {"size": [32, 32, 16], "spacing_mm": 1.0},
        "spatial": {
            "rotate_deg": 15,
            "rotate_probability": 0.5,
            "scale": [1.0, 1.0],
            "flip": [0, 1, 2],
        },
        "intensity": {"enabled": False},
    },
    blocks_down=[1, 1, 1, 1],
    batch_size={"hybrid": 16, "mae": 32, "simclr": 32, "moco": 32},
    steps={"hybrid": 145, "mae": 170, "simclr": 200, "moco": 155},
    methods={
        "mae": {"block_size": 4},
        "simclr": {"hidden_dim": 512, "overlap": [0.8, 1.0]},
        # A short run: a teacher that keeps 0.99 of itself would not leave its first weights.
        "moco": {"hidden_dim": 512, "overlap": [0.8, 1.0], "momentum": 0.95, "queue_size": 1024},
        "hybrid": {"block_size": 4, "overlap": [0.8, 1.0], "momentum": 0.97},
    },
    holdout={"fraction": 0.3, "seed": 0, "label": "malignant"},
    label="malignant",
)
# Binary shapes: intensities say nothing, so they are not varied, and neither is size. Left and
# right glands are not told apart by the labels.
ADRENAL = Setting(
    augment={
        "patch": {"size": [16, 24, 24], "spacing_mm": 1.0},
        "spatial": {
            "rotate_deg": 15,
            "rotate_probability": 0.5,
            "scale": [1.0, 1.0],
            "flip": [0, 1, 2],
        },
        "intensity": {"enabled": False},
    },
    blocks_down=[1, 1, 1, 1],
    batch_size=NODULES.batch_size,
    steps={"hybrid": 130, "mae": 160, "simclr": 180, "moco": 140},
    methods={
        **NODULES.methods,
        # With a faster teacher all shapes end in one point.
        "moco": {**NODULES.methods["moco"], "momentum": 0.99},
    },
    exclude_splits=("test", "val"),
    label="label",
)
# A lesion has the same shape on either side. Three modalities of each patient, one network for all.
SARCOMA = Setting(
    augment={
        "patch": {"size": [40, 40, 40], "spacing_mm": 3.0},
        "spatial": {
            "rotate_deg": 15,
            "rotate_probability": 0.5,
            "scale": [0.85, 1.2],
            "scale_probability": 0.5,
            "flip": [0],
        },
    },
    blocks_down=[1, 2, 2],
    batch_size={"hybrid": 4, "mae": 8, "simclr": 8, "moco": 8},
    steps={"hybrid": 90, "mae": 150, "simclr": 130, "moco": 100},
    methods={
        "mae": {"block_size": 8},
        "simclr": {"hidden_dim": 512},
        "moco": {"hidden_dim": 512, "momentum": 0.95, "queue_size": 256},
        "hybrid": {"block_size": 8, "momentum": 0.97},
    },
    holdout={"fraction": 0.375, "seed": 0},
    labelled=(1, 3),
    validate=2,
    fit_steps=150,
)
HIPPOCAMPUS = Setting(
    augment={
        "patch": {"size": [32, 48, 32], "spacing_mm": 1.0},
        "spatial": {
            "rotate_deg": 15,
            "rotate_probability": 0.5,
            "scale": [0.85, 1.2],
            "scale_probability": 0.5,
        },
    },
    blocks_down=[1, 2, 2],
    batch_size=SARCOMA.batch_size,
    steps={"hybrid": 95, "mae": 160, "simclr": 130, "moco": 105},
    # Heads differ little: at 1e-3 contrast ends in one point.
    methods={**SARCOMA.methods, "moco": {**SARCOMA.methods["moco"], "momentum": 0.99}},
    lr={"simclr": 3e-4, "moco": 1e-4},
    holdout={"fraction": 0.2, "seed": 0},
    labelled=(3, 12),
    validate=8,
    fit_steps=150,
)
SETTINGS = {
    "lung_nodules": NODULES,
    "adrenal": ADRENAL,
    "sarcoma": SARCOMA,
    "hippocampus": HIPPOCAMPUS,
}


@dataclass(frozen=True)
class Bench:
    """Where the stores are and where results go."""

    stores: Path
    out: Path

    def run_of(self, store: str, method: str, seed: int) -> Path:
        return self.out / "runs" / f"{store}-{method}-{seed}"

    def result(self, cell: str) -> Path:
        return self.out / "results" / f"{cell}.json"

    def done(self, cell: str) -> bool:
        return self.result(cell).is_file()

    def read(self, cell: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.result(cell).read_text(encoding="utf-8"))
        return found

    def once(self, cell: str, work: Callable[[], dict[str, Any]]) -> None:
        """Do a cell unless it is done or another process is at it, and write its result."""
        with _claimed(self.out / "locks" / f"{cell}.lock") as mine:
            if not mine or self.done(cell):
                return
            began, cpu = time.monotonic(), time.process_time()
            found = work()
            found["wall_seconds"] = round(time.monotonic() - began, 2)
            found["core_seconds"] = round(time.process_time() - cpu, 2)
            found["commit"] = _commit()
            path = self.result(cell)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".part").write_text(json.dumps(found, indent=1), encoding="utf-8")
            path.with_suffix(".part").replace(path)
            print(cell, f"{found['core_seconds']:.0f} s of a core", flush=True)


def pretrain_config(store: Path, name: str, method: str, seed: int) -> PretrainConfig:
    """The configuration of a cell, as `medssl pretrain` takes it."""
    setting = SETTINGS[name]
    values: dict[str, Any] = {
        "store": store,
        "method": {"name": method, **setting.methods[method]},
        "model": setting.model,
        "augment": setting.augment,
        "optim": {"lr": setting.lr.get(method, 1e-3), "weight_decay": 0.05, "warmup_steps": 20},
        "runtime": {"num_workers": 0, "threads": 1, "checkpoint_every": 1000, "log_every": 10},
        "exclude_splits": list(setting.exclude_splits),
        "holdout": setting.holdout,
        "steps": setting.steps[method],
        "batch_size": setting.batch_size[method],
        "seed": seed,
    }
    return parse_config(PretrainConfig, values, source=f"{name}, {method}")


def do_pretrain(bench: Bench, name: str, method: str, seed: int) -> dict[str, Any]:
    """Pretrain; the loss over the run's first and last tenth."""
    config = pretrain_config(bench.stores / name, name, method, seed)
    result = pretrain(config, bench.run_of(name, method, seed))
    rows = [json.loads(line) for line in (result.run / "metrics.jsonl").read_text().splitlines()]
    losses = [row["train/loss"] for row in rows if "train/loss" in row]
    last = {k.removeprefix("train/"): v for k, v in rows[-1].items() if k.startswith("train/")}
    return {
        "volumes": result.volumes,
        "steps": config.steps,
        "batch_size": config.batch_size,
        "first_loss": losses[0],
        "last": last,
    }


def do_probe(bench: Bench, name: str, method: str, seed: int) -> dict[str, Any]:
    """AUC on the test patients by number of labelled patients and draw; method may be random."""
    setting, store = SETTINGS[name], open_store(bench.stores / name)
    cases = probe_cases(store, setting)
    embedded = embeddings(bench, store, setting, name, method, seed, cases)
    return {"auc": probe_aucs(cases, embedded)}


def embeddings(
    bench: Bench,
    store: Store,
    setting: Setting,
    name: str,
    method: str,
    seed: int,
    cases: pd.DataFrame,
) -> np.ndarray:
    """(N, K) of the cases, by the untrained encoder of this seed or by the pretrained one."""
    patch = parse_config(AugmentConfig, setting.augment, source=name).patch
    model = parse_config(
        PretrainConfig,
        {
            "store": bench.stores / name,
            "method": {"name": "mae"},
            "model": setting.model,
            "augment": setting.augment,
        },
        source=name,
    ).model
    seed_weights(seed)
    encoder = build_encoder(model, 1, patch.size)
    if method != "random":
        load_encoder(weights_file(bench.run_of(name, method, seed)), encoder)
    return embed_volumes(encoder, store, list(cases["volume_uid"]), patch)


def probe_cases(store: Store, setting: Setting) -> pd.DataFrame:
    """volume_uid, patient_key, label, y_true, part (dev or test; others are left out)."""
    assert setting.label is not None
    labels = store.class_labels(setting.label)
    frame = store.columns("patient_key").loc[sorted(labels.index)]
    frame = frame.assign(
        volume_uid=frame.index, label=labels.loc[frame.index], y_true=labels.astype("int64")
    )
    if setting.holdout is not None:
        test = held_out_patients(store, HoldoutConfig(**setting.holdout))
        part = np.where(frame["patient_key"].isin(test), "test", "dev")
    else:
        given = store.split_labels().loc[frame.index]
        part = given.map({"train": "dev", "test": "test", "val": "val"}).to_numpy()
    frame = frame.assign(part=part)
    return frame[frame["part"].isin(["dev", "test"])].reset_index(drop=True)


def draws_of(cases: pd.DataFrame) -> Iterator[tuple[str, int, pd.Series]]:
    """(number labelled, draw, which rows are labelled): the same for every encoder."""
    dev = cases[cases["part"] == "dev"]
    classes = patient_classes(dev, "classification")
    for draw in range(DRAWS):
        order = [patient for patient, _ in ordered_patients(classes, "methods", draw)]
        for count in LABELLED:
            chosen = cases["patient_key"].isin(order[:count]) & (cases["part"] == "dev")
            yield str(count), draw, chosen
    yield "all", 0, cases["part"] == "dev"


def probe_aucs(cases: pd.DataFrame, embedded: np.ndarray) -> dict[str, dict[str, list[float]]]:
    """By probe and number labelled: the AUC of each draw."""
    test = (cases["part"] == "test").to_numpy()
    y = cases["y_true"].to_numpy(np.int64)
    patients = cases["patient_key"].to_numpy()
    found: dict[str, dict[str, list[float]]] = {"linear": {}, "knn": {}}
    for count, _, chosen in draws_of(cases):
        rows = chosen.to_numpy()
        linear = linear_probe(embedded[rows], y[rows], patients[rows], embedded[test])
        near = knn_probe(embedded[rows], y[rows], embedded[test])
        for probe, scores in (("linear", linear.probabilities), ("knn", near)):
            found[probe].setdefault(count, []).append(round(_auc(y[test], scores), 5))
    return found


def do_size(bench: Bench, name: str) -> dict[str, Any]:
    """AUC of size alone, on the same draws."""
    store = open_store(bench.stores / name)
    cases = probe_cases(store, SETTINGS[name])
    found: dict[str, list[float]] = {}
    for count, _, chosen in draws_of(cases):
        split = np.where(chosen, "train", np.where(cases["part"] == "test", "test", ""))
        used = cases.assign(split=split)
        used = used[used["split"] != ""]
        predictions = size_only_predictions(store.manifest, used, 2)
        found.setdefault(count, []).append(round(metric_value("auc_macro", predictions), 5))
    counts = {
        part: {"volumes": len(rows), "patients": int(rows["patient_key"].nunique())}
        for part, rows in cases.groupby("part")
    }
    return {"auc": found, "counts": counts}


def segmentation_cases(
    store: Store, setting: Setting, count: int, seed: int, test_on: str
) -> pd.DataFrame:
    """Who trains and who tests: `test_on` is "test", or "validation" to choose a rate.

    Labelled and validation patients are the first and the last of an order that the seed draws.
    """
    masks = store.labels[store.labels["kind"] == "mask"]["volume_uid"]
    frame = store.columns("patient_key")
    frame = frame[frame.index.isin(set(masks))]
    assert setting.holdout is not None
    test = held_out_patients(store, HoldoutConfig(**setting.holdout))
    dev = sorted(set(frame["patient_key"]) - test)
    order = [p for p, _ in ordered_patients(pd.Series("", index=dev), "methods", seed)]
    assert count + setting.validate <= len(order)
    labelled = order[:count]
    tested = test if test_on == "test" else set(order[-setting.validate :])
    split = np.where(
        frame["patient_key"].isin(labelled),
        "train",
        np.where(frame["patient_key"].isin(tested), "test", ""),
    )
    frame = frame.assign(volume_uid=frame.index, split=split, y_true=0)
    return frame[frame["split"] != ""].reset_index(drop=True)


def do_fit(
    bench: Bench, name: str, method: str, count: int, seed: int, rate: float, test_on: str
) -> dict[str, Any]:
    """Fine-tune, or train from scratch; Dice by modality on the test or validation patients."""
    setting, store = SETTINGS[name], open_store(bench.stores / name)
    cases = segmentation_cases(store, setting, count, seed, test_on)
    values: dict[str, Any] = {
        "task": {"name": "segmentation"},
        "augment": setting.augment,
        "optim": {"lr": rate, "weight_decay": 0.01, "betas": [0.9, 0.999], "warmup_steps": 15},
        "runtime": {"num_workers": 0, "threads": 1, "checkpoint_every": 1000, "log_every": 20},
        "steps": setting.fit_steps,
        "batch_size": setting.fit_batch,
    }
    if method == "scratch":
        values["model"] = setting.model
    else:
        values["init"] = bench.run_of(name, method, seed)
    config = parse_config(FitConfig, values, source=f"{name}, {method}")
    out = bench.out / "fits" / f"{name}-{method}-{count}-{seed}-{rate:g}-{test_on}"
    run = RunFolder.open(out, config, "finetune")
    try:
        predictions = fit(config, store, cases, run, seed=seed).predictions
    finally:
        run.close()
    modality = store.columns("modality")["modality"].loc[predictions["volume_uid"]].to_numpy()
    by_modality = {
        str(m): round(metric_value("dice_mean", predictions[modality == m]), 5)
        for m in np.unique(modality)
    }
    parts = cases.groupby("split")["patient_key"].agg(["size", "nunique"])
    return {
        "dice": round(metric_value("dice_mean", predictions), 5),
        "by_modality": by_modality,
        "rate": rate,
        "counts": {
            str(part): {"volumes": int(row["size"]), "patients": int(row["nunique"])}
            for part, row in parts.iterrows()
        },
    }


def chosen_rate(bench: Bench, name: str, method: str) -> float:
    """The learning rate with the higher Dice on the validation patients of seed 0."""
    rates = SETTINGS[name].rates
    return max(rates, key=lambda r: bench.read(_rate_cell(name, method, r))["dice"])


def _rate_cell(name: str, method: str, rate: float) -> str:
    return f"rate-{name}-{method}-{rate:g}"


def work_through(bench: Bench, stores: list[str], methods: list[str], seeds: list[int]) -> None:
    """Every cell whose needs are met, in the order in which they are needed."""
    for name in stores:
        if SETTINGS[name].label:
            bench.once(f"size-{name}", lambda n=name: do_size(bench, n))  # type: ignore[misc]
    for seed, name, method in itertools.product(seeds, stores, ["random", *methods]):
        setting = SETTINGS[name]
        if method != "random":
            bench.once(
                f"pretrain-{name}-{method}-{seed}",
                lambda a=(name, method, seed): do_pretrain(bench, *a),  # type: ignore[misc]
            )
            if not bench.done(f"pretrain-{name}-{method}-{seed}"):
                continue
        if setting.label:
            bench.once(
                f"probe-{name}-{method}-{seed}",
                lambda a=(name, method, seed): do_probe(bench, *a),  # type: ignore[misc]
            )
    for turn, seed, name, method in itertools.product((0, 1), seeds, stores, ["scratch", *methods]):
        if turn < len(SETTINGS[name].labelled):
            _fine_tune(bench, name, method, SETTINGS[name].labelled[turn], seed)


def _fine_tune(bench: Bench, name: str, method: str, count: int, seed: int) -> None:
    setting = SETTINGS[name]
    needed = [f"pretrain-{name}-{method}-{s}" for s in {0, seed}]
    if method != "scratch" and not all(bench.done(cell) for cell in needed):
        return
    cells = [_rate_cell(name, method, rate) for rate in setting.rates]
    for cell, rate in zip(cells, setting.rates, strict=True):
        trial = (name, method, setting.labelled[0], 0, rate, "validation")
        bench.once(cell, lambda a=trial: do_fit(bench, *a))  # type: ignore[misc]
    if all(bench.done(cell) for cell in cells):
        rate, highest = chosen_rate(bench, name, method), max(setting.rates)
        work = (name, method, count, seed, rate, "test")
        bench.once(f"fit-{name}-{method}-{count}-{seed}", lambda: do_fit(bench, *work))
        if rate != highest:  # so that all can be compared at one rate too
            same = (name, method, count, seed, highest, "test")
            bench.once(f"same-{name}-{method}-{count}-{seed}", lambda: do_fit(bench, *same))


def collect(bench: Bench, file: Path) -> None:
    """Gather every cell's result, one a line, and the settings behind them, into one file."""
    names = [path.stem for path in sorted((bench.out / "results").glob("*.json"))]
    cells = [f"  {json.dumps(name)}: {json.dumps(bench.read(name))}" for name in names]
    settings = {name: vars(setting) for name, setting in SETTINGS.items()}
    head = json.dumps({"settings": settings, "labelled": LABELLED, "draws": DRAWS}, indent=1)
    text = head[: head.rindex("}")].rstrip() + ',\n "cells": {\n' + ",\n".join(cells) + "\n }\n}\n"
    file.write_text(text, encoding="utf-8")


def _auc(y: np.ndarray, scores: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(y, scores[:, 1]))


def _commit() -> str:
    here = Path(__file__).parent
    done = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=here, capture_output=True, text=True
    )
    return done.stdout.strip()


@contextmanager
def _claimed(path: Path) -> Iterator[bool]:
    """Whether the lock was free; it is freed when this process ends, however it does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stores", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--collect", type=Path, metavar="FILE")
    given = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(given.stores.resolve(), given.out.resolve())
    if given.collect:
        collect(bench, given.collect)
        return
    bench.out.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{bench.out / 'mlflow.db'}")
    work_through(bench, given.only, given.methods, given.seeds)


if __name__ == "__main__":
    main()
