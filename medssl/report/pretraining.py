"""The page of a pretraining run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from medssl.config import without_paths
from medssl.engine.health_alarms import ALARMS, SOONEST, Line, Raised, judge, looks_of
from medssl.engine.run_folder import RunFolder
from medssl.report.health_charts import health_charts, loss_chart, method_charts
from medssl.report.neighbours import kind_of, neighbours_figure
from medssl.report.page import (
    Part,
    Section,
    code,
    details,
    figure,
    figure_png,
    table,
    text,
    verdict,
    write_page,
)
from medssl.report.reconstructions import reconstruction_figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medssl.engine.config import PretrainConfig
    from medssl.engine.health import Seen

_MEANINGS = {
    "rank": "effective rank of the embeddings (RankMe): how many directions are in use",
    "deviation": "spread of the embeddings over volumes; 0: all alike, 1: in every direction",
    "alignment": "squared distance of two views of a volume; 0: they coincide",
    "uniformity": "spread on the sphere; 0: a single point, -4: everywhere",
    "knn_modality": "volumes whose modality the five nearest of other patients tell",
    "majority_modality": "the same by always naming the commonest modality",
    "knn_body_part": "volumes whose body part the five nearest of other patients tell",
    "majority_body_part": "the same by always naming the commonest body part",
}


def write_pretraining_report(
    run: RunFolder, config: PretrainConfig, volumes: int, seen: Seen | None
) -> Path:
    """Write report.html and loss.png to the run's folder; returns the page's path.

    Args:
        volumes: how many volumes the encoder learned from.
        seen: None where the run was not watched.
    """
    rows = run.read_metrics()
    raised = judge(rows, config.optim.warmup_steps, config.steps)
    steps = int(max((row["step"] for row in rows), default=0))
    sections = [
        Section("", [_verdict(rows, raised, config.optim.warmup_steps)]),
        Section("Loss", _loss(run, rows)),
    ]
    if seen is not None:
        sections.append(Section("Health", _health(rows, raised, seen)))
        sections.append(Section("Reconstructions", _reconstructions(seen)))
        sections.append(Section("Nearest neighbours", _neighbours(seen)))
    shown = without_paths(config)
    sections.append(Section("Configuration", [code(yaml.safe_dump(shown, sort_keys=False))]))
    return write_page(
        run.path / "report.html",
        f"Pretraining: {config.method.name}",
        f"{volumes:,} volumes, {steps:,} of {config.steps:,} steps of {config.batch_size}.",
        sections,
    )


def _verdict(rows: Sequence[Line], raised: Raised | None, warmup_steps: int) -> Part:
    looks = len(looks_of(rows))
    judged = sum(look["step"] >= max(SOONEST, warmup_steps) for look in looks_of(rows))
    if raised is not None:
        remedy = raised.alarm.remedy
        return verdict(f"Collapsed: {raised.line}. {remedy[0].upper()}{remedy[1:]}.", "bad")
    if judged < 2:
        return verdict(
            "Not judged: it takes two looks at the embeddings after the warm-up and "
            f"{SOONEST} steps, and there were {judged}."
        )
    return verdict(f"No sign of collapse in {looks} looks at the embeddings.", "good")


def _loss(run: RunFolder, rows: Sequence[Line]) -> list[Part]:
    losses = [row for row in rows if "train/loss" in row]
    if not losses:
        return [text("No step was logged.")]
    png = figure_png(loss_chart(losses))
    (run.path / "loss.png").write_bytes(png)
    last = [(name.removeprefix("train/"), value) for name, value in losses[-1].items()]
    return [
        figure(png, "Mean training loss between two lines of the log, by step."),
        text(
            "A falling loss shows that the task is being learned, not that the encoder serves a "
            "diagnosis: fine-tune it and compare with training from scratch."
        ),
        figure(method_charts(losses), "What the method and the optimiser log besides, by step."),
        details("The last line of the log", [table(["figure", "value"], last)]),
    ]


def _health(rows: Sequence[Line], raised: Raised | None, seen: Seen) -> list[Part]:
    looks = looks_of(rows)
    first, last = looks[0], looks[-1]
    compared = [
        (name, first.get(f"health/{name}"), last.get(f"health/{name}"), meaning)
        for name, meaning in _MEANINGS.items()
        if f"health/{name}" in last
    ]
    marked = "; the dashed line is the alarm" if raised is not None else ""
    alarms = [(a.name, a.watches, a.threshold, f"{a.after:.0%}", a.why) for a in ALARMS]
    return [
        text(
            f"{len(seen.probe)} volumes that are learned from, two augmented views of each, always "
            "the same ones, as the encoder embeds them. None of it needs a label. The looks of the "
            f"last start of this run took {seen.seconds:.1f} s."
        ),
        figure(health_charts(looks, raised.step if raised else None), f"By step{marked}."),
        table(["figure", "before the first step", "last look", "what it says"], compared),
        details(
            "The alarms",
            [
                text(
                    "An alarm has to hold at two looks in a row, both after the learning rate's "
                    f"warm-up, after {SOONEST} steps and after the given share of the run."
                ),
                table(["alarm", "watches", "holds where", "after", "what it means"], alarms),
            ],
        ),
    ]


def _reconstructions(seen: Seen) -> list[Part]:
    if seen.pictures is None:
        return [text("This method reconstructs nothing.")]
    names = [
        f"{kind_of(seen.probe, place)}\n{str(seen.probe.rows.index[place])[:8]}"
        for place in seen.pictured
    ]
    spacing = seen.probe.spacing_mm[seen.pictured]
    drawn = reconstruction_figure(seen.pictures, names, spacing)
    return [
        figure(
            drawn,
            "An axial plane of a patch of each volume, which the encoder has learned from; the "
            "patch and what is hidden were drawn anew. Where the input was shown the target stands "
            "in the output. Outside the body most methods ask nothing of it.",
        )
    ]


def _neighbours(seen: Seen) -> list[Part]:
    drawn = neighbours_figure(seen.probe, seen.embedded)
    if drawn is None:
        return [text("All volumes looked at are of one patient.")]
    return [
        figure(
            drawn,
            "On the left a volume, to its right the nearest ones of other patients by cosine "
            "distance of their embeddings, each by an axial plane of the view that was embedded. "
            "Framed: another modality or body part.",
        )
    ]
