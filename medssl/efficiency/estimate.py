"""What a study will cost, from a few steps of the real network."""

from __future__ import annotations

import statistics
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from medssl.efficiency.arms import fit_of_arm
from medssl.efficiency.cell import settings_of, steps_of
from medssl.efficiency.cells import cells_of_plan
from medssl.efficiency.config import StudyConfig
from medssl.efficiency.study import threads_of
from medssl.engine.seeding import seed_weights
from medssl.engine.trial import Built, try_out
from medssl.errors import StudyError
from medssl.store import open_store
from medssl.transfer.cases import labelled_cases
from medssl.transfer.config import FitConfig

_FORWARD = 0.5
"""Of a step's time, for a batch that is only looked at: nothing goes back, or is drawn ahead."""


@dataclass(frozen=True)
class CostEstimate:
    """What is to be trained, and how long that takes at the pace of the first steps.

    Attributes:
        step_s: seconds of a step where `workers` processes share the cores.
        seconds: of the whole grid.
    """

    cells: int
    trials: int
    steps: int
    looks: int
    workers: int
    step_s: float
    seconds: float

    def lines(self) -> list[str]:
        """For the reader."""
        crew = "1 worker" if self.workers == 1 else f"{self.workers} workers"
        return [
            f"{self.cells} cells, {self.trials} trainings, {self.steps:,} steps of "
            f"{self.step_s:.3g} s: about {duration(self.seconds)} with {crew}"
        ]


def estimate_cost(config: StudyConfig, plan: dict[str, Any], workers: int = 1) -> CostEstimate:
    """Time a few steps of a training from scratch, and count what the plan asks for.

    Predictions of validation and test cases, and embeddings for probes, are counted as half a step
    for each batch; none is made. Nothing of the study's own folder is touched.

    Raises:
        StudyError: the first steps fail; the message says why.
    """
    fit = config.fit.model_copy(
        update={"runtime": config.fit.runtime.model_copy(update=_threads(config.fit, workers))}
    )
    fit = FitConfig.model_validate(fit.model_dump() | {"model": plan["fit"]["model"]})
    dev = plan["data"]["dev_cases"]
    step_s = _seconds_a_step(config, fit, workers)
    cells = cells_of_plan(plan)
    subsets = {(s["fraction"], s["draw"]): s for s in plan["subsets"]}
    trials = looked = 0
    for cell in cells:
        subset, arm = subsets[cell.fraction, cell.draw], plan["arms"][cell.arm]
        own = len(settings_of(plan, cell))
        every = fit_of_arm(arm, fit, config.encoder).validate_every
        validations = own * (arm["steps"] // every + 2) if arm["steps"] else 1
        trials += own
        looked += plan["data"]["test_cases"] + validations * subset["val_cases"]
        if not arm["steps"]:
            looked += subset["cases"]
        looked += 2 * min(64, dev)  # the probe set
    steps = sum(steps_of(plan, cell) for cell in cells)
    batches = looked / fit.batch_size
    seconds = (steps + _FORWARD * batches) * step_s / workers
    return CostEstimate(len(cells), trials, steps, looked, workers, step_s, seconds)


def duration(seconds: float) -> str:
    """Seconds, minutes, or hours with minutes, as a reader wants them."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _seconds_a_step(config: StudyConfig, fit: FitConfig, workers: int) -> float:
    """Where as many processes train at the same time as are going to."""
    with ThreadPoolExecutor(workers) as pool:
        trials = list(pool.map(lambda _: try_out(partial(_built, config, fit)), range(workers)))
    problems = [trial.problem for trial in trials if trial.problem is not None]
    if problems:
        raise StudyError(f"the first steps of a cell fail: {problems[0]}")
    return statistics.mean(trial.step_s for trial in trials)


def _threads(fit: FitConfig, workers: int) -> dict[str, int]:
    if fit.runtime.threads is not None or workers == 1:
        return {}
    return {"threads": threads_of(workers)}


def _built(config: StudyConfig, fit: FitConfig) -> Built:
    """The training of the whole development part, from scratch."""
    from medssl.efficiency.cases import study_cases
    from medssl.transfer.fit import TASKS

    store = open_store(config.store)
    frame = study_cases(store, config).frame
    cases = frame[["volume_uid", "patient_key", "y_true"]].assign(
        split=["train" if role == "dev" else "test" for role in frame["role"]]
    )
    assert fit.model is not None, "the plan names the network"
    classes = labelled_cases(store, fit.task).classes
    seed_weights(0)
    task = TASKS[fit.task.name](fit, fit.model, store, cases, classes, 0)
    return task.objective, task.source, fit.optim, fit.runtime
