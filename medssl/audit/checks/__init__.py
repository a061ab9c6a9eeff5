"""The checks of an audit, one file each; a new check is one file, one line here, one test."""

from __future__ import annotations

from medssl.audit.checks import (
    cells,
    claim,
    draws,
    grouping,
    labels,
    ledger,
    metrics,
    patients,
    plan,
    pretraining,
    subsets,
)
from medssl.audit.result import Check

CHECKS: tuple[Check, ...] = (
    ledger.CHECK,  # I1
    plan.CHECK,  # I2
    cells.CHECK,  # I3
    patients.CHECK,  # L1
    pretraining.CHECK,  # L2
    grouping.CHECK,  # L4
    subsets.CHECK,  # S1
    labels.CHECK,  # S2
    metrics.CHECK,  # M1
    draws.CHECK,  # C1
    claim.CHECK,  # C2
)
