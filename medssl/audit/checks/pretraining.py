"""L2: the encoder saw nothing of the test set."""

from __future__ import annotations

from collections.abc import Iterable

from medssl.audit.records import EncoderRecord
from medssl.audit.result import Check, Finding, Status
from medssl.audit.study_files import (
    CASES,
    INSTANCES,
    LEDGER,
    PLAN,
    PRETRAIN,
    PRETRAIN_INSTANCES,
    StudyFiles,
)
from medssl.audit.wording import counted, key, listed


def run(study: StudyFiles) -> Finding:
    arms = {name: arm for name, arm in study.plan.arms.items() if arm.init == "encoder"}
    evidence = [study.evidence(path) for path in (PLAN, CASES, INSTANCES)]
    if not arms:
        return Finding(Status.PASS, "no arm starts from a pretrained encoder", evidence)
    if not study.has(PRETRAIN):
        return Finding(
            Status.INCONCLUSIVE,
            f"no {PRETRAIN}: what the encoder saw is not known",
            evidence,
        )
    evidence += [study.evidence(path) for path in (PRETRAIN, PRETRAIN_INSTANCES)]
    problems = [*_shared(study), *_another_encoder(study)]
    if problems:
        return Finding(Status.FAIL, listed(problems), evidence)
    open_questions = list(_open_questions(study, [arm.encoder for arm in arms.values()]))
    if open_questions:
        return Finding(Status.INCONCLUSIVE, listed(open_questions), evidence)
    test = study.cases[study.cases["role"] == "test"]
    return Finding(
        Status.PASS,
        f"{counted(study.pretrain, 'pretraining volume')} and {counted(test, 'test case')} share "
        "no patient, series, source object, file or voxels",
        evidence,
    )


def _shared(study: StudyFiles) -> Iterable[str]:
    """What pretraining and test set have in common, by each key and hash."""
    test = study.cases[study.cases["role"] == "test"]
    seen = study.pretrain
    sources = study.instances[study.instances["volume_uid"].isin(test["volume_uid"])]
    pairs: list[tuple[str, Iterable[str], Iterable[str]]] = [
        ("patient", test["patient_key"], seen["patient_key"]),
        ("series", test["series_key"], seen["series_key"]),
        ("volume", test["volume_uid"], seen["volume_uid"]),
        ("voxel hash", test["pixel_sha256"], seen["pixel_sha256"]),
    ]
    if study.has(PRETRAIN_INSTANCES):
        seen_sources = study.pretrain_instances
        files = [*sources["file_sha256"], *test["file_sha256"]]
        pairs += [
            ("source object", sources["instance_key"], seen_sources["instance_key"]),
            ("file hash", files, seen_sources["file_sha256"]),
        ]
    for what, ours, theirs in pairs:
        if shared := sorted((set(ours) & set(theirs)) - {""}):
            yield (
                f"{counted(shared, what)} of the test set seen in pretraining "
                f"({listed(map(key, shared), ', ')})"
            )


def _another_encoder(study: StudyFiles) -> Iterable[str]:
    """Signs that the manifest is not that of the weights the cells started from."""
    for name, arm in study.plan.arms.items():
        if arm.encoder is not None and arm.encoder.volumes != len(study.pretrain):
            yield (
                f"arm {name}'s encoder saw {arm.encoder.volumes} volumes, {PRETRAIN} lists "
                f"{len(study.pretrain)}"
            )
    for entry in study.ledger:
        planned = study.plan.arms.get(str(entry.facts.get("arm")))
        if entry.event != "training_started" or planned is None:
            continue
        weights = planned.encoder.weights_sha256 if planned.encoder else None
        if entry.facts.get("init_sha256") != weights:
            yield (
                f"{LEDGER} line {entry.seq}: cell {entry.facts.get('cell')} did not start from "
                "the weights that the plan names"
            )


def _open_questions(study: StudyFiles, encoders: list[EncoderRecord | None]) -> Iterable[str]:
    """Why a manifest that shares nothing with the test set still proves nothing."""
    ours = study.plan.data.key_id
    for encoder in encoders:
        if encoder is None:
            yield "the plan does not say which encoder an arm starts from"
        elif not encoder.store_key_id:
            yield "the encoder does not name the key under which its patients were coded"
        elif encoder.store_key_id != ours:
            yield (
                f"the encoder's patients were coded under key {encoder.store_key_id}, the study's "
                f"under {ours}: patients and series cannot be compared"
            )
    if not study.has(PRETRAIN_INSTANCES):
        yield f"no {PRETRAIN_INSTANCES}: source objects and files cannot be compared"


CHECK = Check(
    "L2",
    "pretraining and test set share no patient, series, SOP instance, file hash or pixel hash",
    "FAIL; no pretraining manifest, or keys of another key id: INCONCLUSIVE",
    run,
)
