"""The page of a fine-tuning run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import yaml

from medssl.config import without_paths
from medssl.engine.run_folder import RunFolder
from medssl.report.explanation import explanation_sections
from medssl.report.figures import loss_curve
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
from medssl.report.quality_facts import count_of
from medssl.transfer.operating_point import threshold_told
from medssl.transfer.regime_config import start_told
from medssl.transfer.subgroups import LEAST_PATIENTS
from medssl.transfer.tuning_config import with_setting

if TYPE_CHECKING:
    from pathlib import Path

    from medssl.store import Store
    from medssl.transfer.config import FinetuneConfig
    from medssl.transfer.fit import Fit, Trained
    from medssl.transfer.intervals import Interval
    from medssl.transfer.results import Results
    from medssl.transfer.tuning import Tuned


def write_finetuning_report(
    run: RunFolder,
    config: FinetuneConfig,
    store: Store,
    notes: list[str],
    tuned: Tuned[Trained],
    fitted: Fit,
    results: Results,
) -> Path:
    """Write report.html and loss.png to the run's folder; returns the page's path."""
    shown = without_paths(config)
    start = start_told(config.regime.name, pretrained=config.init is not None)
    sections = [
        Section("", [verdict(results.lines()[0])]),
        Section("Who was in which part", [text(note) for note in notes]),
        Section(
            "Results on the test part",
            [*results_parts(results), *rules(config, results, [fitted.threshold])],
        ),
        Section("By subgroup", subgroup_parts(results)),
        Section("Training", _curves(run, fitted, results.primary)),
        *_search(config, tuned),
        Section("Initial weights", [code("\n".join(fitted.load_report or [f"from {start}"]))]),
    ]
    sections += explanation_sections(run, config, store, fitted.predictions)
    sections.append(Section("Configuration", [code(yaml.safe_dump(shown, sort_keys=False))]))
    return write_page(
        run.path / "report.html",
        f"Fine-tuning: {config.task.name}",
        f"From {start}. {effort(with_setting(config.alone, tuned.setting))}",
        sections,
    )


def _search(config: FinetuneConfig, tuned: Tuned[Trained]) -> list[Section]:
    """The table of trials; none where nothing was tuned."""
    if len(tuned.trials) == 1:
        return []
    keys = list(tuned.setting)
    metric = config.selection_metric
    rows = [
        [
            f"{number}, chosen" if number == tuned.chosen else str(number),
            *(str(trial.setting[key]) for key in keys),
            math.nan if trial.value is None else trial.value,
            trial.selected_step,
            round(trial.seconds),
        ]
        for number, trial in enumerate(tuned.trials)
    ]
    head = ["trial", *keys, f"validation {metric}", "step taken", "seconds"]
    return [
        Section(
            "Search",
            [
                table(head, rows),
                text(
                    "Every trial trained on the same cases from the same seed; the one with the "
                    "highest validation value predicts, of equals the first. The test part was "
                    "not looked at before that."
                ),
            ],
        )
    ]


def effort(config: FinetuneConfig) -> str:
    """What is trained and for how long, in a sentence."""
    regime = config.regime.name.replace("_", " ")
    if config.regime.name in ("linear_probe", "knn"):
        return f"Regime: {regime} on frozen embeddings, no steps."
    return f"Regime: {regime}, at most {config.steps} steps of {config.batch_size} patches."


def results_parts(results: Results) -> list[Part]:
    """The table of metrics with their intervals, and what it means."""
    if any(name.endswith("_mean") for name in results.metrics):
        parts = [_by_class(results.metrics)]
    else:
        rows = [_row(name, interval) for name, interval in results.metrics.items()]
        if results.size is not None:
            rows.append(_row("auc_macro of size alone", results.size.size_only))
            rows.append(_row("auc_macro minus size alone", results.size.difference))
        parts = [table(["metric", "value", "from", "to", "patients"], rows)]
    patients = next(iter(results.metrics.values())).patients
    parts.append(
        text(
            f"With their 95 % intervals over 2,000 resamples of {count_of(patients, 'patient')}, "
            "within their class where there are classes; a patient's cases stay together."
        )
    )
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


def _by_class(metrics: Mapping[str, Interval]) -> Part:
    """A row for each measure, a column for the mean over classes and for each class."""
    classes = list(dict.fromkeys(name.split("/")[1] for name in metrics if "/" in name))
    measures = list(dict.fromkeys(name.split("/")[0] for name in metrics if "/" in name))
    shown = [f"class {c}" for c in classes] if len(classes) > 1 else []
    rows = [
        [m, *(_with_ends(metrics[name]) for name in (f"{m}_mean", *(f"{m}/{c}" for c in classes)))]
        for m in measures
    ]
    whole = "mean over classes" if shown else "value"
    return table(["measure", whole, *shown], [row[: 2 + len(shown)] for row in rows])


def _with_ends(interval: Interval | None) -> str:
    if interval is None or math.isnan(interval.value):
        return "–"
    digits = 3 if abs(interval.value) < 10 else 1
    return f"{interval.value:.{digits}f} ({interval.low:.{digits}f} to {interval.high:.{digits}f})"


def rules(
    config: FinetuneConfig, results: Results, thresholds: Sequence[float | None]
) -> list[Part]:
    """How the metrics count what could be counted in several ways.

    Args:
        thresholds: of the run's network, or of those of all folds.
    """
    told = []
    if "auprc_macro" in results.metrics:
        told.append("The chance level of auprc_macro is the share of positive cases.")
    if "ece" in results.metrics:
        told.append(
            "ece of few cases is far above 0 even where the probabilities are right; its interval "
            "is that of its spread about the value, not of the error of a larger test part."
        )
    if "sensitivity" in results.metrics:
        told.append(
            "Sensitivity and specificity are read at the threshold where their sum is highest on "
            f"the validation part{', each fold at its own' if len(thresholds) > 1 else ''}."
        )
        if config.task.name == "classification":
            told.append(
                f"medssl predict answers the second class from {threshold_told(thresholds)}."
            )
        if config.task.name == "classification" and len(thresholds) > 1:
            told.append("What the average of the folds' networks answers there was not tested.")
    if config.task.name == "segmentation":
        told += [
            "A class that neither mask of a case has is left out of dice, nsd and hd95_mm. Where "
            "one mask alone has it, dice and nsd are 0 and hd95_mm is the image's diagonal, so "
            "that no missed case is dropped.",
            f"nsd is the share of the surfaces within {config.task.nsd_tolerance_mm:g} mm of each "
            "other. A lesion is a connected component, found by a predicted one with an "
            "intersection over union of 0.1 or more; all lesions of all cases count alike.",
        ]
    return [text(line) for line in told]


def subgroup_parts(results: Results) -> list[Part]:
    if not results.subgroups:
        return [
            text(
                "The test cases are all of one manufacturer, sex, age band, site and modality, as "
                "far as the store knows them."
            )
        ]
    names = _shown_by_subgroup(results)
    rows = [
        [
            group.column.replace("_", " "),
            group.value,
            group.cases,
            group.patients,
            *(_with_ends(group.metrics.get(name)) for name in names),
        ]
        for group in results.subgroups
    ]
    return [
        table(["by", "group", "cases", "patients", *names], rows),
        text(
            f"A group of fewer than {LEAST_PATIENTS} patients is listed without a number: too few "
            "for an interval. What all test cases share is not listed. Groups are not corrected "
            "for being many, nor for what else differs between them. Every metric is in "
            "subgroups.parquet."
        ),
    ]


def _shown_by_subgroup(results: Results) -> list[str]:
    """The primary metric and up to two more."""
    names = [name for name in results.metrics if "/" not in name]
    return [results.primary, *(name for name in names if name != results.primary)][:3]


def _curves(run: RunFolder, fitted: Fit, primary: str) -> list[Part]:
    parts: list[Part] = [text(line) for line in fitted.told]
    if not fitted.outcome.steps:
        return parts
    rows = run.read_metrics()
    png = figure_png(loss_curve(rows, ["train/loss"]))
    (run.path / "loss.png").write_bytes(png)
    parts.append(figure(png, "Mean training loss between two lines of the log, by step."))
    looked_at = [f"val/{primary}"]
    if sum(looked_at[0] in row for row in rows) > 1:
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
