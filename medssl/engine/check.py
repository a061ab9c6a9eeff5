"""Everything that is wrong with a pretraining configuration, and what the run will cost."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from medssl import kernels
from medssl.engine.config import PretrainConfig, RuntimeConfig
from medssl.engine.population import pretraining_rows
from medssl.engine.pretrain import method_and_source
from medssl.engine.trial import Built, Trial, free_memory, try_out
from medssl.errors import MedsslError
from medssl.methods.catalogue import METHODS
from medssl.report.quality_facts import count_of
from medssl.store import open_store

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")

_GB = 1e9
_FULL = 0.9  # of the memory: beyond it, whatever else starts pushes the run out
_CHECKPOINTS = 3  # two are kept while the third is written
_WAITS = 0.9  # of a step's time, for a batch drawn alone: the loader is what sets the pace
_SMALL_BATCHES = (2, 8)


@dataclass
class Check:
    """What a look at a configuration found.

    Attributes:
        facts: (what, value) pairs for the reader.
        problems: each of them keeps the run from working, and says what to change.
        advice: what would work, but slowly or not as meant.
    """

    facts: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)

    def attempt(self, work: Callable[[], T]) -> T | None:
        """What `work` returns; None where it raises, with its message among the problems."""
        try:
            return work()
        except MedsslError as error:
            self.problems.append(str(error))
            return None


def check_pretraining(config: PretrainConfig, folder: Path) -> Check:
    """Look at store, method, network and machine, then run the first steps.

    Args:
        folder: where the run would be written, or its nearest parent that is there.
    """
    check = Check()
    store = check.attempt(lambda: open_store(config.store))
    rows = check.attempt(lambda: pretraining_rows(store, config)) if store is not None else None
    check.attempt(lambda: _method(config))
    if config.sample_on == "device" and not torch.cuda.is_available():
        check.problems.append("sample_on: device needs a GPU, and there is none; set it to cpu")
    if rows is not None:
        _look_at_scans(check, config, rows)
    look_at_machine(check)
    if check.problems:
        return check
    trial = try_out(partial(_built, config))
    if trial.out_of_memory:
        check.problems.append(_what_fits(config))
    elif trial.problem:
        check.problems.append(trial.problem)
    else:
        add_cost(check, trial, config.runtime, config.steps, folder)
    return check


def look_at_machine(check: Check) -> None:
    """Where training would run, and whether patches come from compiled loops."""
    if torch.cuda.is_available():
        where = f"GPU {torch.cuda.get_device_name()}"
    else:
        where = f"CPU, {os.cpu_count()} cores (no GPU)"
    check.facts.append(("device", where))
    if kernels.library() is None:
        check.advice.append(
            "patches are drawn without compiled loops, several times slower; install a C compiler, "
            "then run: python -m medssl.kernels.build"
        )


def add_cost(check: Check, trial: Trial, runtime: RuntimeConfig, steps: int, folder: Path) -> None:
    """What the trial says of the whole run; problems where memory or disk do not suffice."""
    free = free_memory()
    while not folder.exists():
        folder = folder.parent
    disk = shutil.disk_usage(folder).free
    needed = _CHECKPOINTS * trial.checkpoint_bytes + 2 * 4 * trial.weights
    check.facts += [
        ("weights", f"{trial.weights / 1e6:.2f} million trained"),
        ("a step", f"{trial.step_s:.3g} s; a batch alone is drawn in {trial.batch_s:.3g} s"),
        ("the run", f"{steps} steps, {_duration(steps * trial.step_s)} at this pace"),
        ("memory", f"{trial.memory_bytes / _GB:.2f} GB of {free / _GB:.1f} GB free"),
        ("disk", f"{needed / _GB:.2g} GB of {disk / _GB:.0f} GB free"),
    ]
    if trial.memory_bytes > _FULL * free:
        check.problems.append(
            f"the run takes {trial.memory_bytes / _GB:.1f} GB of the {free / _GB:.1f} GB that are "
            "free; lower batch_size or augment.patch.size"
        )
    if needed > disk:
        check.problems.append(
            f"checkpoints take {needed / _GB:.1f} GB, the disk has {disk / _GB:.1f} GB left; free "
            "some space or choose another --out"
        )
    if trial.batch_s > _WAITS * trial.step_s:
        check.advice.append(_more_threads(trial, runtime))


def _more_threads(trial: Trial, runtime: RuntimeConfig) -> str:
    cores = os.cpu_count() or 1
    enough = math.ceil(max(runtime.num_workers, 1) * trial.batch_s / (_WAITS * trial.step_s))
    waits = "training waits for patches: "
    if runtime.num_workers < cores and enough <= cores:
        return f"{waits}set runtime.num_workers={max(enough, runtime.num_workers + 1)}"
    return (
        f"{waits}all {cores} cores draw them; set a coarser augment.patch.spacing_mm, fewer "
        "transforms, or on a GPU sample_on=device"
    )


def _method(config: PretrainConfig) -> None:
    method = METHODS[config.method.name]
    method(config.method, config.model, 1, config.augment.patch.size, config.seed)


def _built(config: PretrainConfig) -> Built:
    store = open_store(config.store)
    method, source = method_and_source(config, store, pretraining_rows(store, config))
    return method, source, config.optim, config.runtime


def _what_fits(config: PretrainConfig) -> str:
    """The batch that the memory would hold, from what two small ones take."""
    problem = f"a batch of {config.batch_size} does not fit in memory"
    small, larger = (
        try_out(partial(_built, config.model_copy(update={"batch_size": batch})))
        for batch in _SMALL_BATCHES
    )
    if small.problem or larger.problem:
        return f"{problem}, nor does one of {_SMALL_BATCHES[1]}; lower augment.patch.size"
    of_a_sample = (larger.memory_bytes - small.memory_bytes) / (
        _SMALL_BATCHES[1] - _SMALL_BATCHES[0]
    )
    room = _FULL * free_memory() - larger.memory_bytes
    batch = _SMALL_BATCHES[1] + math.floor(room / max(of_a_sample, 1.0))
    if batch >= config.batch_size:  # what two small ones take says too little of a large one
        batch = config.batch_size // 2
    return f"{problem}; lower batch_size to about {batch} ({of_a_sample / _GB:.2g} GB each)"


def _look_at_scans(check: Check, config: PretrainConfig, rows: pd.DataFrame) -> None:
    patients = rows["patient_key"].nunique()
    epochs = config.steps * config.batch_size / len(rows)
    check.facts += [
        (
            "scans",
            f"{count_of(len(rows))} of {count_of(patients, 'patient')}, each seen {epochs:.3g} "
            "times",
        ),
        ("method", f"{config.method.name}, {config.model.name}, batches of {config.batch_size}"),
    ]
    voxels = _voxels(config, rows)
    short = (voxels < np.asarray(config.augment.patch.size) - 0.5).any(axis=1).mean()
    if short > 0:
        size = "x".join(str(n) for n in config.augment.patch.size)
        middle = "x".join(f"{n:.0f}" for n in np.median(voxels, axis=0))
        check.advice.append(
            f"{short:.0%} of the scans are smaller than the patch {size} along some axis (the "
            f"middle one has {middle} voxels at this spacing), and are padded"
        )


def _voxels(config: PretrainConfig, rows: pd.DataFrame) -> np.ndarray:
    """(n, 3): voxels of each scan along right, front and top, at the patch's spacing."""
    affine = np.stack([rows[f"affine_{r}{c}"] for r in range(3) for c in range(3)], axis=1)
    axes = np.abs(affine.reshape(-1, 3, 3).astype(np.float64))
    shape = np.stack([rows[f"shape_{a}"] for a in range(3)], axis=1).astype(np.float64)
    if config.augment.patch.spacing_mm is None:
        return np.take_along_axis(shape, axes.argmax(axis=2), axis=1)
    extent_mm: np.ndarray = np.einsum("nij,nj->ni", axes, shape)
    return extent_mm / config.augment.patch.spacing_mm


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
