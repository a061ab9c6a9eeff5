"""A study that medssl did not write, analysis included: the schema page is all that they share."""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import rankdata
from sklearn import metrics
from sklearn.isotonic import IsotonicRegression

from medssl.audit.audit import audit
from medssl.audit.result import Status

from .made_study import Wanted, make_study

Floats = npt.NDArray[np.float64]

REPLICATES = 2000
FRACTIONS = (0.25, 1.0)
ARMS = ("scratch", "ssl_ft")
DRAWS = 5
SCHEMA = "medssl.analysis/2"


def test_a_study_made_elsewhere_passes(tmp_path: Path) -> None:
    root = tmp_path / "study"
    ledger = make_study(root, Wanted(replicates=REPLICATES))
    analysis = _analysis(root)
    (root / "analysis.json").write_text(json.dumps(analysis, indent=1, allow_nan=False))
    ledger.tell("file_written", "analysis.json")
    ledger.write()
    result = audit(root, expect_root=ledger.previous)
    wrong = [c for c in result.checks if c.status in (Status.FAIL, Status.ERROR)]
    assert not wrong, wrong
    assert (result.verdict, result.exit_code) == ("SUPPORTED", 0)
    assert result.check("M1").status is result.check("S1").status is Status.PASS


def _analysis(root: Path) -> dict[str, Any]:
    """analysis.json by scikit-learn and a bootstrap of its own, with other random numbers."""
    plan = json.loads((root / "plan.json").read_bytes())
    tests = {
        (arm, f, d): pd.read_parquet(root / f"predictions/{arm}_{f:g}_{d}.parquet").query(
            "split == 'test'"
        )
        for arm in ARMS
        for f in FRACTIONS
        for d in range(DRAWS)
    }
    seen = {cell: _metrics(frame) for cell, frame in tests.items()}
    replicates = _replicates(root, tests)
    labels = {
        f: float(np.mean([s["cases"] for s in plan["subsets"] if s["fraction"] == f]))
        for f in FRACTIONS
    }
    mean = {
        (a, f): float(np.mean([seen[a, f, d]["auc_macro"] for d in range(DRAWS)]))
        for a in ARMS
        for f in FRACTIONS
    }
    return {
        "schema": SCHEMA,
        "plan_sha256": _sha(root / "plan.json"),
        "metric": "auc_macro",
        "missing": [],
        "cells": [_cell(root, plan, cell, found) for cell, found in seen.items()],
        "curve": [
            {
                "arm": a,
                "fraction": f,
                "labels": labels[f],
                "patients": 30.0,
                "mean": mean[a, f],
                **_interval(replicates[a, f]),
                "draws": [seen[a, f, d]["auc_macro"] for d in range(DRAWS)],
            }
            for a in ARMS
            for f in FRACTIONS
        ],
        "effects": _effects(seen, mean, replicates, labels),
        "aulc": {
            a: {
                "value": _area([mean[a, f] for f in FRACTIONS], labels),
                **_interval(_area([replicates[a, f] for f in FRACTIONS], labels)),
            }
            for a in ARMS
        },
        "lsf": _savings(mean, replicates, labels),
        "claim": None,
        "intervals": {
            "replicates": REPLICATES,
            "level": 0.95,
            "seed": 0,
            "draws": DRAWS,
            "test_patients": 80,
        },
    }


def _metrics(frame: pd.DataFrame) -> dict[str, float]:
    y, z = frame["y_true"].to_numpy(), frame["logit_1"].to_numpy() - frame["logit_0"].to_numpy()
    p = 1 / (1 + np.exp(-z))
    confidence, right = np.maximum(p, 1 - p), (p > 0.5) == y
    order = np.argsort(confidence, kind="stable")
    edges = [round(k * len(y) / 15) for k in range(16)]
    ece = sum(
        abs(right[order[a:b]].mean() - confidence[order[a:b]].mean()) * (b - a)
        for a, b in pairwise(edges)
    )
    return {
        "auc_macro": float(metrics.roc_auc_score(y, z)),
        "auprc_macro": float(metrics.average_precision_score(y, z)),
        "bacc": float(metrics.balanced_accuracy_score(y, p > 0.5)),
        "brier": float(metrics.brier_score_loss(y, p)),
        "ece": float(ece / len(y)),
    }


def _replicates(root: Path, tests: dict[Any, pd.DataFrame]) -> dict[Any, Floats]:
    """Patients within their class and D - 1 of D draws, with replacement, shared by all cells."""
    rng = np.random.default_rng(99)
    some = next(iter(tests.values()))
    patients = some.groupby("patient_key")["y_true"].first()
    column = patients.index.get_indexer(pd.Index(some["patient_key"]))
    draws = rng.integers(0, DRAWS, (REPLICATES, DRAWS - 1))
    found = {(a, f): np.zeros(REPLICATES) for a in ARMS for f in FRACTIONS}
    for b in range(REPLICATES):
        times = np.zeros(len(patients), int)
        for c in (0, 1):
            members = np.flatnonzero(patients == c)
            np.add.at(times, rng.choice(members, len(members)), 1)
        rows = np.repeat(np.arange(len(some)), times[column])
        for a, f in found:
            areas = {d: _area_of_ranks(tests[a, f, d], rows) for d in set(draws[b])}
            found[a, f][b] = np.mean([areas[d] for d in draws[b]])
    return found


def _area_of_ranks(frame: pd.DataFrame, rows: npt.NDArray[np.int64]) -> float:
    y = frame["y_true"].to_numpy()[rows]
    ranks = rankdata(frame["logit_1"].to_numpy()[rows])
    positive = int(y.sum())
    u = ranks[y == 1].sum() - positive * (positive + 1) / 2
    return float(u / (positive * (len(y) - positive)))


def _cell(root: Path, plan: dict[str, Any], cell: Any, found: dict[str, float]) -> dict[str, Any]:
    arm, fraction, draw = cell
    name = f"{arm}_{fraction:g}_{draw}"
    subset = next(s for s in plan["subsets"] if (s["fraction"], s["draw"]) == (fraction, draw))
    return {
        "cell": name,
        "arm": arm,
        "fraction": fraction,
        "draw": draw,
        "labels": subset["cases"],
        "patients": subset["patients"],
        "predictions_sha256": _sha(root / f"predictions/{name}.parquet"),
        "metrics": found,
    }


def _effects(seen: Any, mean: Any, replicates: Any, labels: Any) -> list[dict[str, Any]]:
    rows = []
    for f in FRACTIONS:
        by_draw = [
            seen["ssl_ft", f, d]["auc_macro"] - seen["scratch", f, d]["auc_macro"]
            for d in range(DRAWS)
        ]
        signs = np.array(np.meshgrid(*[[-1, 1]] * DRAWS)).reshape(DRAWS, -1)
        means = np.abs(np.array(by_draw) @ signs)
        p = float(np.mean(means >= abs(sum(by_draw)) - 1e-12))
        difference = replicates["ssl_ft", f] - replicates["scratch", f]
        se = float(difference.std(ddof=1))
        rows.append(
            {
                "fraction": f,
                "labels": labels[f],
                "arm": "ssl_ft",
                "versus": "scratch",
                "delta": mean["ssl_ft", f] - mean["scratch", f],
                **_interval(difference),
                "se": se,
                "mdd": 2.8 * se,
                "p": p,
                "significant": None,
            }
        )
    low, high = sorted(rows, key=lambda row: row["p"])
    low["p_holm"] = min(1.0, 2 * low["p"])
    high["p_holm"] = max(low["p_holm"], high["p"])
    return rows


def _interval(values: Floats) -> dict[str, float]:
    lo, hi = np.quantile(values, [0.025, 0.975])
    return {"lo": float(lo), "hi": float(hi)}


def _area(theta: Any, labels: dict[float, float]) -> Any:
    """Of two fractions the trapezium's mean height."""
    assert len(labels) == 2
    return (theta[0] + theta[1]) / 2


def _savings(mean: Any, replicates: Any, labels: Any) -> dict[str, Any]:
    """At scratch's value with all labels; of two fractions each."""
    value, censored, target = _factor({k: np.array([v]) for k, v in mean.items()}, labels)
    _, below, _ = _factor(replicates, labels)
    low = np.where(np.isin(below, ["at_most", "undefined"]), 0.0, _factor(replicates, labels)[0])
    lo = float(np.quantile(low, 0.025, method="nearest" if not low.all() else "linear"))
    assert censored[0] == "at_least"
    return {
        "target": float(target[0]),
        "reference_fraction": 1.0,
        "value": float(value[0]),
        "censored": "at_least",
        "lo": lo or None,
        "hi": None,
        "scratch_labels": labels[1.0],
        "pretrained_labels": labels[0.25],
    }


def _factor(curves: Any, labels: Any) -> tuple[Floats, list[str], Floats]:
    """n_scratch / n_ssl; both curves made monotone; bounds where a curve's end is passed."""
    x = np.log2([labels[f] for f in FRACTIONS])
    values, told, targets = [], [], []
    for b in range(len(curves["scratch", 1.0])):
        scratch, ssl = (
            IsotonicRegression().fit_transform(x, [curves[a, f][b] for f in FRACTIONS])
            for a in ARMS
        )
        target = scratch[-1]
        if ssl[0] >= target - 1e-12:
            at, word = x[0], "at_least"
        elif ssl[-1] < target - 1e-12:
            at, word = x[-1], "at_most"
        else:
            at = x[0] + (target - ssl[0]) / (ssl[-1] - ssl[0]) * (x[1] - x[0])
            word = "none"
        flat = target <= scratch[0] + 1e-12
        values.append(2 ** ((x[0] if flat else x[-1]) - at))
        told.append(
            {"none": "at_most", "at_most": "at_most"}.get(word, "undefined") if flat else word
        )
        targets.append(target)
    return np.array(values), told, np.array(targets)


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
