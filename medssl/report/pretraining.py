"""The page of a pretraining run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from medssl.report.figures import loss_curve
from medssl.report.page import Section, code, figure, figure_png, table, text, write_page


def write_pretraining_report(folder: Path, config: dict[str, Any], volumes: int) -> Path:
    """Write report.html and loss.png to the run's folder; returns the page's path.

    Args:
        config: the run's configuration as plain values.
        volumes: how many volumes the encoder learned from.
    """
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    png = figure_png(loss_curve(rows, ["train/loss"]))
    (folder / "loss.png").write_bytes(png)
    last = rows[-1]
    figures = [(name, value) for name, value in last.items() if name.startswith("train/")]
    name = config["method"]["name"]
    return write_page(
        folder / "report.html",
        f"Pretraining: {name}",
        f"{volumes} volumes, {config['steps']} steps of {config['batch_size']}.",
        [
            Section(
                "Loss",
                [
                    figure(png, "Mean training loss between two lines of the log, by step."),
                    text(
                        "A falling loss shows that the task is being learned, not that the "
                        "encoder serves a diagnosis: fine-tune it and compare with training from "
                        "scratch."
                    ),
                ],
            ),
            Section("Last step", [table(["figure", "value"], figures)]),
            Section("Configuration", [code(yaml.safe_dump(config, sort_keys=False))]),
        ],
    )
