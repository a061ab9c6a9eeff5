"""The page of a cross-validation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import yaml

from medssl.config import without_paths
from medssl.engine.run_folder import RunFolder
from medssl.models.weights import read_metadata
from medssl.report.explanation import explanation_sections
from medssl.report.figures import loss_curve
from medssl.report.finetuning import (
    effort,
    results_parts,
    rules,
    subgroup_parts,
)
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
from medssl.transfer.operating_point import kept_threshold
from medssl.transfer.regime_config import start_told

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from medssl.store import Store
    from medssl.transfer.config import FinetuneConfig
    from medssl.transfer.cross_validation import FoldResult
    from medssl.transfer.results import Results

_MOST_METRICS = 4  # the table has no room for more


def write_cross_validation_report(
    run: RunFolder,
    config: FinetuneConfig,
    store: Store,
    notes: list[str],
    predictions: pd.DataFrame,
    done: list[FoldResult],
    results: Results,
) -> Path:
    """Write report.html to the run's folder; returns the page's path.

    Args:
        predictions: out of fold, with the column `fold`; mask paths relative to the run.
    """
    shown = without_paths(config)
    start = start_told(config.regime.name, pretrained=config.init is not None)
    load_report = done[0].summary["load_report"] or [f"from {start}"]
    sections = [
        Section("", [verdict(results.lines()[0])]),
        Section("Who was in which part", [text(note) for note in notes]),
        Section(
            "Results out of fold",
            [
                *results_parts(results),
                *rules(config, results, [_threshold(fold) for fold in done]),
                text(
                    "Every case was predicted once, by the network of the fold in which its "
                    "patient tested. Rows of all folds are judged together; their logits come "
                    "from different networks, which can make the pooled AUC lower than the mean of "
                    "the folds'."
                ),
            ],
        ),
        Section("By subgroup", subgroup_parts(results)),
        Section(
            "Fold by fold",
            [
                _table(predictions, done, results),
                *_searched(config, done),
                *_calibration(predictions, done),
                *_curves(run, config, done),
            ],
        ),
        Section("Initial weights", [code("\n".join(load_report))]),
    ]
    sections += explanation_sections(run, config, store, predictions)
    sections.append(Section("Configuration", [code(yaml.safe_dump(shown, sort_keys=False))]))
    return write_page(
        run.path / "report.html",
        f"Cross-validation: {config.task.name}",
        f"{len(done)} folds, each from {start}. {effort(config)}",
        sections,
    )


def _threshold(fold: FoldResult) -> float | None:
    return kept_threshold(read_metadata(fold.weights))


def _table(predictions: pd.DataFrame, done: list[FoldResult], results: Results) -> Part:
    from medssl.transfer.metrics import metric_value
    from medssl.transfer.results import COMPARED

    names = [name.removeprefix("test/") for name in done[0].summary["metrics"]]
    names = [name for name in names if "/" not in name][:_MOST_METRICS]
    heads = ["fold", "train", "val", "test", *names]
    heads += [f"{COMPARED} of size alone"] if results.size is not None else []
    rows = []
    for number, fold in enumerate(done):
        parts, metrics = fold.summary["parts"], fold.summary["metrics"]
        row: list[int | float | str | None] = [number]
        row += [parts[part]["patients"] for part in ("train", "val", "test")]
        row += [metrics.get(f"test/{name}") for name in names]
        if results.size is not None:
            tested = predictions.loc[predictions["fold"] == number, "volume_uid"]
            sizes = results.size.predictions
            row.append(metric_value(COMPARED, sizes[sizes["volume_uid"].isin(tested)]))
        rows.append([*row, fold.summary["selected_step"], round(fold.summary["seconds"])])
    return table([*heads, "step", "seconds"], rows)


def _searched(config: FinetuneConfig, done: list[FoldResult]) -> list[Part]:
    """Which setting each fold's validation part chose; nothing where nothing was tuned."""
    if config.search is None or config.search.trials == 1:
        return []
    rows = []
    for number, fold in enumerate(done):
        trials, chosen = fold.summary["trials"], fold.summary["chosen"]
        values = [math.nan if trial["value"] is None else trial["value"] for trial in trials]
        setting = trials[chosen]["setting"]
        rows.append([number, chosen, *map(str, setting.values()), values[chosen]])
    keys = list(config.search.space)
    return [
        table(["fold", "trial chosen", *keys, f"validation {config.selection_metric}"], rows),
        text(
            f"In each fold {config.search.trials} settings were tried and its own validation part "
            "chose among them: what was tested is the search, not one setting. Seconds are those "
            "of all trials."
        ),
    ]


def _calibration(predictions: pd.DataFrame, done: list[FoldResult]) -> list[Part]:
    """What temperature scaling changed, each fold having a temperature of its own."""
    from medssl.transfer.calibration import scaled
    from medssl.transfer.classification_metrics import ece

    told = [fold.summary["calibration"] for fold in done]
    if None in told:
        return []
    temperatures = [calibration["temperature"] for calibration in told]
    unscaled = scaled(predictions, 1 / predictions["fold"].map(dict(enumerate(temperatures))))
    return [
        text(
            f"Logits are divided by each fold's temperature, {min(temperatures):.2f} to "
            f"{max(temperatures):.2f}, fitted on its validation part: ECE out of fold is "
            f"{ece(unscaled):.3f} before and {ece(predictions):.3f} after."
        )
    ]


def _curves(run: RunFolder, config: FinetuneConfig, done: list[FoldResult]) -> list[Part]:
    parts = [
        text("Train, val and test count patients; step is that of the weights that predicted."),
        *(
            text(f"Fold {number}: {line}")
            for number, fold in enumerate(done)
            for line in fold.summary["told"]
        ),
    ]
    shown = {
        "loss.png": ("train/loss", "Mean training loss between two lines of the log, by step."),
        "validation.png": (
            f"val/{config.selection_metric}",
            f"{config.selection_metric} of each fold's validation part, by step.",
        ),
    }
    for name, (metric, caption) in shown.items():
        rows = [
            {"step": row["step"], f"fold {number}": row[metric]}
            for number, fold in enumerate(done)
            for row in RunFolder(fold.run, "fold", None).read_metrics()
            if metric in row
        ]
        if rows:
            folds = [f"fold {number}" for number in range(len(done))]
            png = figure_png(loss_curve(rows, folds, metric))
            (run.path / name).write_bytes(png)
            parts.append(figure(png, caption))
    return parts
