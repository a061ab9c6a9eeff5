"""How the pages of a study write names, numbers and intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pandas as pd

ARMS = {
    "scratch": "from scratch",
    "ssl_ft": "pretrained",
    "ssl_linear": "pretrained, linear probe",
    "ssl_knn": "pretrained, kNN probe",
    "random_linear": "untrained, linear probe",
    "scratch_2x": "from scratch, twice the steps",
    "permuted_labels": "from scratch, labels permuted",
}
METRICS = {
    "auc_macro": "AUC on the test set",
    "dice_mean": "mean Dice on the test set",
    "brier": "Brier score",
    "ece": "calibration error (adaptive ECE)",
}


def arm_name(arm: str) -> str:
    """An arm in words; one that is not known keeps its name."""
    return ARMS.get(arm, arm)


def in_order(arms: Iterable[str]) -> list[str]:
    """Each arm once, in the order in which pages tell of them; files sort them by name."""
    known = list(ARMS)
    return sorted(
        dict.fromkeys(arms), key=lambda a: (a not in known, a in known and known.index(a))
    )


def percent(share: float) -> str:
    """A share such as "7.5 %", with a space that does not break."""
    return f"{100 * share:.4g}\u00a0%"


def number(value: float | None) -> str:
    """Three decimals and a true minus; a dash where there is none."""
    return "–" if value is None else f"{value:.3f}".replace("-", "−")


def signed(value: float | None) -> str:
    """A difference, with its sign."""
    return "–" if value is None else f"{value:+.3f}".replace("-", "−")


def interval(
    bounds: Mapping[str, Any],
    show: Callable[[float | None], str] = number,
    keys: tuple[str, str] = ("lo", "hi"),
) -> str:
    """Both ends of an interval; a dash where they are not known."""
    low, high = (bounds[key] for key in keys)
    return "–" if low is None and high is None else f"{show(low)} to {show(high)}"


def spread_of(values: pd.Series[Any]) -> str:
    """The smallest to the largest of whole numbers."""
    low, high = int(values.min()), int(values.max())
    return f"{low}" if low == high else f"{low} to {high}"


def memory(size_bytes: float | None) -> str:
    """Bytes in GiB or MiB."""
    if size_bytes is None:
        return "–"
    return (
        f"{size_bytes / 2**30:.1f} GiB" if size_bytes >= 2**30 else f"{size_bytes / 2**20:.0f} MiB"
    )


def energy(kwh: float | None) -> str:
    """Kilowatt-hours; a dash where nothing was measured."""
    return "–" if kwh is None else f"{kwh:.3g} kWh"
