"""Numbers of which only a bound may be known, for they lie outside what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Censored(StrEnum):
    """What is known of a quantity whose crossing may lie outside the measured range."""

    NONE = "none"
    AT_LEAST = "at_least"
    AT_MOST = "at_most"
    UNDEFINED = "undefined"


@dataclass(frozen=True)
class Reading:
    """A number and what is known of it; `labels` at the end of the range where it is censored."""

    value: float
    censored: Censored


def ratio(numerator: Reading, denominator: Reading) -> Reading:
    """The quotient of two numbers that may each be censored; UNDEFINED where they pull apart."""
    bounds = {numerator.censored, _inverse(denominator.censored)} - {Censored.NONE}
    known = Censored.NONE if not bounds else Censored.UNDEFINED
    if len(bounds) == 1:
        known = bounds.pop()
    return Reading(numerator.value / denominator.value, known)


def _inverse(censored: Censored) -> Censored:
    return {
        Censored.AT_LEAST: Censored.AT_MOST,
        Censored.AT_MOST: Censored.AT_LEAST,
    }.get(censored, censored)
