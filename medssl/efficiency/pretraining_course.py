"""What a pretraining run's folder says of its cost, and of its health on the way."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from medssl.engine.health_alarms import judge, looks_of
from medssl.engine.run_folder import RunFolder

_NAMES = {"rank": "rankme"}


@dataclass(frozen=True)
class PretrainingCourse:
    """Of one run; None where it does not say.

    Attributes:
        alarms: names of the alarms that were raised.
        health: for each look {step, rankme, alignment, uniformity, …}; see
            `medssl.engine.health_figures`.
    """

    seconds: float | None
    peak_memory_bytes: int | None
    kwh: float | None
    alarms: list[str]
    health: list[dict[str, Any]]


def read_course(folder: Path) -> PretrainingCourse | None:
    """The course of a run; None where the folder is none, or not readable as one."""
    try:
        summary = json.loads((folder / "summary.json").read_text("utf-8"))
        config = yaml.safe_load((folder / "config.yaml").read_text("utf-8"))
        warmup, steps = int(config["optim"]["warmup_steps"]), int(config["steps"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return None
    rows = RunFolder(folder, "pretrain", None).read_metrics()
    raised = judge(rows, warmup, steps)
    health = []
    for row in looks_of(rows):
        figures = {
            _NAMES.get(name, name): value if math.isfinite(value) else None
            for full, value in row.items()
            if (name := full.removeprefix("health/")) != full
        }
        health.append({"step": int(row["step"]), **figures})
    return PretrainingCourse(
        _number(summary.get("seconds")),
        summary.get("peak_memory_bytes"),
        _number(summary.get("kwh")),
        [] if raised is None else [raised.alarm.name],
        health,
    )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
