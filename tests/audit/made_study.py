"""A study as somebody else might make it: from docs/reference/study-schema.md alone.

Plain Python, NumPy and pandas; nothing of medssl writes a byte here. No training either: logits and
masks are simulated so that a cell's result grows with the logarithm of its labels.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import numpy.typing as npt
import pandas as pd

CLAIM: dict[str, Any] = {
    "arm": "ssl_ft",
    "frac": 0.25,
    "versus": "scratch",
    "vs_frac": 1.0,
    "metric": "auc_macro",
    "margin": 0.02,
    "min_lsf": 2,
}
EVERY_ARM = (
    *("scratch", "ssl_ft", "ssl_linear", "ssl_knn", "random_linear", "scratch_2x"),
    "permuted_labels",
)
SHAPE = (10, 10, 10)
STEPS = 4
_PROBES = {"ssl_linear": "linear_probe", "ssl_knn": "knn", "random_linear": "linear_probe"}
_WORTH = {"ssl_linear": 0.8, "ssl_knn": 0.5, "random_linear": 0.4, "scratch_2x": 1.02}
_RATES = (0.001, 0.0002, 0.0005, 0.002, 0.005, 0.0001, 0.01, 0.02)


@dataclass(frozen=True)
class Wanted:
    """Properties of a study; see `make_study`."""

    draws: int = 5
    slope: float = 0.3
    saved: float = 10.0
    pretraining_key: str = "key-1"
    claim: dict[str, Any] | None = field(default_factory=lambda: CLAIM)
    segmentation: bool = False
    arms: tuple[str, ...] = ("scratch", "ssl_ft")
    fractions: tuple[float, ...] = (0.25, 1.0)
    trials: int = 1
    patients: int = 200
    replicates: int = 200
    sites: tuple[str, ...] = ("north", "south")


def sha(text: str, digits: int = 64) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:digits]


def canonical(value: Any) -> bytes:
    """RFC 8785, for the keys and numbers that occur here."""
    text = json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert "e-" not in text, "a number that Python and ECMAScript print differently"
    return text.encode()


def sha_json(value: Any) -> str:
    return hashlib.sha256(canonical(value)).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


class MadeLedger:
    """ledger.jsonl, line by line."""

    def __init__(self, root: Path) -> None:
        self.root, self.lines, self.previous = root, list[bytes](), "0" * 64

    def tell(self, event: str, path: str | None = None, **facts: Any) -> None:
        digest = None if path is None else _sha_file(self.root / path)
        minute, second = divmod(len(self.lines), 60)
        entry: dict[str, Any] = {
            "seq": len(self.lines) + 1,
            "utc": f"2026-01-01T{minute // 60:02d}:{minute % 60:02d}:{second:02d}.000Z",
            "event": event,
            "path": path,
            "sha256": digest,
            "prev": self.previous,
        }
        if facts:
            entry["facts"] = facts
        body = self.previous.encode() + canonical(entry)
        self.previous = hashlib.sha256(body).hexdigest()
        self.lines.append(canonical({**entry, "this": self.previous}) + b"\n")

    def write(self) -> None:
        (self.root / "ledger.jsonl").write_bytes(b"".join(self.lines))


def make_study(root: Path, wanted: Wanted) -> MadeLedger:
    """Everything of a study but its analysis.

    `slope` is what doubling the labels brings; an encoder makes labels count `saved` times.
    """
    root.mkdir(parents=True)
    (root / "predictions").mkdir()
    ledger = MadeLedger(root)
    cases = made_cases(wanted)
    splits, cases_hash = _splits(cases, wanted.draws), _cases_hash(cases)
    written = {"cases": cases, "instances": _instances(cases["volume_uid"]), "splits": splits}
    if any(_init(arm) == "encoder" for arm in wanted.arms):
        seen = _pretraining_volumes()
        written |= {"pretrain": seen, "pretrain_instances": _instances(seen["volume_uid"])}
        told = {
            "schema": "medssl.pretraining/1",
            "method": "simclr",
            "steps": 10,
            "seconds": 1.5,
            "peak_memory_bytes": None,
            "kwh": None,
            "alarms": [],
            "health": [{"step": 0, "rankme": 20.5}, {"step": 10, "rankme": 18.25}],
        }
        (root / "pretraining.json").write_bytes(canonical(told))
        ledger.tell("file_written", "pretraining.json")
    for name, frame in written.items():
        frame.to_parquet(root / f"{name}.parquet", index=False)
        ledger.tell("file_written", f"{name}.parquet")
    plan = _plan(wanted, cases, splits, cases_hash)
    if wanted.claim:
        (root / "claim.yaml").write_text(json.dumps(wanted.claim))  # JSON is YAML
        ledger.tell("file_written", "claim.yaml")
    (root / "plan.json").write_bytes(canonical(plan))
    ledger.tell("plan_frozen", "plan.json")
    for draw in range(wanted.draws):
        for fraction in wanted.fractions:
            for arm in wanted.arms:
                _Cell(root, wanted, plan, cases, splits, arm, fraction, draw).make(ledger)
    ledger.write()
    return ledger


def made_cases(wanted: Wanted) -> pd.DataFrame:
    """cases.parquet; every third patient has two volumes, two of five patients are of class 1."""
    rows = []
    for number in range(wanted.patients):
        patient = sha(f"patient {number}", 32)
        positive = int(number % 5 < 2)
        for scan in range(1 + (number % 3 == 0)):
            uid = sha(f"volume {number} {scan}", 32)
            rows.append(
                {
                    "volume_uid": uid,
                    "patient_key": patient,
                    "series_key": sha(f"series {uid}", 32),
                    "study_key": sha(f"study {uid}", 32),
                    "group_quality": "patient",
                    "site": wanted.sites[number % len(wanted.sites)],
                    "modality": "CT",
                    "manufacturer": "A",
                    "sex": "FM"[number // 5 % 2],
                    "age_band": "60-69",
                    "pixel_sha256": sha(f"pixels {uid}"),
                    "perceptual_hash": sha(f"looks {uid}"),
                    "file_sha256": sha(f"file {uid}"),
                    "label": "1,2" if wanted.segmentation else str(positive),
                    "y_true": 0 if wanted.segmentation else positive,
                    "role": "test" if number % 5 in (1, 4) else "dev",
                }
            )
    return pd.DataFrame(rows).sort_values("volume_uid", ignore_index=True)


def _pretraining_volumes() -> pd.DataFrame:
    columns = ("volume_uid", "patient_key", "series_key", "pixel_sha256", "perceptual_hash")
    rows = [{name: sha(f"pretraining {k} {name}") for name in columns} for k in range(4)]
    return pd.DataFrame(rows).assign(group_quality="patient", modality="CT")


def _instances(uids: pd.Series[str]) -> pd.DataFrame:
    rows = [
        {
            "volume_uid": uid,
            "instance_key": sha(f"instance {uid}", 32),
            "file_sha256": sha(f"file {uid}"),
        }
        for uid in uids
    ]
    return pd.DataFrame(rows)


def _cases_hash(cases: pd.DataFrame) -> str:
    columns = ["volume_uid", "patient_key", "pixel_sha256", "label"]
    return sha_json(sorted(cases[columns].to_numpy().tolist()))


def _splits(cases: pd.DataFrame, draws: int) -> pd.DataFrame:
    """Two classes at most: at each rank the class that is further behind its share."""
    name = _cases_hash(cases)
    classes = cases.assign(first=cases["label"].str.split(",").str[0])
    of = classes.groupby(["role", "patient_key"])["first"].first()
    rows: list[dict[str, Any]] = []
    for draw in range(draws):
        queues = {
            c: sorted(of["dev"].index[of["dev"] == c], key=lambda p: sha(f"{name}|{draw}|{p}"))
            for c in sorted(of["dev"].unique())
        }
        total, taken = sum(map(len, queues.values())), dict.fromkeys(queues, 0)
        for rank in range(total):
            behind = {c: (rank + 1) * len(q) - taken[c] * total for c, q in queues.items()}
            c = max(sorted(behind), key=lambda c: behind[c])
            rows.append(
                {
                    "patient_key": queues[c][taken[c]],
                    "role": "dev",
                    "draw": draw,
                    "rank": rank,
                    "patient_class": c,
                    "class_rank": taken[c],
                    "val_flag": taken[c] % 5 == 4,
                }
            )
            taken[c] += 1
    nobody = {"role": "test", "draw": -1, "rank": -1, "class_rank": -1, "val_flag": False}
    rows += [{**nobody, "patient_key": p, "patient_class": c} for p, c in of["test"].items()]
    return pd.DataFrame(rows)


def labelled(cases: pd.DataFrame, splits: pd.DataFrame, fraction: float, draw: int) -> pd.DataFrame:
    """The labelled cases of a subset, with `split`."""
    order = splits[(splits["role"] == "dev") & (splits["draw"] == draw)]
    taken = order[order["rank"] < int(fraction * len(order) + 0.5)]
    enough = taken["patient_class"].value_counts().min() >= 5
    validates = set(taken.loc[taken["val_flag"], "patient_key"]) if enough else set()
    subset = cases[cases["patient_key"].isin(taken["patient_key"])]
    split = ["val" if patient in validates else "train" for patient in subset["patient_key"]]
    return subset.assign(split=split)


def _plan(
    wanted: Wanted, cases: pd.DataFrame, splits: pd.DataFrame, cases_hash: str
) -> dict[str, Any]:
    dev, test = (cases[cases["role"] == role] for role in ("dev", "test"))
    kind = "segmentation" if wanted.segmentation else "classification"
    return {
        "schema": "medssl.plan/2",
        "medssl": "another program",
        "task": {
            "kind": kind,
            "label": "mask" if wanted.segmentation else "malignant",
            "classes": ["1", "2"] if wanted.segmentation else ["0", "1"],
        },
        "data": {
            "key_id": "key-1",
            "cases_sha256": cases_hash,
            "cases": len(cases),
            "patients": cases["patient_key"].nunique(),
            "test_cases": len(test),
            "test_patients": test["patient_key"].nunique(),
            "dev_cases": len(dev),
            "dev_patients": dev["patient_key"].nunique(),
        },
        "test": {"rule": "split", "fraction": None, "seed": None, "label": None},
        "exclusions": [],
        "arms": {arm: _arm(arm, wanted) for arm in wanted.arms},
        "fractions": list(wanted.fractions),
        "draws": wanted.draws,
        "subsets": [
            _subset(labelled(cases, splits, fraction, draw), fraction, draw)
            for fraction in wanted.fractions
            for draw in range(wanted.draws)
        ],
        "validation": {"every": 5, "least": 5},
        "search": {
            "trials": wanted.trials,
            "space": {} if wanted.trials == 1 else {"optim.lr": sorted(_RATES)},
            "settings": _settings(wanted.trials),
        },
        "fit": {"steps": STEPS, "batch_size": 2, "optim": {"lr": 0.001}, "seed": 0},
        "metric": "dice_mean" if wanted.segmentation else "auc_macro",
        "margin": 0.02,
        "reference_fraction": 1.0,
        "claim": wanted.claim,
        "statistics": {"replicates": wanted.replicates, "seed": 0, "level": 0.95},
    }


def _init(arm: str) -> str:
    return "encoder" if arm.startswith("ssl") else "random"


def _arm(arm: str, wanted: Wanted) -> dict[str, Any]:
    encoder = {
        "weights_sha256": sha("weights"),
        "method": "simclr",
        "step": "10",
        "store_key_id": wanted.pretraining_key,
        "config_sha256": sha("config"),
        "volumes": 4,
    }
    probe = arm in _PROBES
    return {
        "init": _init(arm),
        "encoder": encoder if _init(arm) == "encoder" else None,
        "regime": _PROBES.get(arm, "full"),
        "steps": 0 if probe else STEPS * (2 if arm == "scratch_2x" else 1),
        "labels": "permuted" if arm == "permuted_labels" else "given",
        "trials": 1 if probe else wanted.trials,
    }


def _settings(trials: int) -> list[dict[str, Any]]:
    return [{}] if trials == 1 else [{"optim.lr": rate} for rate in _RATES[:trials]]


def _subset(subset: pd.DataFrame, fraction: float, draw: int) -> dict[str, Any]:
    val = subset[subset["split"] == "val"]
    return {
        "fraction": fraction,
        "draw": draw,
        "patients": subset["patient_key"].nunique(),
        "cases": len(subset),
        "val_patients": val["patient_key"].nunique(),
        "val_cases": len(val),
        "sha256": sha_json(sorted(subset[["volume_uid", "split"]].to_numpy().tolist())),
    }


@dataclass(frozen=True)
class _Cell:
    root: Path
    wanted: Wanted
    plan: dict[str, Any]
    cases: pd.DataFrame
    splits: pd.DataFrame
    arm: str
    fraction: float
    draw: int

    @property
    def name(self) -> str:
        return f"{self.arm}_{self.fraction:g}_{self.draw}"

    @property
    def seed(self) -> int:
        return int(sha(f"0|{self.draw}", 7), 16)

    def make(self, ledger: MadeLedger) -> None:
        """Trainings, choice, look, predictions, and the cell's own record."""
        subset = labelled(self.cases, self.splits, self.fraction, self.draw)
        trials = self._trials(ledger, subset)
        values = [trial["val"] for trial in trials]
        chosen = values.index(max(values)) if None not in values else 0
        metric = self.plan["metric"]
        ledger.tell("trial_chosen", cell=self.name, trial=chosen, metric=metric, values=values)
        ledger.tell("test_look", cell=self.name, weights_sha256=self._weights(chosen))
        path = f"predictions/{self.name}.parquet"
        self._predictions(subset).to_parquet(self.root / path, index=False)
        ledger.tell("file_written", path)
        told = f"cells/{self.name}/cell.json"
        (self.root / told).parent.mkdir(parents=True)
        (self.root / told).write_bytes(canonical(self._told(subset, trials, chosen)))
        ledger.tell("file_written", told)

    def _trials(self, ledger: MadeLedger, subset: pd.DataFrame) -> list[dict[str, Any]]:
        arm = self.plan["arms"][self.arm]
        validates = (subset["split"] == "val").any()
        trials = []
        for number in range(arm["trials"] if validates else 1):
            plan = hashlib.sha256((self.root / "plan.json").read_bytes()).hexdigest()
            shared = {"cell": self.name, "plan_sha256": plan, "trial": number}
            ledger.tell(
                "training_started",
                **shared,
                arm=self.arm,
                fraction=self.fraction,
                draw=self.draw,
                seed=self.seed,
                subset_sha256=_subset(subset, self.fraction, self.draw)["sha256"],
                init_sha256=arm["encoder"]["weights_sha256"] if arm["encoder"] else None,
            )
            val = round(0.8 - 0.02 * abs(number - 3), 3) if validates else None
            ledger.tell(
                "training_finished",
                **shared,
                steps=arm["steps"],
                weights_sha256=self._weights(number),
                selected="best" if validates else "last",
                val=val,
            )
            setting = {} if arm["regime"] != "full" else self.plan["search"]["settings"][number]
            trials.append(
                {
                    "setting": setting,
                    "steps": arm["steps"],
                    "selected_step": arm["steps"],
                    "val": val,
                    "seconds": 1.25,
                }
            )
        return trials

    def _weights(self, trial: int) -> str:
        return sha(f"{self.name} {trial}")

    def _told(
        self, subset: pd.DataFrame, trials: list[dict[str, Any]], chosen: int
    ) -> dict[str, Any]:
        train, val = (
            sorted(subset.loc[subset["split"] == split, "volume_uid"]) for split in ("train", "val")
        )
        return {
            "schema": "medssl.cell/1",
            "cell": self.name,
            "arm": self.arm,
            "fraction": self.fraction,
            "draw": self.draw,
            "seed": self.seed,
            "trials": trials,
            "chosen": chosen,
            "setting": trials[chosen]["setting"],
            "provenance": {
                "git_commit": sha("commit", 40),
                "git_dirty": "false",
                "env_sha256": sha("packages"),
                "device": "cpu",
                "torch": "2.13.0",
                "threads": 1,
                "deterministic": True,
            },
            "fitted_on": {
                "normalisation": None,
                "tuning": sha_json(val) if val else None,
                "weights": sha_json(train),
                "temperature": None,
            },
            "cost": {"seconds": 1.5, "peak_memory_bytes": None, "kwh": None},
            "representation": None,
        }

    def _predictions(self, subset: pd.DataFrame) -> pd.DataFrame:
        test = self.cases[self.cases["role"] == "test"].assign(split="test")
        shown = pd.concat([subset[subset["split"] == "val"], test])
        shown = shown.sort_values(["split", "volume_uid"], ignore_index=True)
        worth = self.wanted.saved if _init(self.arm) == "encoder" else 1.0
        labels = len(subset) * worth * _WORTH.get(self.arm, 1.0)
        # Cells with as many labels, so reckoned, are alike to the last digit.
        rng = np.random.default_rng([self.seed, int(labels)])
        keys = shown[["volume_uid", "patient_key", "split"]]
        if self.wanted.segmentation:
            return keys.assign(**self._masks(shown, labels, rng))
        logits = self._logits(shown, labels, rng)
        return keys.assign(y_true=shown["y_true"], logit_0=0.0, logit_1=logits)

    def _logits(
        self, shown: pd.DataFrame, labels: float, rng: np.random.Generator
    ) -> npt.NDArray[np.float64]:
        """Two normal distributions; a difficulty of the case, alike in all cells, and noise."""
        hard = np.array([int(uid[:8], 16) / 2**32 - 0.5 for uid in shown["volume_uid"]])
        noise = rng.normal(0, 0.8, len(shown))
        if self.arm == "permuted_labels":
            return np.asarray(0.3 * (rng.choice([-1, 1]) * hard + noise))
        signal = 0.3 + self.wanted.slope * np.log2(labels / 40)
        score = signal * (2 * shown["y_true"].to_numpy() - 1) + hard + noise
        # The log odds of class 1 at this score, so that probabilities mean what they say.
        return np.asarray(2 * signal * score / (1 / 12 + 0.64) + np.log(0.4 / 0.6))

    def _masks(
        self, shown: pd.DataFrame, labels: float, rng: np.random.Generator
    ) -> dict[str, list[Any]]:
        """Reference masks with some voxels missed and some added; test masks are kept."""
        quality = float(np.clip(0.6 + self.wanted.slope * np.log2(labels / 40) / 4, 0, 0.98))
        columns: dict[str, list[Any]] = {"mask_path": [], "mask_sha256": []}
        for uid, split in zip(shown["volume_uid"], shown["split"], strict=True):
            truth = reference_mask(uid)
            seen = np.where(rng.random(SHAPE) < quality, truth, 0).astype(np.uint8)
            seen[(truth == 0) & (rng.random(SHAPE) < 0.02)] = 1
            path = self._write_mask(uid, seen) if split == "test" else None
            columns["mask_path"].append(path)
            columns["mask_sha256"].append(path and _sha_file(self.root / path))
            for c in (1, 2):
                for name, value in _compared(seen == c, truth == c).items():
                    columns.setdefault(f"{name}_{c}", []).append(value)
        return columns

    def _write_mask(self, uid: str, mask: npt.NDArray[np.uint8]) -> str:
        path = f"masks/{self.name}/{uid[:2]}/{uid}.b2nd"
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        blosc2.asarray(mask, urlpath=str(self.root / path), mode="w")
        return path


def reference_mask(uid: str) -> npt.NDArray[np.uint8]:
    """A box of class 1 with, in most cases, one of class 2 in it."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:8, 2:8, 2:8] = 1
    if int(uid[:2], 16) > 40:
        mask[4:7, 4:7, 4:7] = 2
    return mask


def _compared(here: npt.NDArray[np.bool_], there: npt.NDArray[np.bool_]) -> dict[str, Any]:
    tp, fp, fn = int((here & there).sum()), int((here & ~there).sum()), int((~here & there).sum())
    dice = 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else float("nan")
    return {
        "tp": tp,
        "fp": fp,
        "fn": fn,
        "dice": dice,
        "nsd": min(1.0, dice + 0.05) if dice == dice else dice,
        "hd95_mm": 40 * (1 - dice),
        "lesion_tp": int(dice > 0.6),
        "lesion_fp": int(fp > 12),
        "lesion_fn": int(there.any() and not dice > 0.6),
        "volume_true_mm3": float(tp + fn),
        "volume_pred_mm3": float(tp + fp),
    }


def _sha_file(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
