"""The checks of an audit, one file each; a new check is one file, one line here, one test."""

from __future__ import annotations

from medssl.audit.checks import (
    baseline,
    budget,
    calibration,
    cells,
    claim,
    collapse,
    draws,
    fitted,
    grouping,
    images,
    labels,
    ledger,
    looks,
    masks,
    metrics,
    near_duplicates,
    patients,
    permuted,
    plan,
    pretraining,
    provenance,
    rerun,
    savings,
    subgroups,
    subsets,
)
from medssl.audit.result import Check

CHECKS: tuple[Check, ...] = (
    ledger.CHECK,  # I1
    plan.CHECK,  # I2
    cells.CHECK,  # I3
    provenance.CHECK,  # I4
    patients.CHECK,  # L1
    pretraining.CHECK,  # L2
    near_duplicates.CHECK,  # L3
    grouping.CHECK,  # L4
    fitted.CHECK,  # L5
    permuted.CHECK,  # L6
    images.CHECK,  # L7
    subsets.CHECK,  # S1
    labels.CHECK,  # S2
    budget.CHECK,  # B1
    baseline.CHECK,  # B2
    looks.CHECK,  # B3
    metrics.CHECK,  # M1
    masks.CHECK,  # M2
    rerun.CHECK,  # R1
    draws.CHECK,  # C1
    claim.CHECK,  # C2
    savings.CHECK,  # C3
    subgroups.CHECK,  # F1
    calibration.CHECK,  # K1
    collapse.CHECK,  # H1
)
