"""S2: a label that chose the checkpoint is a label that was used."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean

from medssl.audit.result import Check, Finding, Status
from medssl.audit.study_files import ANALYSIS, CASES, PLAN, SPLITS, StudyFiles
from medssl.audit.wording import counted, listed


def run(study: StudyFiles) -> Finding:
    problems = [*_planned(study), *_validated(study), *_reported(study)]
    evidence = [study.evidence(path) for path in (PLAN, CASES, SPLITS, ANALYSIS)]
    if problems:
        return Finding(Status.FAIL, listed(problems), evidence)
    validated = sum(subset.val_cases > 0 for subset in study.plan.subsets)
    return Finding(
        Status.PASS,
        f"validation cases are among the labels of all {counted(study.plan.subsets, 'subset')}; "
        f"{validated} have a validation part",
        evidence,
    )


def _planned(study: StudyFiles) -> Iterable[str]:
    """The plan's sizes count training and validation together."""
    for planned in study.plan.subsets:
        subset = study.subset(planned.fraction, planned.draw)
        val = subset[subset["split"] == "val"]
        for what, found, stated in (
            ("cases", len(subset), planned.cases),
            ("patients", subset["patient_key"].nunique(), planned.patients),
            ("validation cases", len(val), planned.val_cases),
            ("validation patients", val["patient_key"].nunique(), planned.val_patients),
        ):
            if found != stated:
                yield (
                    f"plan, fraction {planned.fraction:g}, draw {planned.draw}: {stated} {what} "
                    f"stated, {found} with validation counted"
                )


def _validated(study: StudyFiles) -> Iterable[str]:
    """Every case that a cell validated on is in the validation part of its subset."""
    for cell in study.cells_there:
        predictions = study.predictions(cell)
        used = set(predictions.loc[predictions["split"] == "val", "volume_uid"])
        subset = study.subset(cell.fraction, cell.draw)
        counted_in = set(subset.loc[subset["split"] == "val", "volume_uid"])
        if outside := used - counted_in:
            yield f"cell {cell.name} validated on {counted(outside, 'case')} outside its budget"
        if lost := counted_in - used:
            yield f"cell {cell.name} has no prediction for {counted(lost, 'validation case')}"


def _reported(study: StudyFiles) -> Iterable[str]:
    """The numbers of labels in the analysis count training and validation together."""
    for cell in study.analysis.cells:
        subset = study.subset(cell.fraction, cell.draw)
        if cell.labels != len(subset) or cell.patients != subset["patient_key"].nunique():
            yield (
                f"{ANALYSIS}, cell {cell.cell}: {cell.labels} labels of {cell.patients} patients "
                f"reported, {len(subset)} of {subset['patient_key'].nunique()} used"
            )
    for point in study.analysis.curve:
        sizes = [len(study.subset(point.fraction, draw)) for draw in range(study.plan.draws)]
        if abs(point.labels - fmean(sizes)) > 1e-6:
            yield (
                f"{ANALYSIS}, curve of {point.arm} at {point.fraction:g}: {point.labels:g} labels "
                f"reported, {fmean(sizes):g} used"
            )


CHECK = Check("S2", "validation is counted in the label budget", "FAIL", run)
