"""One training on labels, from initial weights to predictions. A study runs many of these."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
from torch import nn

from medssl.engine.loop import TrainOutcome, train
from medssl.engine.parameter_groups import ParameterGroup, layerwise
from medssl.engine.run_folder import RunFolder
from medssl.engine.seeding import seed_weights
from medssl.errors import ConfigError, TrainingError
from medssl.models.build import Classifier, Segmenter
from medssl.models.config import ModelConfig
from medssl.models.encoder import Encoder
from medssl.models.weights import load_encoder, read_weights, save_weights
from medssl.progress import SILENT, Progress
from medssl.store import Store
from medssl.tracking import MetricLog
from medssl.transfer.calibration import Calibration, calibration, fitted_temperature, scaled
from medssl.transfer.cases import check_parts, labelled_cases
from medssl.transfer.channels import volumes_of_cases
from medssl.transfer.classification import Classification
from medssl.transfer.config import FitConfig
from medssl.transfer.flips import averaged_over_flips
from medssl.transfer.initial import resolve_model, weights_file
from medssl.transfer.metrics import all_metrics
from medssl.transfer.multilabel import Multilabel
from medssl.transfer.operating_point import chosen_threshold
from medssl.transfer.ordinal import Ordinal
from medssl.transfer.regime_config import KNNRegime, LinearProbeRegime
from medssl.transfer.regimes import finish, fit_probe, prepare
from medssl.transfer.regression import Regression
from medssl.transfer.segmentation import Segmentation
from medssl.transfer.task import Task
from medssl.transfer.task_config import SegmentationTask

Classes = tuple[str, ...]

TASKS: dict[str, Callable[[FitConfig, ModelConfig, Store, pd.DataFrame, Classes, int], Task]] = {
    "classification": Classification,
    "multilabel": Multilabel,
    "ordinal": Ordinal,
    "regression": Regression,
    "segmentation": Segmentation,
}

Network = Classifier | Segmenter


@dataclass(frozen=True)
class Fit:
    """What a training came to.

    Attributes:
        predictions: of the validation and the test part; see `medssl.transfer.predictions`.
        model: the network.
        load_report: lines that say which weights were taken; empty where init is null.
        calibration: what temperature scaling changed; None where it is not asked for.
        threshold: see `medssl.transfer.operating_point`; None where nothing chose one.
        told: what else the reader should know: what was frozen, what a probe chose, an early end.
        seconds: of training alone.
    """

    predictions: pd.DataFrame
    model: ModelConfig
    outcome: TrainOutcome
    load_report: list[str]
    calibration: Calibration | None
    threshold: float | None
    told: list[str]

    @property
    def seconds(self) -> float:
        return self.outcome.seconds


@dataclass(frozen=True)
class Trained:
    """A network whose weights are chosen and written. The test part has not been looked at.

    Attributes:
        val: predictions of the validation part, not yet scaled by `temperature`; empty without one.
        threshold: of two classes, on scaled logits; see `medssl.transfer.operating_point`.
        weights_sha256: of the file checkpoints/model.safetensors.
    """

    config: FitConfig
    task: Task
    model: ModelConfig
    outcome: TrainOutcome
    load_report: list[str]
    told: list[str]
    val: pd.DataFrame
    temperature: float | None
    threshold: float | None
    weights_sha256: str

    @property
    def value(self) -> float | None:
        """The selection metric on the validation part; None without one, or where it is NaN."""
        if self.val.empty:
            return None
        value = all_metrics(self.val)[self.config.selection_metric]
        return None if math.isnan(value) else value

    @property
    def encoder(self) -> Encoder:
        """Of the network, with the chosen weights."""
        return self.task.network.encoder

    def predict_test(self, cases: pd.DataFrame, run: RunFolder, progress: Progress = SILENT) -> Fit:
        """Look at the test part; predicted masks are kept under masks/ of `run`."""
        with averaged_over_flips(self.task.network, _flips(self.config)):
            test = _predict(self.task, cases, "test", run, progress)
        parts = [test] if self.val.empty else [self.val, test]
        predictions = pd.concat(parts, ignore_index=True)
        calibrated, told = None, self.told
        if self.temperature is not None:
            calibrated = calibration(predictions, self.temperature)
            predictions = scaled(predictions, self.temperature)
            told = [*told, str(calibrated)]
        _tell(told, run, progress)
        return Fit(
            predictions,
            self.model,
            self.outcome,
            self.load_report,
            calibrated,
            self.threshold,
            told,
        )


def fit(
    config: FitConfig,
    store: Store,
    cases: pd.DataFrame,
    run: RunFolder,
    tracker: MetricLog | None = None,
    progress: Progress = SILENT,
    seed: int = 0,
) -> Fit:
    """Train on the training part, choose weights on the validation part, predict the test part.

    Arguments, results and errors are those of `train_and_choose`; the test part is looked at once,
    after that.
    """
    trained = train_and_choose(config, store, cases, run, tracker, progress, seed)
    return trained.predict_test(cases, run, progress)


def train_and_choose(
    config: FitConfig,
    store: Store,
    cases: pd.DataFrame,
    run: RunFolder,
    tracker: MetricLog | None = None,
    progress: Progress = SILENT,
    seed: int = 0,
) -> Trained:
    """Train on the training part and choose weights on the validation part.

    Where there is no validation part the last weights are taken. Resumes from the run's
    checkpoints; the weights that are to predict are kept in checkpoints/model.safetensors.

    Args:
        cases: volume_uid, patient_key, split (train, val or test), and the task's targets
            (`medssl.transfer.targets`; segmentation does not use them).

    Raises:
        ConfigError, CheckpointError: model, initial weights and patch do not fit together.
        TrainingError: a patient in two parts, a part or a class without cases, or training fails.
    """
    check_parts(cases)
    # Who learned what: `medssl withdraw` looks for it.
    everything = volumes_of_cases(store, cases, config.channels)
    everything.to_parquet(run.path / "cases.parquet")
    model = resolve_model(config)
    classes = labelled_cases(store, config.task).classes
    check_selection(config, classes)
    seed_weights(seed)
    task = TASKS[config.task.name](config, model, store, cases, classes, seed)
    load_report = _load(config, task.network, run, progress)
    frozen = prepare(task.network, config.regime)
    outcome, told = _trained(task, config, cases, run, tracker, progress, seed)
    told = [*([frozen] if frozen else []), *told]
    finish(task.network, config.regime)
    flips = _flips(config)
    with averaged_over_flips(task.network, flips):
        val = _predict(task, cases, "val", run, progress)
    temperature = fitted_temperature(val) if config.temperature_scaling else None
    threshold = chosen_threshold(val if temperature is None else scaled(val, temperature))
    weights_sha256 = save_weights(
        run.checkpoints / "model.safetensors",
        task.network,
        {
            "model": model.model_dump_json(),
            "in_channels": str(config.in_channels),
            "channels": json.dumps(config.channels),
            "patch_size": json.dumps(config.augment.patch.size),
            "task": config.task.model_dump_json(),
            "classes": json.dumps(classes),
            "regime": config.regime.model_dump_json(),
            "temperature": json.dumps(temperature or 1.0),
            "threshold": json.dumps(threshold),
            "test_time_flips": json.dumps(flips),
            "step": str(outcome.best_step or outcome.steps),
            "store_key_id": store.key_id,
            "units": json.dumps(_units(store, everything)),
            **task.metadata(),
        },
    )
    return Trained(
        config,
        task,
        model,
        outcome,
        load_report,
        told,
        val,
        temperature,
        threshold,
        weights_sha256,
    )


def check_selection(config: FitConfig, classes: tuple[str, ...]) -> None:
    """What is to choose the weights can be measured on these masks.

    Raises:
        ConfigError: it is the Dice of a class that they do not have.
    """
    if not isinstance(config.task, SegmentationTask) or config.task.regions:
        return  # the configuration names all that there is
    named = config.selection_metric.removeprefix("dice/")
    if named.isdigit() and named not in classes:
        raise ConfigError(
            f"select_by: {config.selection_metric} is of no class of the masks, which hold "
            f"{', '.join(classes)}; name one of these, or dice_mean"
        )


def _flips(config: FitConfig) -> tuple[int, ...]:
    return config.augment.spatial.flip if config.test_time_flips else ()


def _trained(
    task: Task,
    config: FitConfig,
    cases: pd.DataFrame,
    run: RunFolder,
    tracker: MetricLog | None,
    progress: Progress,
    seed: int,
) -> tuple[TrainOutcome, list[str]]:
    """Train the network, or fit what stands on it; it then has the weights that are to predict.

    Returns:
        What it came to, and lines for the reader.
    """
    train_part, val = (cases[cases["split"] == part] for part in ("train", "val"))
    needing = [n for n in ("patience", "temperature_scaling") if getattr(config, n)]
    if needing and val.empty:
        raise TrainingError(
            f"{', '.join(needing)}: there is no validation part; leave it out, or let patients "
            "validate"
        )
    if isinstance(config.regime, LinearProbeRegime | KNNRegime):
        assert isinstance(task.network, Classifier)
        outcome, told = fit_probe(
            task.network,
            config.regime,
            task.store,
            train_part,
            config.augment.patch,
            config.batch_size,
            progress,
            config.channels,
        )
        return outcome, [told]

    def validate(_: int) -> dict[str, float]:
        values = all_metrics(task.predict(val))
        return {f"val/{name}": value for name, value in values.items()}

    outcome = train(
        task.objective,
        task.source,
        optim=config.optim,
        runtime=config.runtime,
        steps=config.steps,
        seed=seed,
        run=run,
        tracker=tracker,
        progress=progress,
        what=f"fine-tuning ({config.task.name}, {len(train_part)} cases)",
        groups=_groups(config, task.network),
        validate=None if val.empty else validate,
        validate_every=config.validate_every,
        keep_best=f"val/{config.selection_metric}",
        patience=config.patience,
    )
    _take_chosen(task.objective, outcome, run)
    early = f"ended early after step {outcome.steps} of {config.steps}, out of patience"
    return outcome, [early] if outcome.steps < config.steps else []


def _units(store: Store, cases: pd.DataFrame) -> list[str]:
    """Units of the training part's scans, the most frequent first: how they were normalised."""
    learned = cases.loc[cases["split"] == "train", "volume_uid"]
    units = store.columns("units")["units"].loc[learned].astype(str)  # not all that the store has
    return [str(unit) for unit in units.value_counts().index]


def _load(config: FitConfig, network: Network, run: RunFolder, progress: Progress) -> list[str]:
    """Take the initial weights into the network; the report goes to run.log and to the reader."""
    if config.init is None:
        return []
    decoder = config.load_decoder and config.task.name == "segmentation"
    report = load_encoder(
        weights_file(config.init), network, decoder=decoder, min_matched=config.min_matched
    ).lines()
    _tell([f"initial weights: {line}" for line in report], run, progress)
    return report


def _tell(lines: list[str], run: RunFolder, progress: Progress) -> None:
    for line in lines:
        run.log(line)
        progress.say(line)


def _groups(config: FitConfig, network: Network) -> list[ParameterGroup]:
    """The encoder's layers, which may be slower and start later, and the rest."""
    rest = [p for name, p in network.named_parameters() if not name.startswith("encoder.")]
    if config.init is None:
        return [ParameterGroup(rest), ParameterGroup(list(network.encoder.parameters()))]
    rates = (config.encoder_lr_decay, config.encoder_lr_factor, config.head_only_steps)
    return [ParameterGroup(rest), *layerwise(network.encoder, *rates)]


def _take_chosen(objective: nn.Module, outcome: TrainOutcome, run: RunFolder) -> None:
    """Load the selected weights, and say which these are."""
    chosen = "last" if outcome.best_step is None else "best"
    objective.load_state_dict(read_weights(run.checkpoints / f"{chosen}.safetensors"))
    objective.eval()
    if outcome.best_step is None:
        run.log(f"weights of the last step, {outcome.steps}: there was nothing to select by")
    else:
        run.log(f"weights of step {outcome.best_step}, validation {outcome.best_value:.4f}")


def _predict(
    task: Task,
    cases: pd.DataFrame,
    part: str,
    run: RunFolder,
    progress: Progress,
) -> pd.DataFrame:
    """The predictions of one part; predicted test masks are kept."""
    rows = cases[cases["split"] == part]
    if rows.empty:
        return pd.DataFrame()
    progress.start(f"predicting {part}", len(rows))
    try:
        kept = isinstance(task, Segmentation) and part == "test"
        return task.predict(rows, run.path if kept else None, progress)
    finally:
        progress.finish()
