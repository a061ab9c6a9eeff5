"""A training whose settings are tuned: one trial for each setting, chosen by the validation part.

Every trial is a run of its own in RUN/trials/i that resumes by itself. The test part is looked at
by the chosen trial alone, after the choice.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import pandas as pd

from medssl.engine.loop import TrainOutcome
from medssl.engine.run_folder import RunFolder
from medssl.progress import Progress
from medssl.store import Store
from medssl.tracking import MetricLog
from medssl.transfer.config import FitConfig
from medssl.transfer.tuning_config import Setting, with_setting

_TAKEN = ("checkpoints/model.safetensors", "metrics.jsonl", "cases.parquet")


class Candidate(Protocol):
    """What a trial came to: `medssl.transfer.fit.Trained`."""

    @property
    def outcome(self) -> TrainOutcome: ...

    @property
    def value(self) -> float | None: ...

    @property
    def weights_sha256(self) -> str: ...


T = TypeVar("T", bound=Candidate)
T_co = TypeVar("T_co", bound=Candidate, covariant=True)


class TrainFunction(Protocol[T_co]):
    """`medssl.transfer.fit.train_and_choose`, or what stands in for it."""

    def __call__(
        self,
        config: FitConfig,
        store: Store,
        cases: pd.DataFrame,
        run: RunFolder,
        tracker: MetricLog | None,
        progress: Progress,
        seed: int,
    ) -> T_co: ...


class Listener(Protocol):
    """Told of every trial, in order; a resumed search tells of those that were done once more."""

    def started(self, trial: int, setting: Setting, run: RunFolder) -> MetricLog | None:
        """A trial begins; returns what takes its metrics."""

    def finished(self, trial: int, trained: Candidate) -> None:
        """Its weights are chosen and written."""


@dataclass(frozen=True)
class TrialRecord:
    """What is kept of a trial.

    Attributes:
        value: the selection metric on the validation part; None without one.
        selected_step: whose weights were kept.
    """

    setting: Setting
    value: float | None
    steps: int
    selected_step: int
    seconds: float
    weights_sha256: str


@dataclass(frozen=True)
class Tuned(Generic[T]):
    """The chosen trial, ready to predict, and all that were tried."""

    trained: T
    chosen: int
    trials: list[TrialRecord]

    @property
    def setting(self) -> Setting:
        return self.trials[self.chosen].setting

    @property
    def seconds(self) -> float:
        """Of training, over all trials."""
        return sum(trial.seconds for trial in self.trials)

    @property
    def steps(self) -> int:
        """Taken in all trials."""
        return sum(trial.steps for trial in self.trials)

    @property
    def record(self) -> dict[str, Any]:
        """For a run's summary.json; nothing where there was a single setting."""
        if len(self.trials) == 1:
            return {}
        return {"trials": [vars(trial) for trial in self.trials], "chosen": self.chosen}


def tune(
    train: TrainFunction[T],
    config: FitConfig,
    settings: Sequence[Setting],
    store: Store,
    cases: pd.DataFrame,
    run: RunFolder,
    listener: Listener,
    progress: Progress,
    seed: int,
) -> Tuned[T]:
    """Train one trial for each setting and choose the one with the highest validation value.

    Of equals, and where no trial has a value, the earlier is taken. Each trial is trained in
    `run`/trials/i, and the chosen one's weights and metrics are copied to `run`; a single setting
    is trained in `run` itself. Once the run is done `forget_trials` clears the rest away.

    Args:
        cases: the test part is passed on, and not looked at.

    Raises:
        ConfigError: a trial's folder was begun with another setting.
        CheckpointError, TrainingError: as `medssl.transfer.fit.train_and_choose`.
    """
    records: list[TrialRecord] = []
    trained = None
    for trial, setting in enumerate(settings):
        trained = None  # one network at a time
        trained = _trial(
            trial, train, config, settings, store, cases, run, listener, progress, seed
        )
        outcome = trained.outcome
        records.append(
            TrialRecord(
                setting,
                trained.value,
                outcome.steps,
                outcome.best_step or outcome.steps,
                outcome.seconds,
                trained.weights_sha256,
            )
        )
    chosen = best_of([record.value for record in records])
    if chosen != len(settings) - 1:
        # Its folder is whole: no step is taken again, and there is nothing new to tell.
        trained = _trial(chosen, train, config, settings, store, cases, run, None, progress, seed)
    assert trained is not None, "there is a setting"
    if len(settings) > 1:
        for name in _TAKEN:
            if (trial_folder(run, chosen) / name).is_file():
                shutil.copyfile(trial_folder(run, chosen) / name, run.path / name)
    return Tuned(trained, chosen, records)


def best_of(values: Sequence[float | None]) -> int:
    """The place of the highest value, of equals the first; 0 where there is none."""
    known = [(value, -place) for place, value in enumerate(values) if value is not None]
    return -max(known)[1] if known else 0


def trial_folder(run: RunFolder, trial: int) -> Path:
    """The run folder of a trial."""
    return run.path / "trials" / str(trial)


def forget_trials(run: RunFolder) -> None:
    """Remove the trials' weights and training state, once a run is done; their logs stay."""
    for checkpoints in run.path.glob("trials/*/checkpoints"):
        shutil.rmtree(checkpoints)


def _trial(
    trial: int,
    train: TrainFunction[T],
    config: FitConfig,
    settings: Sequence[Setting],
    store: Store,
    cases: pd.DataFrame,
    run: RunFolder,
    listener: Listener | None,
    progress: Progress,
    seed: int,
) -> T:
    own = with_setting(config, settings[trial])
    alone = len(settings) == 1
    folder = run if alone else RunFolder.open(trial_folder(run, trial), own, "trial")
    try:
        tracker = listener.started(trial, settings[trial], folder) if listener else None
        trained = train(own, store, cases, folder, tracker, progress, seed)
        if listener:
            listener.finished(trial, trained)
        return trained
    finally:
        if not alone:
            folder.close()


def told_of_trials(trials: Sequence[TrialRecord], chosen: int, metric: str) -> list[str]:
    """For the reader: what was tried and what was taken; nothing of a single setting."""
    if len(trials) == 1:
        return []
    lines = [f"{len(trials)} settings were tried; trial {chosen} was chosen by validation {metric}"]
    for number, trial in enumerate(trials):
        value = "not defined" if trial.value is None else f"{trial.value:.4f}"
        shown = ", ".join(f"{key}={v}" for key, v in trial.setting.items())
        lines.append(f"trial {number}: {metric} {value} ({shown})")
    return lines
