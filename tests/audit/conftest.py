"""A whole study without training: planned, run and analysed by medssl, its logits simulated."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medssl.audit.audit import audit
from medssl.audit.result import AuditResult, Check, Finding
from medssl.audit.study_files import StudyFiles
from medssl.config import parse_config
from medssl.efficiency.canonical import canonical_json, sha256_file, sha256_json
from medssl.efficiency.config import StudyConfig
from medssl.efficiency.ledger import START, Entry
from medssl.efficiency.publish import analyse_study
from medssl.efficiency.study import run_study
from medssl.engine.loop import TrainOutcome
from medssl.engine.population import POPULATION_COLUMNS
from medssl.models.config import SegResNetConfig
from medssl.store.writer import create_store, write_part

Build = Callable[..., Path]
MODEL = SegResNetConfig(init_filters=4, blocks_down=(1, 1))
CLAIM = {
    "arm": "ssl_ft",
    "frac": 0.25,
    "versus": "scratch",
    "vs_frac": 1.0,
    "metric": "auc_macro",
    "margin": 0.02,
    "min_lsf": 2,
}


def _hash(text: str, digits: int = 64) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:digits]


def _store(root: Path, patients: int, kind: str) -> Path:
    """Manifest, labels and instances without voxels; every third patient has two volumes.

    Labels are a class of each volume, or what a mask of it would hold.
    """
    create_store(root, "key-1", {})
    manifest, labels, instances = [], [], []
    for number in range(patients):
        for scan in range(1 + (number % 3 == 0)):
            uid = _hash(f"volume {number} {scan}", 32)
            patient = _hash(f"patient {number}", 32)
            manifest.append(
                {
                    "volume_uid": uid,
                    "patient_key": patient,
                    "series_key": _hash(f"series {uid}", 32),
                    "study_key": _hash(f"study {uid}", 32),
                    "group_quality": "patient",
                    "modality": "CT",
                    "pixel_sha256": _hash(f"pixels {uid}"),
                    "perceptual_hash": _hash(f"looks {uid}", 16),
                }
            )
            labels.append(
                {
                    "volume_uid": uid,
                    "patient_key": patient,
                    "name": "malignant" if kind == "class" else "mask",
                    "kind": kind,
                    "value": str(int(number % 5 < 2)) if kind == "class" else "0,1,2",
                    "path": "" if kind == "class" else "labels/none.b2nd",
                }
            )
            instances.append(
                {
                    "volume_uid": uid,
                    "instance_key": _hash(f"instance {uid}", 32),
                    "file_sha256": _hash(f"file {uid}"),
                }
            )
    write_part(root, "manifest", "00000", manifest)
    write_part(root, "labels", "00000", labels)
    write_part(root, "instances", "00000", instances)
    return root


def _pretrained(run: Path, key_id: str) -> Path:
    """What a pretraining run leaves: weights, and the record of four volumes of its own."""
    import torch

    from medssl.models.weights import save_weights

    save_weights(
        run / "checkpoints" / "encoder.safetensors",
        {"encoder.stem.weight": torch.zeros(4, 1, 3, 3, 3)},
        {
            "model": MODEL.model_dump_json(),
            "method": "simclr",
            "step": "10",
            "store_key_id": key_id,
            "config_sha256": _hash("config"),
        },
    )
    rows = [
        {name: _hash(f"pretraining {k} {name}", 32) for name in POPULATION_COLUMNS}
        | {"group_quality": "patient", "pixel_sha256": _hash(f"pretraining {k}")}
        for k in range(4)
    ]
    pd.DataFrame(rows).to_parquet(run / "volumes.parquet", index=False)
    sources = [
        {
            "volume_uid": row["volume_uid"],
            "instance_key": _hash(f"pretraining instance {row['volume_uid']}", 32),
            "file_sha256": _hash(f"pretraining file {row['volume_uid']}"),
        }
        for row in rows
    ]
    pd.DataFrame(sources).to_parquet(run / "instances.parquet", index=False)
    return run


class SimulatedFit:
    """Stands in for training: logits whose AUC grows with log2 of the labels, by `slope`.

    With an encoder the labels count `saved` times.
    """

    def __init__(self, slope: float, saved: float) -> None:
        self.slope, self.saved = slope, saved

    def __call__(self, config: Any, store: Any, cases: pd.DataFrame, run: Any, *rest: Any) -> Any:
        seed = rest[2]
        (run.checkpoints / "model.safetensors").write_bytes(run.path.name.encode())
        labels = (cases["split"] != "test").sum() * (self.saved if config.init else 1.0)
        predictions = self._predictions(config, cases, labels, seed)
        return SimpleNamespace(
            outcome=TrainOutcome(config.steps, 1.0, None, None),
            value=None,
            weights_sha256=sha256_json([run.path.name, seed]),
            encoder=None,
            predict_test=lambda *_: SimpleNamespace(predictions=predictions),
        )

    def _predictions(
        self, config: Any, cases: pd.DataFrame, labels: float, seed: int
    ) -> pd.DataFrame:
        shown = cases[cases["split"] != "train"].reset_index(drop=True)
        rng = np.random.default_rng([seed, int(labels)])
        # A difficulty of the case, the same in all cells, and noise of the cell.
        if config.task.name == "segmentation":
            return self._masks(shown, labels, rng)
        hard = np.array([int(uid[:8], 16) / 2**32 - 0.5 for uid in shown["volume_uid"]])
        signal = 0.3 + self.slope * np.log2(labels / 40)
        logit = signal * (2 * shown["y_true"] - 1) + hard + rng.normal(0, 0.8, len(shown))
        return shown.assign(logit_0=0.0, logit_1=logit)

    def _masks(self, cases: pd.DataFrame, labels: float, rng: np.random.Generator) -> pd.DataFrame:
        """Two foreground classes; the second is absent from some cases."""
        columns = {}
        for c, voxels in (("1", 1000), ("2", 300)):
            there = np.array([c == "1" or int(uid[:2], 16) > 40 for uid in cases["volume_uid"]])
            quality = np.clip(0.6 + self.slope * np.log2(labels / 40) / 4, 0, 0.98)
            found = rng.binomial(voxels, quality, len(cases)) * there
            extra = rng.binomial(voxels, 0.05, len(cases)) * there
            missed = voxels * there - found
            dice = np.where(there, 2 * found / np.maximum(2 * found + extra + missed, 1), np.nan)
            columns |= {f"tp_{c}": found, f"fp_{c}": extra, f"fn_{c}": missed, f"dice_{c}": dice}
            columns[f"nsd_{c}"] = np.where(there, np.clip(dice + 0.05, 0, 1), np.nan)
            columns[f"hd95_mm_{c}"] = np.where(there, 40 * (1 - dice), np.nan)
            columns[f"lesion_tp_{c}"] = 1 * (dice > 0.6)
            columns[f"lesion_fp_{c}"] = rng.binomial(1, 0.3, len(cases))
            columns[f"lesion_fn_{c}"] = 1 * (there & ~(dice > 0.6))
            columns[f"volume_true_mm3_{c}"] = (found + missed) * 1.0
            columns[f"volume_pred_mm3_{c}"] = (found + extra) * 1.0
        return cases.drop(columns="y_true").assign(**columns)


class _NoTracker:
    run_id = "none"

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Studies by their properties; each is made once and must not be changed."""
    made: dict[str, Path] = {}

    def build(
        draws: int = 5,
        slope: float = 0.3,
        saved: float = 10.0,
        pretraining_key: str = "key-1",
        claim: dict[str, Any] | None = CLAIM,
        segmentation: bool = False,
    ) -> Path:
        wanted = repr((draws, slope, saved, pretraining_key, claim, segmentation))
        if wanted in made:
            return made[wanted]
        folder = tmp_path_factory.mktemp("built")
        config = parse_config(
            StudyConfig,
            {
                "store": _store(folder / "store", 200, "mask" if segmentation else "class"),
                "encoder": _pretrained(folder / "pretrained", pretraining_key),
                "fractions": [0.25, 1.0],
                "draws": draws,
                "test": {
                    "fraction": 0.4,
                    "seed": 0,
                    "label": None if segmentation else "malignant",
                },
                "fit": {
                    "task": (
                        {"name": "segmentation"}
                        if segmentation
                        else {"name": "classification", "label": "malignant"}
                    ),
                    "augment": {"patch": {"size": [16, 16, 16]}},
                    "steps": 4,
                },
                "metric": "dice_mean" if segmentation else "auc_macro",
                "claim": claim,
                "search": {"trials": 1},
                "replicates": 200,
            },
        )
        # Undone at once: other tests of this process want a real tracker.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("medssl.tracking.start", lambda *_, **__: _NoTracker())
            run_study(config, folder / "study", train=SimulatedFit(slope, saved))
            analyse_study(config, folder / "study")
        made[wanted] = folder / "study"
        return made[wanted]

    return build


class Study:
    """A study that a test may spoil, and the means to spoil it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def audit(self, **options: Any) -> AuditResult:
        return audit(self.root, **options)

    def check(self, check: Check, **options: Any) -> Finding:
        """One check alone."""
        return check.run(StudyFiles(self.root, **options))

    def edit_table(self, path: str, edit: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
        frame = edit(pd.read_parquet(self.root / path))
        frame.to_parquet(self.root / path, index=False)

    def edit_json(self, path: str, edit: Callable[[dict[str, Any]], None]) -> None:
        values = json.loads((self.root / path).read_bytes())
        edit(values)
        (self.root / path).write_bytes(canonical_json(values))

    def json(self, path: str) -> dict[str, Any]:
        values: dict[str, Any] = json.loads((self.root / path).read_bytes())
        return values

    def lines(self) -> list[dict[str, Any]]:
        text = (self.root / "ledger.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def write_lines(self, lines: list[dict[str, Any]]) -> None:
        """Write the ledger as it stands, without mending its chain."""
        text = "".join(canonical_json(line).decode() + "\n" for line in lines)
        (self.root / "ledger.jsonl").write_text(text)

    def forge(self, lines: list[dict[str, Any]] | None = None, rehash: bool = True) -> str:
        """Write a ledger whose chain is whole again; with `rehash`, of the files as they are now.

        Returns the new root.
        """
        previous, forged = START, []
        plan = sha256_file(self.root / "plan.json")
        for number, line in enumerate(lines or self.lines(), start=1):
            facts = dict(line.get("facts", {}))
            digest = line["sha256"]
            if rehash and line["path"] and (self.root / line["path"]).is_file():
                digest = sha256_file(self.root / line["path"])
            if rehash and "plan_sha256" in facts:
                facts["plan_sha256"] = plan
            unsigned = Entry(
                number, line["utc"], line["event"], line["path"], digest, previous, "", facts
            )
            previous = unsigned.hashed()
            forged.append({**unsigned.as_dict(), "this": previous})
        self.write_lines(forged)
        return previous


@pytest.fixture
def copied(built: Build, tmp_path: Path) -> Callable[..., Study]:
    """A copy of a study of given properties, to be spoilt; without its run folders."""

    def copy(**properties: Any) -> Study:
        root = tmp_path / "study"
        shutil.copytree(built(**properties), root, ignore=shutil.ignore_patterns("cells"))
        return Study(root)

    return copy


@pytest.fixture
def study(copied: Callable[..., Study]) -> Study:
    """Five draws, a strong effect, nothing wrong."""
    return copied()
