"""The page of a fine-tuning run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import yaml

from medssl.engine.run_folder import RunFolder
from medssl.report.figures import loss_curve
from medssl.report.overlay import overlay_figure
from medssl.report.page import (
    Part,
    Section,
    code,
    figure,
    figure_png,
    table,
    text,
    verdict,
    write_page,
)

if TYPE_CHECKING:
    from pathlib import Path

    from medssl.store import Store
    from medssl.transfer.config import FinetuneConfig
    from medssl.transfer.fit import Fit
    from medssl.transfer.intervals import Interval
    from medssl.transfer.results import Results
    from medssl.transfer.task_config import SegmentationTask

_WORST = 3


def write_finetuning_report(
    run: RunFolder,
    config: FinetuneConfig,
    store: Store,
    notes: list[str],
    fitted: Fit,
    results: Results,
) -> Path:
    """Write report.html and loss.png to the run's folder; returns the page's path."""
    shown = config.model_dump(mode="json")
    start = "a pretrained encoder" if config.init is not None else "scratch"
    sections = [
        Section("", [verdict(results.lines()[0])]),
        Section("Who was in which part", [text(note) for note in notes]),
        Section("Results on the test part", _results(results)),
        Section("Training", _curves(run, config.selection_metric, fitted)),
        Section("Initial weights", [code("\n".join(fitted.load_report or ["from scratch"]))]),
    ]
    if config.task.name == "segmentation":
        worst = _worst_cases(run, store, config.task, fitted.predictions)
        sections.append(Section("The worst test cases", worst))
    sections.append(Section("Configuration", [code(yaml.safe_dump(shown, sort_keys=False))]))
    return write_page(
        run.path / "report.html",
        f"Fine-tuning: {config.task.name}",
        f"From {start}, {config.steps} steps of {config.batch_size} patches.",
        sections,
    )


def _results(results: Results) -> list[Part]:
    rows = [_row(name, interval) for name, interval in results.metrics.items()]
    if results.size is not None:
        rows.append(_row("auc_macro of size alone", results.size.size_only))
        rows.append(_row("auc_macro minus size alone", results.size.difference))
    parts = [
        table(["metric", "value", "from", "to", "patients"], rows),
        text(
            "From and to are the 95 % interval over 2,000 resamples of patients within their "
            "class; a patient's cases stay together."
        ),
    ]
    if results.size is not None:
        parts.append(
            text(
                "Size alone is a logistic regression on the volume and extents of the foreground, "
                "fitted on the same patients. A difference whose interval holds 0 shows no gain "
                "over it."
            )
        )
    return parts


def _row(name: str, interval: Interval) -> list[str | float | int]:
    return [name, interval.value, interval.low, interval.high, interval.patients]


def _curves(run: RunFolder, selection_metric: str, fitted: Fit) -> list[Part]:
    rows = run.read_metrics()
    png = figure_png(loss_curve(rows, ["train/loss"]))
    (run.path / "loss.png").write_bytes(png)
    parts = [figure(png, "Mean training loss between two lines of the log, by step.")]
    looked_at = [f"val/{selection_metric}"] if fitted.outcome.best_step is not None else []
    if looked_at:
        png = figure_png(loss_curve(rows, looked_at))
        parts.append(figure(png, "The validation part, by step."))
    outcome = fitted.outcome
    if outcome.best_step is None:
        parts.append(text("There was no validation part: the last weights predicted."))
    else:
        parts.append(
            text(f"The weights of step {outcome.best_step} predicted, the best on validation.")
        )
    return parts


def _worst_cases(
    run: RunFolder, store: Store, task: SegmentationTask, predictions: pd.DataFrame
) -> list[Part]:
    """Pictures of the test cases with the lowest mean Dice."""
    from medssl.transfer.predictions import read_mask
    from medssl.transfer.segmentation_metrics import dice_by_case, mask_classes

    test = predictions[predictions["split"] == "test"]
    dice = dice_by_case(test)
    classes = sorted({value for union in (task.regions or {}).values() for value in union})
    classes = classes or [int(c) for c in mask_classes(test)]
    defined = np.isfinite(dice).any(axis=1)
    means = np.where(defined, np.nansum(dice, axis=1), np.nan) / np.isfinite(dice).sum(axis=1).clip(
        1
    )
    parts: list[Part] = []
    for place in np.argsort(means)[: min(_WORST, int(defined.sum()))]:
        case = test.iloc[int(place)]
        uid = str(case["volume_uid"])
        reference = store.read_label(uid, task.mask).voxels
        # Values of the mask that the task does not tell apart are background to it.
        told_apart = np.isin(reference, classes)
        drawn = overlay_figure(
            store.read(uid),
            np.where(told_apart, reference, 0),
            read_mask(run.path, str(case["mask_path"])),
        )
        parts.append(figure(drawn, f"Volume {uid[:8]}, mean Dice {means[place]:.3f}."))
    return parts
