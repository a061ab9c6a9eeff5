"""The fine-tuning stage: from a store with labels to a model and its results on unseen patients."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from medssl import tracking
from medssl.engine.run_folder import RunFolder
from medssl.errors import ConfigError
from medssl.models.config import ModelConfig
from medssl.models.weights import load_encoder
from medssl.progress import SILENT, Progress
from medssl.report.finetuning import write_finetuning_report
from medssl.report.quality_facts import count_of
from medssl.store import Store, open_store
from medssl.transfer.cases import (
    LabelledCases,
    copies_on_both_sides,
    describe_parts,
    keep_cases,
    split_cases,
)
from medssl.transfer.channels import volumes_of_cases
from medssl.transfer.config import FinetuneConfig
from medssl.transfer.cross_validation import cross_validate
from medssl.transfer.digests import data_digests
from medssl.transfer.ensemble import FILE_NAME as ENSEMBLE
from medssl.transfer.fit import Fit, Trained, check_selection
from medssl.transfer.folds import fold_cases
from medssl.transfer.initial import resolve_model, told_of_pretraining, weights_file
from medssl.transfer.metrics import with_case_columns
from medssl.transfer.networks import network_of
from medssl.transfer.operating_point import with_operating_point
from medssl.transfer.predictions import write_predictions
from medssl.transfer.regimes import prepare
from medssl.transfer.results import Results, results_of_test_part
from medssl.transfer.tracked import start_tracking
from medssl.transfer.tuned_fit import tuned_fit
from medssl.transfer.tuning import Tuned, forget_trials


@dataclass(frozen=True)
class FinetuneResult:
    """Where the run is and what it measured.

    Attributes:
        metrics: test/<name> and its interval's ends, test/<name>_lo and test/<name>_hi.
        predictions: Parquet file; see `medssl.transfer.predictions`.
        model: safetensors file with the weights that predicted, or ensemble.json, which names those
            of all folds.
        seconds: of training, over all trials and folds.
        lines: the results for a reader.
        was_done: an earlier call had finished it.
    """

    run: Path
    metrics: dict[str, float | None]
    predictions: Path
    model: Path
    seconds: float
    lines: list[str]
    was_done: bool


def finetune(config: FinetuneConfig, out: Path, progress: Progress = SILENT) -> FinetuneResult:
    """Fine-tune, or train from scratch; call again to resume or to be told that it is done.

    Raises:
        StoreError: the store lacks the label, mask or split.
        ConfigError, CheckpointError: configuration, initial weights and store do not fit together,
            or the run was begun with other cases.
        TrainingError: a patient in two parts, a part or a class without cases, or training fails.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("fine-tuning runs in one process; start it without torchrun")
    store = open_store(config.store)
    model = resolve_model(config)
    in_folds = config.split.source == "folds"
    if in_folds:
        labelled, cases = fold_cases(store, config.task, config.split, config.channels)
        without_part = 0
    else:
        labelled, cases, without_part = split_cases(
            store, config.task, config.split, config.channels
        )
    if not RunFolder(out, "finetune", None).is_done:
        # Before there is a folder, which the configuration that is put right could not use.
        _check_network(config, model, labelled.classes)
    run = RunFolder.open(out, config, "finetune")
    try:
        if run.is_done:
            forget_trials(run)  # where a kill left them
            return _result(run, was_done=True)
        run.bind_key(store.key_id)
        if not in_folds:
            keep_cases(run, cases)
        notes = _notes(config, store, labelled, cases, without_part)
        for note in notes:
            run.log(note)
            progress.say(note)
        work = cross_validate if in_folds else _finetune
        work(config, store, cases, notes, run, progress)
        return _result(run, was_done=False)
    finally:
        run.close()


def _check_network(config: FinetuneConfig, model: ModelConfig, classes: tuple[str, ...]) -> None:
    """Build the network once as training will, with its initial weights and its regime.

    Raises:
        ConfigError: task, network, patch, regime and `select_by` do not suit each other.
        CheckpointError: too little of the initial weights matches the network.
    """
    check_selection(config, classes)
    network = network_of(config.task, model, config.in_channels, classes, config.augment.patch.size)
    if config.init is not None:
        load_encoder(weights_file(config.init), network, min_matched=config.min_matched)
    prepare(network, config.regime)


def _finetune(
    config: FinetuneConfig,
    store: Store,
    cases: pd.DataFrame,
    notes: list[str],
    run: RunFolder,
    progress: Progress,
) -> None:
    tracker = start_tracking("finetune", config, store, cases, run)
    status = "FAILED"
    try:
        tuned = tuned_fit(config, store, cases, run, tracker, progress)
        fitted = tuned.trained.predict_test(cases, run, progress)
        called = with_operating_point(fitted.predictions, fitted.threshold)
        predictions = with_case_columns(called)
        fitted = replace(fitted, predictions=predictions)
        results = results_of_test_part(store, cases, predictions)
        _write(config, store, cases, notes, tuned, fitted, results, run, tracker)
        status = "FINISHED"
    finally:
        tracker.close(status)


def _notes(
    config: FinetuneConfig,
    store: Store,
    labelled: LabelledCases,
    cases: pd.DataFrame,
    without_part: int,
) -> list[str]:
    """What a reader has to know before the results: who is in which part, who is left out."""
    if "fold" in cases:
        patients = labelled.frame["patient_key"].nunique()
        parts = [
            f"{config.split.folds} folds of {count_of(len(labelled.frame), 'case')} of "
            f"{count_of(patients, 'patient')}, each tested once; in each fold "
            f"{_share(config.split.val)} of the others validate"
        ]
    else:
        parts = [
            f"{part} {count_of(counts['cases'], 'case')} of "
            f"{count_of(counts['patients'], 'patient')}"
            for part, counts in describe_parts(cases).items()
        ]
    classes = [f"classes {', '.join(labelled.classes)}"] if labelled.classes else []
    notes = ["; ".join([*classes, *parts]), *labelled.told]
    if labelled.unlabelled:
        notes.append(f"{labelled.unlabelled} volumes without this label are left out")
    if without_part:
        notes.append(f"{without_part} labelled cases are in no part of the split")
    copies = copies_on_both_sides(store, cases, config.channels)
    if copies:
        notes.append(
            f"LEAK: {copies} of the test scans are in training or validation too, under another "
            "patient; name one patient for both in the cases file of medssl ingest"
        )
    if config.init is not None:
        tested = volumes_of_cases(store, cases[cases["split"] == "test"], config.channels)
        notes.append(told_of_pretraining(config.init, store, tested))
    return notes


def _share(part: float) -> str:
    return f"{part:.0%}" if part else "none"


def _write(
    config: FinetuneConfig,
    store: Store,
    cases: pd.DataFrame,
    notes: list[str],
    tuned: Tuned[Trained],
    fitted: Fit,
    results: Results,
    run: RunFolder,
    tracker: tracking.Tracker,
) -> None:
    """Predictions, report and, last, the summary that says that the run is done."""
    written = [run.path / "predictions.parquet"]
    write_predictions(written[0], fitted.predictions)
    for name, table in results.tables().items():
        written.append(run.path / name)
        write_predictions(written[-1], table)
    written.append(write_finetuning_report(run, config, store, notes, tuned, fitted, results))
    written.append(run.checkpoints / "model.safetensors")
    for path in written:
        tracker.artifact(path)
    cost = {"cost/seconds": tuned.seconds, "cost/steps": float(tuned.steps)}
    tracker.log(config.steps, {**results.figures(), **cost})
    lines = results.lines()
    for line in lines:
        run.log(f"test: {line}")
    summary: dict[str, Any] = {
        "metrics": results.summary(),
        "subgroups": [group.record() for group in results.subgroups],
        "seconds": tuned.seconds,
        "steps": fitted.outcome.steps,
        "selected_step": fitted.outcome.best_step or fitted.outcome.steps,
        "parts": describe_parts(cases),
        "data_sha256": data_digests(store, cases, config.channels),
        "notes": notes,
        "load_report": fitted.load_report,
        "calibration": fitted.calibration and fitted.calibration.as_dict(),
        "told": fitted.told,
        "lines": lines,
        **tuned.record,
    }
    run.finish(summary)
    forget_trials(run)


def _result(run: RunFolder, *, was_done: bool) -> FinetuneResult:
    summary = run.summary()
    ensemble = run.path / ENSEMBLE
    return FinetuneResult(
        run.path,
        summary["metrics"],
        run.path / "predictions.parquet",
        ensemble if ensemble.is_file() else run.checkpoints / "model.safetensors",
        summary["seconds"],
        summary["lines"],
        was_done,
    )
