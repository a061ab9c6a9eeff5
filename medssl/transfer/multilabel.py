"""The multi-label task: several findings, each present or not."""

from __future__ import annotations

import pandas as pd

from medssl.errors import TrainingError
from medssl.models.config import ModelConfig
from medssl.store import Store
from medssl.transfer.config import FitConfig
from medssl.transfer.networks import network_of
from medssl.transfer.objectives import MultilabelObjective
from medssl.transfer.sources import NumberSource, Sampling
from medssl.transfer.task import WholeVolumeTask
from medssl.transfer.task_config import MultilabelTask
from medssl.volume import Array


class Multilabel(WholeVolumeTask):
    """A network with one logit for each label.

    Args:
        cases: volume_uid, patient_key, split, y_true/<label> (0, 1, NaN where not known).
        classes: the labels, in the order of the logits.

    Raises:
        ConfigError: the patch does not suit the network.
        TrainingError: the training part has one value of a label alone.
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
        assert isinstance(config.task, MultilabelTask)
        super().__init__(config, store)
        self.labels = classes
        self.truths = tuple(f"y_true/{label}" for label in classes)
        training = cases.loc[cases["split"] == "train", list(self.truths)]
        constant = [label for label, n in zip(classes, training.nunique(), strict=True) if n < 2]
        if constant:
            raise TrainingError(
                f"the training part does not have both values of {', '.join(constant)}; label "
                "more cases, change split.seed, or leave the label out of task.labels"
            )
        self.source = NumberSource(Sampling.of(config, store, cases, seed), self.truths)
        self.network = network_of(config.task, model, config.in_channels, classes, self.patch.size)
        self.objective = MultilabelObjective(self.network)

    def columns(self, outputs: Array) -> dict[str, float]:
        """logit/<label> of each label."""
        return {
            f"logit/{label}": float(value)
            for label, value in zip(self.labels, outputs, strict=True)
        }
