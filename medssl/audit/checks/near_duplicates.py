"""L3: no test scan looks like another patient's scan that was learned from."""

from __future__ import annotations

import pandas as pd

from medssl.audit.near_duplicates import NearDuplicates, find_near_duplicates
from medssl.audit.result import Check, Finding, Status
from medssl.audit.study_files import CASES, PRETRAIN, StudyFiles
from medssl.audit.wording import counted, key, listed

_COLUMNS = ["volume_uid", "patient_key", "pixel_sha256", "perceptual_hash"]


def run(study: StudyFiles) -> Finding:
    cases = study.cases
    sources = [cases[cases["role"] == "dev"]]
    read = [CASES]
    if study.has(PRETRAIN):
        sources.append(study.pretrain)
        read.append(PRETRAIN)
    others = pd.concat([frame.reindex(columns=_COLUMNS, fill_value="") for frame in sources])
    test = cases[cases["role"] == "test"].reindex(columns=_COLUMNS, fill_value="")
    found = find_near_duplicates(test, others.reset_index(drop=True))
    evidence = [study.evidence(path) for path in read]
    if not found.compared:
        return Finding(Status.NOT_RUN, "no perceptual hashes to compare", evidence)
    if found.pairs.empty:
        return Finding(Status.PASS, f"none in {_compared(found)}", evidence)
    pairs = [
        f"test {key(test)} and {key(other)}, {bits} bits apart"
        for test, other, bits in found.pairs.itertuples(index=False)
    ]
    return Finding(
        Status.WARN,
        f"{counted(pairs, 'pair')} of two patients' scans to look at, of {_compared(found)}: "
        f"{listed(pairs)}",
        evidence,
    )


def _compared(found: NearDuplicates) -> str:
    told = counted(found.compared, "pair") + " of different patients"
    if found.natural_bits == found.natural_bits:
        told += f", 99.9 % of whom differ in {found.natural_bits:.0f} of 256 bits or more"
    if found.without_hash:
        told += f"; {counted(found.without_hash, 'volume')} without a hash not compared"
    return told


CHECK = Check(
    "L3",
    "no unreviewed near-duplicate beyond the 99.9th percentile of different-patient pairs",
    "WARN",
    run,
)
