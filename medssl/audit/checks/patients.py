"""L1: no patient is on two sides."""

from __future__ import annotations

from collections.abc import Iterable

from medssl.audit.result import Check, Finding, Status
from medssl.audit.study_files import CASES, INSTANCES, SPLITS, StudyFiles
from medssl.audit.wording import counted, key, listed


def run(study: StudyFiles) -> Finding:
    problems = [*_by_role(study), *_by_scan(study), *_by_cell(study)]
    evidence = [study.evidence(path) for path in (CASES, INSTANCES, SPLITS)]
    if problems:
        return Finding(Status.FAIL, listed(problems), evidence)
    roles = study.cases.groupby("role")["patient_key"].nunique()
    return Finding(
        Status.PASS,
        f"{counted(int(roles.get('test', 0)), 'test patient')} apart from "
        f"{counted(int(roles.get('dev', 0)), 'development patient')}, and train, validation and "
        f"test apart in {counted(study.cells_there, 'cell')}",
        evidence,
    )


def _by_role(study: StudyFiles) -> Iterable[str]:
    """Patients who are test and development at once, in the cases or in the splits."""
    for path, frame in ((CASES, study.cases), (SPLITS, study.splits)):
        test = set(frame.loc[frame["role"] == "test", "patient_key"])
        dev = set(frame.loc[frame["role"] == "dev", "patient_key"])
        if shared := sorted(test & dev):
            yield (
                f"{path}: {counted(shared, 'patient')} both in the test set and in development "
                f"({listed(map(key, shared), ', ')})"
            )
        if not test:
            yield f"{path}: there is no test patient"
    roles = study.splits.drop_duplicates("patient_key").set_index("patient_key")["role"]
    told = study.cases["patient_key"].map(roles)
    moved = study.cases.loc[told != study.cases["role"], "patient_key"]
    if len(moved):
        yield f"{CASES} and {SPLITS} disagree on the role of {listed(map(key, moved), ', ')}"


def _by_scan(study: StudyFiles) -> Iterable[str]:
    """One scan under two patients' keys: the same series, source object, file or voxels."""
    cases = study.cases
    roles = cases["role"].to_dict()
    sources = study.instances.assign(role=study.instances["volume_uid"].map(roles))
    for frame, column, what in (
        (cases, "series_key", "series"),
        (cases, "file_sha256", "file"),
        (cases, "pixel_sha256", "pixels"),
        (sources, "instance_key", "source object"),
        (sources, "file_sha256", "source file"),
    ):
        test, dev = (set(frame.loc[frame["role"] == role, column]) for role in ("test", "dev"))
        if shared := sorted((test & dev) - {""}):
            yield (
                f"{counted(shared, 'scan')} with the same {what} in the test set and in "
                f"development ({listed(map(key, shared), ', ')})"
            )


def _by_cell(study: StudyFiles) -> Iterable[str]:
    """Patients on two sides of one cell, by the patient that predictions and cases name."""
    owner = study.cases["patient_key"].to_dict()
    for cell in study.cells_there:
        predictions = study.predictions(cell)
        labelled = study.subset(cell.fraction, cell.draw)
        sides = {
            "train": set(labelled.loc[labelled["split"] == "train", "patient_key"]),
            "val": set(labelled.loc[labelled["split"] == "val", "patient_key"]),
            "test": set(),
        }
        for uid, patient, split in zip(
            predictions["volume_uid"],
            predictions["patient_key"],
            predictions["split"],
            strict=True,
        ):
            sides[split] |= {patient, owner.get(uid, patient)}
        for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
            if shared := sorted(sides[one] & sides[other]):
                yield (
                    f"cell {cell.name}: {counted(shared, 'patient')} both in {one} and {other} "
                    f"({listed(map(key, shared), ', ')})"
                )


CHECK = Check("L1", "no patient in two of train, validation, test", "FAIL", run)
