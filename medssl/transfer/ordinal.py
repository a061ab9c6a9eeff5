"""The ordinal task: classes that stand in an order."""

from __future__ import annotations

import pandas as pd

from medssl.models.config import ModelConfig
from medssl.store import Store
from medssl.transfer.cases import check_classes
from medssl.transfer.config import FitConfig
from medssl.transfer.networks import network_of
from medssl.transfer.objectives import OrdinalObjective
from medssl.transfer.ordinal_metrics import median_rank
from medssl.transfer.predictions import logit_columns
from medssl.transfer.sources import ClassificationSource, Sampling
from medssl.transfer.task import WholeVolumeTask
from medssl.transfer.task_config import OrdinalTask
from medssl.volume import Array


class Ordinal(WholeVolumeTask):
    """A classifier whose probabilities come from one score and thresholds on it.

    Args:
        cases: volume_uid, patient_key, split, y_true.
        classes: names of the classes from the lowest to the highest.

    Raises:
        ConfigError: the patch does not suit the network.
        TrainingError: a class has no case to train on.
    """

    def __init__(
        self,
        config: FitConfig,
        model: ModelConfig,
        store: Store,
        cases: pd.DataFrame,
        classes: tuple[str, ...],
        seed: int,
    ) -> None:
        assert isinstance(config.task, OrdinalTask)
        super().__init__(config, store)
        check_classes(cases, classes)
        self.source = ClassificationSource(Sampling.of(config, store, cases, seed), len(classes))
        self.network = network_of(config.task, model, config.in_channels, classes, self.patch.size)
        self.objective = OrdinalObjective(self.network)

    def columns(self, outputs: Array) -> dict[str, float]:
        """logit_0 … logit_{K-1}, and y_rank, the median: the first class not below half."""
        return {**logit_columns(outputs), "y_rank": float(median_rank(outputs))}
