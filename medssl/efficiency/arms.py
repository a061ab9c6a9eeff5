"""The arms of a study: what each starts from, what it trains, and on which labels."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from medssl.augment.config import AugmentConfig, SpatialConfig
from medssl.efficiency.config import Arm, StudyConfig
from medssl.efficiency.pretrained import Pretrained
from medssl.transfer.config import FitConfig
from medssl.transfer.regime_config import FullRegime, KNNRegime, LinearProbeRegime

Regime = Literal["full", "linear_probe", "knn"]

_REGIMES = {"full": FullRegime(), "linear_probe": LinearProbeRegime(), "knn": KNNRegime()}


@dataclass(frozen=True)
class ArmRule:
    """What sets an arm apart; all else is that of `fit`, the same for all.

    Attributes:
        pretrained: whether it starts from the study's encoder.
        longer: how many times the steps of `fit` it takes.
        permuted: whether it learns from labels that were dealt out anew.
    """

    pretrained: bool = False
    regime: Regime = "full"
    longer: int = 1
    permuted: bool = False


ARMS: dict[Arm, ArmRule] = {
    "scratch": ArmRule(),
    "ssl_ft": ArmRule(pretrained=True),
    "ssl_linear": ArmRule(pretrained=True, regime="linear_probe"),
    "ssl_knn": ArmRule(pretrained=True, regime="knn"),
    "random_linear": ArmRule(regime="linear_probe"),
    "scratch_2x": ArmRule(longer=2),
    "permuted_labels": ArmRule(permuted=True),
}


def arm_plan(arm: Arm, config: StudyConfig, pretrained: Pretrained | None) -> dict[str, Any]:
    """The entry of an arm in plan.json."""
    rule = ARMS[arm]
    steps = config.fit.steps * rule.longer
    encoder = pretrained.as_plan if rule.pretrained and pretrained is not None else None
    return {
        "init": "encoder" if encoder else "random",
        "encoder": encoder,
        "regime": rule.regime,
        "steps": steps if rule.regime == "full" else 0,
        "labels": "permuted" if rule.permuted else "given",
        "trials": config.search.trials if rule.regime == "full" else 1,
    }


def fit_of_arm(arm: dict[str, Any], fit: FitConfig, encoder: Path | None) -> FitConfig:
    """The training of an arm, before a setting of the search is applied.

    Args:
        arm: its entry in the plan.
        fit: that of the study.
    """
    init = encoder if arm["init"] == "encoder" else None
    if arm["regime"] == "full":
        return fit.model_copy(update={"init": init, "steps": arm["steps"]})
    # A probe steps through nothing: what steps are set by would be without effect.
    augment = AugmentConfig(patch=fit.augment.patch)
    if fit.test_time_flips:
        spatial = SpatialConfig(flip=fit.augment.spatial.flip)
        augment = AugmentConfig(patch=fit.augment.patch, spatial=spatial)
    kept = ("min_matched", "model", "runtime", "batch_size", "temperature_scaling")
    task = {
        name: value
        for name, value in fit.task.model_dump().items()
        if name not in ("dropout", "label_smoothing")
    }
    return FitConfig.model_validate(
        {
            **{name: getattr(fit, name) for name in (*kept, "test_time_flips")},
            "task": task,
            "init": init,
            "augment": augment,
            "regime": _REGIMES[arm["regime"]],
        }
    )


def permuted_labels(cases: pd.DataFrame, cases_sha256: str, draw: int) -> pd.DataFrame:
    """`cases` with the labels of the training and of the validation part dealt out anew in each.

    Every part keeps as many cases of each class as it has, and the test part its own labels. In
    the order of volume_uid, a case gets the label of the one that has its place in the order of
    SHA-256(hash of cases | draw | permuted | volume_uid): a function of the plan alone.

    Args:
        cases: volume_uid, split, y_true.
    """
    dealt = cases.copy()
    for part in ("train", "val"):
        rows = cases[cases["split"] == part].sort_values("volume_uid")
        places = sorted(rows.index, key=lambda at: _turn(cases_sha256, draw, cases, at))
        dealt.loc[rows.index, "y_true"] = cases.loc[places, "y_true"].to_numpy()
    return dealt


def _turn(cases_sha256: str, draw: int, cases: pd.DataFrame, at: Any) -> bytes:
    text = f"{cases_sha256}|{draw}|permuted|{cases['volume_uid'].loc[at]!s}"
    return hashlib.sha256(text.encode()).digest()
