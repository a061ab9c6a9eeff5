"""What an auditor brings along to a study's folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medssl.efficiency.config import ClaimConfig
from medssl.store import Store


@dataclass(frozen=True)
class Brought:
    """All of it is optional: what is not there is not checked, and the audit says so.

    Attributes:
        expect_root: the ledger's root as known by another road.
        claim: the claim to judge in place of the plan's.
        store: the store with the study's volumes, for checks that look at voxels.
        encoder: the pretraining run of the study's encoder, for running cells again.
        rerun: whether cells are run again.
    """

    expect_root: str | None = None
    claim: ClaimConfig | None = None
    store: Store | None = None
    encoder: Path | None = None
    rerun: bool = False


NOTHING = Brought()
