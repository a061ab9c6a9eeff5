"""The plan: what is decided, written, hashed and frozen before anything is trained."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from medssl import __version__
from medssl.efficiency import subsets
from medssl.efficiency.arms import arm_plan
from medssl.efficiency.canonical import canonical_json, sha256_bytes, sha256_file
from medssl.efficiency.cases import StudyCases, study_cases
from medssl.efficiency.cells import StudyPaths, cells_of_plan
from medssl.efficiency.config import StudyConfig
from medssl.efficiency.ledger import Ledger, read_ledger
from medssl.efficiency.power import power_of_study
from medssl.efficiency.pretrained import (
    Pretrained,
    open_question,
    read_pretrained,
    refuse_leak,
)
from medssl.efficiency.statistics import LEVEL
from medssl.engine.run_folder import RunFolder
from medssl.errors import ConfigError, StudyError
from medssl.progress import SILENT, Progress
from medssl.store import Store, open_store
from medssl.store.writer import write_atomically

SCHEMA = "medssl.plan/2"
STAGE = "study"


@dataclass(frozen=True)
class PlanResult:
    """Where the study is, its frozen plan, and whether an earlier call had frozen it."""

    study: Path
    plan: dict[str, Any]
    plan_sha256: str
    was_there: bool


@dataclass(frozen=True)
class Draft:
    """Everything that a plan consists of, before a byte of it is written."""

    plan: dict[str, Any]
    cases: StudyCases
    splits: pd.DataFrame
    pretrained: Pretrained | None


def plan_study(config: StudyConfig, out: Path, progress: Progress = SILENT) -> PlanResult:
    """Freeze the plan of a study in `out`, or find there that it is frozen.

    Raises:
        StudyError: the data do not allow the study, or pretraining saw a test patient.
        ConfigError: `out` holds a study of another configuration; the message names the keys.
    """
    paths = StudyPaths(out)
    draft = None if is_frozen(paths) else draft_plan(config, open_store(config.store))
    run = RunFolder.open(out, config, STAGE)
    try:
        with Ledger(paths.ledger) as ledger:
            if draft is not None:
                _write(draft, paths, ledger)
                key_id = draft.plan["data"]["key_id"]
                if draft.pretrained and (question := open_question(draft.pretrained, key_id)):
                    progress.say(question)
                progress.say(draft.plan["power"]["note"])
                progress.say(f"plan frozen: {len(cells_of_plan(draft.plan))} cells")
    finally:
        run.close()
    plan = read_plan(paths)
    return PlanResult(out, plan, sha256_file(paths.plan), draft is None)


def is_frozen(paths: StudyPaths) -> bool:
    """Whether the ledger says that the plan was frozen."""
    if not paths.ledger.is_file():
        return False
    return any(entry.event == "plan_frozen" for entry in read_ledger(paths.ledger))


def read_plan(paths: StudyPaths) -> dict[str, Any]:
    """The frozen plan.

    Raises:
        StudyError: it is missing or not what was frozen.
    """
    try:
        data = paths.plan.read_bytes()
        plan: dict[str, Any] = json.loads(data)
    except (OSError, ValueError) as error:
        raise StudyError(
            f"no plan at {paths.plan}; medssl label-efficiency plan makes it"
        ) from error
    frozen = [e.sha256 for e in read_ledger(paths.ledger) if e.event == "plan_frozen"]
    if sha256_bytes(data) not in frozen[-1:]:
        raise StudyError(
            f"{paths.plan} is not the plan that was frozen; restore it, or choose another --out"
        )
    return plan


def draft_plan(config: StudyConfig, store: Store) -> Draft:
    """What `plan_study` freezes; a function of the configuration, the store and the encoder.

    Raises:
        StudyError, StoreError, ConfigError, CheckpointError: as `plan_study`.
    """
    cases = study_cases(store, config)
    pretrained = read_pretrained(config.encoder) if config.encoder is not None else None
    if pretrained is not None:
        refuse_leak(pretrained, cases.frame, store.key_id)
    task = config.fit.task
    assert task.name in ("classification", "segmentation"), "StudyConfig refuses other tasks"
    cases_hash = subsets.cases_sha256(cases.frame)
    splits = subsets.draw_splits(cases.frame, task.name, config.draws, cases_hash)
    plan = {
        "schema": SCHEMA,
        "medssl": __version__,
        "task": {
            "kind": task.name,
            "label": task.label if task.name == "classification" else task.mask,
            "classes": list(cases.classes),
        },
        "data": _numbers(cases.frame, store.key_id, cases_hash),
        "test": _test_rule(config),
        "exclusions": cases.exclusions,
        "arms": {arm: arm_plan(arm, config, pretrained) for arm in config.arms},
        "fractions": list(config.fractions),
        "draws": config.draws,
        "subsets": _subset_table(config, splits, cases.frame),
        "validation": {
            "every": subsets.VALIDATION_EVERY,
            "least": subsets.LEAST_FOR_VALIDATION,
        },
        "search": {**config.search.model_dump(mode="json"), "settings": config.settings},
        "fit": _common_fit(config),
        "metric": config.metric,
        "margin": config.margin,
        "reference_fraction": config.reference_fraction,
        "claim": None if config.claim is None else config.claim.model_dump(mode="json"),
        "statistics": {
            "replicates": config.replicates,
            "seed": config.seed,
            "level": LEVEL,
        },
        "power": power_of_study(
            cases.frame, task.name, config.draws, (config.claim or config).margin, config.seed
        ),
    }
    return Draft(plan, cases, splits, pretrained)


def cell_seed(seed: int, draw: int) -> int:
    """The seed of a draw's cells, the same for all arms and fractions."""
    return int(hashlib.sha256(f"{seed}|{draw}".encode()).hexdigest()[:7], 16)


def _numbers(frame: pd.DataFrame, key_id: str, cases_hash: str) -> dict[str, Any]:
    numbers: dict[str, Any] = {
        "key_id": key_id,
        "cases_sha256": cases_hash,
        "cases": len(frame),
        "patients": int(frame["patient_key"].nunique()),
    }
    for role in ("test", "dev"):
        rows = frame[frame["role"] == role]
        numbers[f"{role}_cases"] = len(rows)
        numbers[f"{role}_patients"] = int(rows["patient_key"].nunique())
    return numbers


def _test_rule(config: StudyConfig) -> dict[str, Any]:
    if config.test is None:
        return {"rule": "split", "fraction": None, "seed": None, "label": None}
    return {"rule": "holdout", **config.test.model_dump(mode="json")}


def _subset_table(
    config: StudyConfig, splits: pd.DataFrame, frame: pd.DataFrame
) -> list[dict[str, Any]]:
    """The size and hash of every subset; all fractions that lack a class are refused together."""
    table, problems = [], []
    for fraction in config.fractions:
        for draw in range(config.draws):
            try:
                chosen = subsets.subset_of(splits, frame, fraction, draw)
            except StudyError as error:
                problems.append(str(error))
                break
            labelled = chosen[chosen["split"] != "test"]
            val = labelled[labelled["split"] == "val"]
            table.append(
                {
                    "fraction": fraction,
                    "draw": draw,
                    "patients": int(labelled["patient_key"].nunique()),
                    "cases": len(labelled),
                    "val_patients": int(val["patient_key"].nunique()),
                    "val_cases": len(val),
                    "sha256": subsets.subset_sha256(chosen),
                }
            )
    if problems:
        raise StudyError("; ".join(problems))
    return table


def _common_fit(config: StudyConfig) -> dict[str, Any]:
    """What every cell's training shares; which machine it runs on is not part of the plan."""
    from medssl.transfer.initial import resolve_model

    model = resolve_model(config.fit.model_copy(update={"init": config.encoder}))
    shared = config.fit.model_copy(update={"model": model})
    return {**shared.model_dump(mode="json", exclude={"init", "runtime"}), "seed": config.seed}


def _write(draft: Draft, paths: StudyPaths, ledger: Ledger) -> None:
    """Write the tables, then the plan, then freeze it. Killed in between, all is done again."""
    tables = {
        paths.cases: draft.cases.frame,
        paths.instances: draft.cases.instances,
        paths.splits: draft.splits,
    }
    if draft.pretrained is not None and draft.pretrained.volumes is not None:
        assert draft.pretrained.instances is not None
        tables[paths.pretrain] = draft.pretrained.volumes
        tables[paths.pretrain_instances] = draft.pretrained.instances
    for path, frame in tables.items():
        write_table(path, frame)
    written = [*tables, paths.config]
    if draft.pretrained is not None:
        text = canonical_json(draft.pretrained.as_record).decode()
        write_atomically(paths.pretraining, text)
        written.append(paths.pretraining)
    if draft.plan["claim"] is not None:
        write_atomically(paths.claim, yaml.safe_dump(draft.plan["claim"], sort_keys=False))
        written.append(paths.claim)
    for path in written:
        ledger.append("file_written", paths.relative(path), sha256_file(path))
    write_atomically(paths.plan, canonical_json(draft.plan).decode())
    ledger.append("plan_frozen", paths.relative(paths.plan), sha256_file(paths.plan))


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Write a Parquet file, replacing it whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        frame.to_parquet(partial, index=False)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def refuse_other_key(store: Store, plan: dict[str, Any]) -> None:
    """The store must be under the key that the study was planned with.

    Raises:
        StudyError: it has another key, so its volumes and patients have other names.
    """
    planned = plan["data"]["key_id"]
    if store.key_id != planned:
        raise StudyError(
            f"the study was planned on a store under key {planned}, {store.root} is under "
            f"{store.key_id} now; name the store that it was planned on, or choose another --out"
        )


def refuse_changed_encoder(config: StudyConfig, plan: dict[str, Any]) -> None:
    """The encoder on disk must be the one that was planned with.

    Raises:
        StudyError: its bytes differ.
    """
    planned = {arm["encoder"]["weights_sha256"] for arm in plan["arms"].values() if arm["encoder"]}
    if config.encoder is None or not planned:
        return
    if read_pretrained(config.encoder).sha256 not in planned:
        raise StudyError(
            f"the encoder in {config.encoder} is not the one that was planned with; restore it, or "
            "plan again in another --out"
        )


def check_config_is_planned(config: StudyConfig, paths: StudyPaths) -> None:
    """A configuration that differs from the frozen one is refused, naming the keys.

    Raises:
        ConfigError: it differs, or nothing is planned.
    """
    if not is_frozen(paths):
        raise ConfigError(
            f"nothing is planned in {paths.root}; first: medssl label-efficiency plan CONFIG --out "
            f"{paths.root}"
        )
    RunFolder.open(paths.root, config, STAGE).close()
