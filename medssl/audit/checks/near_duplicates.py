"""L3: no test scan looks like another patient's scan that was learned from."""

from __future__ import annotations

import pandas as pd

from medssl.audit.result import Check, Finding, Status
from medssl.audit.study_files import CASES, PRETRAIN, DamagedFile, StudyFiles
from medssl.audit.wording import counted, key, listed
from medssl.errors import StudyError
from medssl.leaks.corpus import thin_volumes
from medssl.leaks.near import NearPairs, find_near_looks
from medssl.leaks.rulings import RULINGS, Ruling, read_rulings

NEAR_BITS = 7
RULED = f"leaks/{RULINGS}"

_COLUMNS = ["volume_uid", "patient_key", "pixel_sha256", "perceptual_hash"]


def run(study: StudyFiles) -> Finding:
    cases = study.cases
    sources = [cases[cases["role"] == "dev"]]
    read = [CASES]
    if study.has(PRETRAIN):
        sources.append(study.pretrain)
        read.append(PRETRAIN)
    others = pd.concat([frame.reindex(columns=_COLUMNS, fill_value="") for frame in sources])
    others = others.drop_duplicates("volume_uid", ignore_index=True)
    test = cases[cases["role"] == "test"].reindex(columns=_COLUMNS, fill_value="")
    test = test.reset_index(drop=True)
    if study.brought.store is not None:
        thin = thin_volumes(study.brought.store)
        test, others = (f.assign(thin=f["volume_uid"].isin(thin)) for f in (test, others))
    rulings = _rulings(study)
    if rulings:
        read.append(RULED)
    evidence = [study.evidence(path) for path in read]
    same = [
        f"{_shown(test, others, ruling)}, by {ruling.by}"
        for ruling in rulings.values()
        if ruling.ruling == "same" and _concerns(test, others, ruling)
    ]
    if same:
        told = f"{counted(same, 'pair')} ruled to be the same: {listed(same)}"
        return Finding(Status.FAIL, told, evidence)
    found = find_near_looks(test, others)
    near = pd.concat([kind.pairs for kind in found], ignore_index=True)
    near = near[near["distance"] <= NEAR_BITS].drop_duplicates("pair")
    open_ones = near[~near["pair"].isin(rulings.keys())]
    if not found[0].compared:
        return Finding(Status.NOT_RUN, "no perceptual hashes to compare", evidence)
    ruled = len(near) - len(open_ones)
    reviewed = f"; {counted(ruled, 'pair')} ruled to be different" if ruled else ""
    if open_ones.empty:
        return Finding(Status.PASS, f"none in {_compared(found[0])}{reviewed}", evidence)
    pairs = [
        f"test {key(str(row.volume_uid_a))} and {key(str(row.volume_uid_b))}, "
        f"{row.distance:.0f} bits apart{' when mirrored' if row.mirror else ''}"
        for row in open_ones.itertuples()
    ]
    return Finding(
        Status.WARN,
        f"{counted(pairs, 'pair')} of two patients' scans to look at (medssl leaks search STUDY "
        f"--store STORE --out STUDY/leaks), of {_compared(found[0])}: {listed(pairs)}{reviewed}",
        evidence,
    )


def _rulings(study: StudyFiles) -> dict[str, Ruling]:
    try:
        return read_rulings(study.root / RULED)
    except StudyError as error:
        problem = str(error).removeprefix(str(study.root / RULED)).lstrip(":, ")
        raise DamagedFile(RULED, problem) from error


def _concerns(test: pd.DataFrame, others: pd.DataFrame, ruling: Ruling) -> bool:
    """Whether one of the two scans is tested on and the other learned from."""
    tested, learned = set(test["pixel_sha256"]), set(others["pixel_sha256"])
    first, second = ruling.pixels
    return (first in tested and second in learned) or (second in tested and first in learned)


def _shown(test: pd.DataFrame, others: pd.DataFrame, ruling: Ruling) -> str:
    of_test, of_other = (
        frame.loc[frame["pixel_sha256"].isin(ruling.pixels), "volume_uid"].iloc[0]
        for frame in (test, others)
    )
    return f"test {key(str(of_test))} and {key(str(of_other))}"


def _compared(found: NearPairs) -> str:
    told = counted(found.compared, "pair") + " of scans"
    if found.natural_pairs and found.natural_nearest == found.natural_nearest:
        told += (
            f", where 99.9 % of different patients differ in {found.threshold:.0f} of 256 bits or "
            "more"
        )
    if found.left_out:
        told += f"; {counted(found.left_out, 'volume')} too thin or without a hash not compared"
    return told


CHECK = Check(
    "L3",
    "no unreviewed near-duplicate beyond the 99.9th percentile of different-patient pairs",
    "WARN; ruled to be the same: FAIL",
    run,
)
