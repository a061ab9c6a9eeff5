"""Learning curves as power laws: a second opinion on the label-savings factor.

The error falls with the number of labels as 1 - theta = a + b n^-c (Hestness et al. 2017,
arXiv:1712.00409; a is the error that no number of labels removes). The law only checks the factor
that isotonic regression gives: like that, it is not read beyond the measured range.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medssl.efficiency.censored import Censored, Reading, ratio
from medssl.efficiency.statistics import Floats

PARAMETERS = 3
_STEEPEST = 5.0
_FLAT = 1e-9


@dataclass(frozen=True)
class PowerLaw:
    """1 - theta = a + b n^-c, n being labelled cases; `rmse` over the fractions of the fit."""

    a: float
    b: float
    c: float
    rmse: float

    def value(self, labels: float) -> float:
        """The metric that the law gives with so many labels."""
        return float(1 - self.a - self.b * labels**-self.c)

    def labels_to_reach(self, target: float, least: float, most: float) -> Reading:
        """n = ((1 - target - a) / b)^(-1 / c), censored outside `least` to `most` labels."""
        if self.b < _FLAT or self.c < _FLAT:
            reached = self.value(least) >= target - _FLAT
            return Reading(least, Censored.AT_MOST) if reached else Reading(most, Censored.AT_LEAST)
        left = 1 - target - self.a
        labels = np.inf if left <= 0 else float((left / self.b) ** (-1 / self.c))
        if labels > most * (1 + _FLAT):
            return Reading(most, Censored.AT_LEAST)
        if labels < least * (1 + _FLAT):
            return Reading(least, Censored.AT_MOST)
        return Reading(labels, Censored.NONE)


@dataclass(frozen=True)
class PowerLawSavings:
    """The label-savings factor by two power laws, at the scratch law's value at `target`."""

    target: float
    value: float
    censored: Censored
    scratch: PowerLaw
    pretrained: PowerLaw


def fit_power_law(theta_F: Floats, labels_F: Floats, se_F: Floats | None = None) -> PowerLaw | None:
    """The law of least squares, with a in [0, 1], b >= 0, c in (0, 5]; `se_F` gives the weights.

    None with fewer than four fractions (three fit exactly and check nothing), with a gap, or where
    the fit does not converge. Labels are counted in units of their geometric mean while fitting, so
    that b and c hardly depend on each other.
    """
    from scipy.optimize import curve_fit

    error = 1 - np.asarray(theta_F, dtype=np.float64)
    if len(error) <= PARAMETERS or not np.isfinite(error).all():
        return None
    unit = float(np.exp(np.mean(np.log(labels_F))))
    n = np.asarray(labels_F, dtype=np.float64) / unit
    sigma = None if se_F is None or not (np.isfinite(se_F) & (se_F > 0)).all() else se_F
    floor = max(0.0, float(error.min()) - 0.5 * float(np.ptp(error)))
    best: tuple[float, Floats] | None = None
    # The surface has a long valley in c: a shallow and a steep start.
    for c in (0.3, 1.5):
        start = [min(floor, 0.99), max(float(np.median(error)) - floor, 1e-3), c]
        try:
            found, _ = curve_fit(
                _error,
                n,
                error,
                p0=start,
                sigma=sigma,
                bounds=([0.0, 0.0, 1e-3], [1.0, np.inf, _STEEPEST]),
                maxfev=5000,
            )
        except RuntimeError:
            continue
        scaled = (_error(n, *found) - error) / (1.0 if sigma is None else sigma)
        loss = float(np.square(scaled).sum())
        if best is None or loss < best[0]:
            best = loss, np.asarray(found)
    if best is None:
        return None
    a, b, c = (float(value) for value in best[1])
    rmse = float(np.sqrt(np.mean(np.square(_error(n, a, b, c) - error))))
    return PowerLaw(a, b * unit**c, c, rmse)


def power_law_savings(
    scratch_F: Floats,
    pretrained_F: Floats,
    labels_F: Floats,
    reference: int,
    se_scratch_F: Floats | None = None,
    se_pretrained_F: Floats | None = None,
) -> PowerLawSavings | None:
    """n_scratch(t) / n_pretrained(t) by the laws, t being scratch's law at `reference`.

    None where a law cannot be fitted.
    """
    scratch = fit_power_law(scratch_F, labels_F, se_scratch_F)
    pretrained = fit_power_law(pretrained_F, labels_F, se_pretrained_F)
    if scratch is None or pretrained is None:
        return None
    least, most = float(labels_F[0]), float(labels_F[-1])
    target = scratch.value(float(labels_F[reference]))
    n_scratch = scratch.labels_to_reach(target, least, most)
    factor = ratio(n_scratch, pretrained.labels_to_reach(target, least, most))
    return PowerLawSavings(target, factor.value, factor.censored, scratch, pretrained)


def _error(n: Floats, a: float, b: float, c: float) -> Floats:
    return np.asarray(a + b * n**-c)
