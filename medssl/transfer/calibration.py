"""Temperature scaling: logits divided by one number, so that confidence is what it says.

Guo et al., On calibration of modern neural networks, 2017, section 4.2. The order of classes, and
so the accuracy, does not change.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from medssl.transfer.classification_metrics import (
    ece,
    num_classes,
    targets_and_logits,
)
from medssl.transfer.weighted import Floats, Ints

LEAST, MOST = 0.05, 20.0


@dataclass(frozen=True)
class Calibration:
    """What scaling changed.

    Attributes:
        temperature: the logits were divided by it.
        nll_before, nll_after: mean negative log-likelihood of the validation part, that it was
            fitted on.
        ece_before, ece_after: expected calibration error of the test part.
    """

    temperature: float
    nll_before: float
    nll_after: float
    ece_before: float
    ece_after: float

    def as_dict(self) -> dict[str, float]:
        """For a summary."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"temperature {self.temperature:.3f}, fitted on validation; ECE of the test part "
            f"{self.ece_before:.3f} before, {self.ece_after:.3f} after"
        )


def fitted_temperature(predictions: pd.DataFrame) -> float:
    """The temperature with the least negative log-likelihood, between 0.05 and 20.

    The likelihood is concave in 1 / temperature, so there is one. Where every case is right by a
    margin it lies at the lower bound.

    Args:
        predictions: of the validation part, with y_true and logits.
    """
    y, logits = targets_and_logits(predictions)
    found = minimize_scalar(
        lambda log_t: _nll(y, logits / math.exp(log_t)),
        bounds=(math.log(LEAST), math.log(MOST)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(math.exp(found.x))


def scaled(predictions: pd.DataFrame, temperature: float | pd.Series[float]) -> pd.DataFrame:
    """The predictions with every logit divided by the temperature, one or one a row."""
    columns = [f"logit_{c}" for c in range(num_classes(predictions))]
    return predictions.assign(**{name: predictions[name] / temperature for name in columns})


def calibration(predictions: pd.DataFrame, temperature: float) -> Calibration:
    """What the temperature changes; `predictions` are of both parts, not yet scaled."""
    val, test = (predictions[predictions["split"] == part] for part in ("val", "test"))
    y, logits = targets_and_logits(val)
    return Calibration(
        temperature,
        _nll(y, logits),
        _nll(y, logits / temperature),
        ece(test),
        ece(scaled(test, temperature)),
    )


def _nll(y: Ints, logits_NK: Floats) -> float:
    return float(-log_softmax(logits_NK, axis=1)[np.arange(len(y)), y].mean())
