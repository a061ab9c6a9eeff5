"""The regression task: one number for each volume."""

from __future__ import annotations

import numpy as np
import pandas as pd

from medssl.errors import TrainingError
from medssl.models.config import ModelConfig
from medssl.store import Store
from medssl.transfer.config import FitConfig
from medssl.transfer.networks import network_of
from medssl.transfer.objectives import RegressionObjective
from medssl.transfer.sources import NumberSource, Sampling
from medssl.transfer.task import WholeVolumeTask
from medssl.transfer.task_config import RegressionTask
from medssl.volume import Array


class Regression(WholeVolumeTask):
    """A network whose output is the label, standardised by the training part.

    Mean and standard deviation (the population's) of the training cases stand in the weights'
    metadata as target_mean and target_std: label = output * target_std + target_mean.

    Args:
        cases: volume_uid, patient_key, split, y_true in the label's units.
        classes: none.

    Raises:
        ConfigError: the patch does not suit the network.
        TrainingError: all training cases have one value.
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
        assert isinstance(config.task, RegressionTask)
        super().__init__(config, store)
        values = cases.loc[cases["split"] == "train", "y_true"].to_numpy(np.float64)
        if np.ptp(values) == 0:
            raise TrainingError(
                f"all {len(values)} training cases have one value of {config.task.label}; label "
                "more cases, or change split.seed"
            )
        self.mean, self.std = float(values.mean()), float(values.std())
        self.source = NumberSource(Sampling.of(config, store, cases, seed), ["y_true"])
        self.network = network_of(config.task, model, config.in_channels, classes, self.patch.size)
        self.objective = RegressionObjective(self.network, self.mean, self.std, config.task.loss)

    def metadata(self) -> dict[str, str]:
        """target_mean and target_std, in the label's units."""
        return {"target_mean": repr(self.mean), "target_std": repr(self.std)}

    def columns(self, outputs: Array) -> dict[str, float]:
        """y_pred, in the label's units."""
        return {"y_pred": float(outputs[0]) * self.std + self.mean}
