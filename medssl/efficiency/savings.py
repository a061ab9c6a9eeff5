"""How many times fewer labels: the label-savings factor, and when it can only be bounded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medssl.efficiency.censored import Censored as Censored
from medssl.efficiency.censored import Reading as Reading
from medssl.efficiency.censored import ratio
from medssl.efficiency.power_law import PowerLawSavings, power_law_savings
from medssl.efficiency.statistics import LEVEL, Floats, percentiles, standard_error


@dataclass(frozen=True)
class Savings:
    """The label-savings factor at `target`; lo 0 or hi infinite: no bound.

    `power_law` is the same factor by fitted power laws, None where those cannot be fitted.
    """

    target: float
    value: float
    censored: Censored
    lo: float
    hi: float
    scratch_labels: float
    pretrained_labels: float
    power_law: PowerLawSavings | None = None

    @property
    def agreement(self) -> float | None:
        """How far isotonic regression and power law are apart: the larger factor over the smaller.

        None where either is censored or the law cannot be fitted.
        """
        law = self.power_law
        if law is None or {self.censored, law.censored} != {Censored.NONE}:
            return None
        return max(self.value / law.value, law.value / self.value)


def monotone(theta_F: Floats) -> Floats:
    """The nearest curve, in least squares, that never falls: isotonic regression, equal weights."""
    from sklearn.isotonic import isotonic_regression

    return np.asarray(isotonic_regression(np.asarray(theta_F, dtype=np.float64)))


def labels_to_reach(monotone_F: Floats, labels_F: Floats, target: float) -> Reading:
    """The fewest labels with which a monotone curve reaches `target`, linear in log2(labels).

    Outside the measured range nothing is extrapolated: at the smallest number of labels the answer
    is "at most" that many, above the curve's highest value "at least" the largest number.
    """
    tolerance = 1e-12
    if target <= monotone_F[0] + tolerance:
        return Reading(float(labels_F[0]), Censored.AT_MOST)
    if target > monotone_F[-1] + tolerance:
        return Reading(float(labels_F[-1]), Censored.AT_LEAST)
    k = int(np.argmax(monotone_F >= target - tolerance))
    x = np.log2(labels_F)
    share = (target - monotone_F[k - 1]) / (monotone_F[k] - monotone_F[k - 1])
    return Reading(float(2.0 ** (x[k - 1] + min(share, 1.0) * (x[k] - x[k - 1]))), Censored.NONE)


def savings_at(
    scratch_F: Floats, pretrained_F: Floats, labels_F: Floats, reference: int
) -> tuple[Reading, float, Reading, Reading]:
    """LSF = n_scratch(t) / n_pretrained(t) at t, the scratch curve's value at `reference`.

    Both curves are made monotone first. Returns the factor, t, and the two numbers of labels.
    """
    scratch, pretrained = monotone(scratch_F), monotone(pretrained_F)
    target = float(scratch[reference])
    n_scratch = labels_to_reach(scratch, labels_F, target)
    n_pretrained = labels_to_reach(pretrained, labels_F, target)
    return ratio(n_scratch, n_pretrained), target, n_scratch, n_pretrained


def label_savings(
    scratch_F: Floats,
    pretrained_F: Floats,
    replicates_scratch_FB: Floats,
    replicates_pretrained_FB: Floats,
    labels_F: Floats,
    reference: int,
    level: float = LEVEL,
) -> Savings:
    """The factor with its interval, and by power laws weighted by the bootstrap's standard errors.

    A replicate that can only say "at most" counts as 0 in the lower bound, and one that can only
    say "at least" as infinite in the upper: the interval never claims more than was measured.
    """
    factor, target, n_scratch, n_pretrained = savings_at(
        scratch_F, pretrained_F, labels_F, reference
    )
    low, high = [], []
    for scratch, pretrained in zip(
        replicates_scratch_FB.T, replicates_pretrained_FB.T, strict=True
    ):
        if not (np.isfinite(scratch).all() and np.isfinite(pretrained).all()):
            continue
        reading = savings_at(scratch, pretrained, labels_F, reference)[0]
        below = reading.censored in (Censored.AT_MOST, Censored.UNDEFINED)
        above = reading.censored in (Censored.AT_LEAST, Censored.UNDEFINED)
        low.append(0.0 if below else reading.value)
        high.append(float("inf") if above else reading.value)
    return Savings(
        target=target,
        value=factor.value,
        censored=factor.censored,
        lo=percentiles(np.asarray(low), level)[0],
        hi=percentiles(np.asarray(high), level)[1],
        scratch_labels=n_scratch.value,
        pretrained_labels=n_pretrained.value,
        power_law=power_law_savings(
            scratch_F,
            pretrained_F,
            labels_F,
            reference,
            np.array([standard_error(of_fraction) for of_fraction in replicates_scratch_FB]),
            np.array([standard_error(of_fraction) for of_fraction in replicates_pretrained_FB]),
        ),
    )
