"""A fine-tuning with its search: what `medssl finetune` and each of its folds train."""

from __future__ import annotations

import pandas as pd

from medssl.engine.run_folder import RunFolder
from medssl.errors import TrainingError
from medssl.progress import Progress
from medssl.store import Store
from medssl.tracking import Tracker
from medssl.transfer.config import FinetuneConfig
from medssl.transfer.fit import Trained, train_and_choose
from medssl.transfer.tracked import TrackedTrials
from medssl.transfer.tuning import Tuned, told_of_trials, tune


def tuned_fit(
    config: FinetuneConfig,
    store: Store,
    cases: pd.DataFrame,
    run: RunFolder,
    tracker: Tracker,
    progress: Progress,
) -> Tuned[Trained]:
    """Train every setting of the search and choose by the validation part; the test part rests.

    Raises:
        TrainingError: a search without a validation part; or as
            `medssl.transfer.fit.train_and_choose`.
    """
    settings = config.settings
    if config.search is not None and not (cases["split"] == "val").any():
        raise TrainingError(
            "search: there is no validation part to choose by; leave it out, or let patients "
            "validate"
        )
    trials = TrackedTrials(tracker, len(settings) == 1, progress)
    try:
        tuned = tune(
            train_and_choose,
            config.alone,
            settings,
            store,
            cases,
            run,
            trials,
            progress,
            config.seed,
        )
    finally:
        trials.failed()
    for line in told_of_trials(tuned.trials, tuned.chosen, config.selection_metric):
        run.log(line)
        progress.say(line)
    return tuned
