"""What sets the arms apart, and that nothing else does."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from medssl.efficiency.arms import ARMS, fit_of_arm, permuted_labels
from medssl.efficiency.cell import settings_of, steps_of
from medssl.efficiency.cells import Cell
from medssl.efficiency.config import StudyConfig
from medssl.efficiency.plan import plan_study
from medssl.errors import ConfigError
from medssl.transfer.config import FitConfig

Make = Callable[..., StudyConfig]
FIT = {
    "task": {"name": "classification", "label": "malignant", "dropout": 0.3},
    "augment": {"patch": {"size": [16, 16, 16]}, "spatial": {"flip": [0, 1]}},
    "optim": {"lr": 0.01},
    "steps": 6,
    "validate_every": 3,
    "patience": 1,
    "test_time_flips": True,
}
SEARCH = {"trials": 3, "space": {"optim.lr": [0.01, 0.1, 0.2]}}


def test_plan_says_what_sets_each_arm_apart(make_config: Make, tmp_path: Path) -> None:
    config = make_config(arms=list(ARMS), fit=FIT, search=SEARCH)
    plan = plan_study(config, tmp_path / "study").plan
    told = {
        name: (arm["init"], arm["regime"], arm["steps"], arm["labels"], arm["trials"])
        for name, arm in plan["arms"].items()
    }
    assert told == {
        "scratch": ("random", "full", 6, "given", 3),
        "ssl_ft": ("encoder", "full", 6, "given", 3),
        "ssl_linear": ("encoder", "linear_probe", 0, "given", 1),
        "ssl_knn": ("encoder", "knn", 0, "given", 1),
        "random_linear": ("random", "linear_probe", 0, "given", 1),
        "scratch_2x": ("random", "full", 12, "given", 3),
        "permuted_labels": ("random", "full", 6, "permuted", 3),
    }
    assert {name for name, arm in plan["arms"].items() if arm["encoder"]} == {
        name for name in ARMS if name.startswith("ssl_")
    }
    assert plan["search"]["settings"] == config.settings
    assert plan["search"]["settings"][0] == {"optim.lr": 0.01}
    assert steps_of(plan, Cell("scratch_2x", 1.0, 0)) == 36
    assert steps_of(plan, Cell("ssl_knn", 1.0, 0)) == 0


def test_arms_differ_in_what_the_plan_says_alone(make_config: Make, tmp_path: Path) -> None:
    config = make_config(arms=list(ARMS), fit=FIT, search=SEARCH)
    plan = plan_study(config, tmp_path / "study").plan
    fit = FitConfig.model_validate({**config.fit.model_dump(), "model": plan["fit"]["model"]})
    of = {name: fit_of_arm(arm, fit, config.encoder) for name, arm in plan["arms"].items()}
    assert of["scratch"] == of["permuted_labels"] == fit
    assert of["ssl_ft"].model_copy(update={"init": None}) == fit
    assert of["scratch_2x"].model_copy(update={"steps": 6}) == fit
    probe = of["ssl_linear"]
    assert (probe.init, probe.regime.name) == (config.encoder, "linear_probe")
    assert of["random_linear"] == probe.model_copy(update={"init": None})
    assert of["ssl_knn"].model_copy(update={"regime": probe.regime}) == probe
    assert probe.augment.patch == fit.augment.patch
    assert probe.augment.spatial.flip == (0, 1)
    assert probe.test_time_flips
    assert probe.batch_size == fit.batch_size
    assert probe.model == fit.model


def test_a_subset_without_validation_trains_the_settings_of_fit(
    make_config: Make, tmp_path: Path
) -> None:
    plan = plan_study(make_config(fractions=[0.1, 1.0], search=SEARCH), tmp_path / "study").plan
    assert [s["val_cases"] > 0 for s in plan["subsets"]] == [False] * 3 + [True] * 3
    assert settings_of(plan, Cell("scratch", 0.1, 0)) == plan["search"]["settings"][:1]
    assert settings_of(plan, Cell("scratch", 1.0, 0)) == plan["search"]["settings"]


def _labelled() -> pd.DataFrame:
    """60 training, 20 validation, 10 test cases of three classes, in no order of uid."""
    rows = [
        {
            "volume_uid": hashlib.sha256(f"v{number}".encode()).hexdigest()[:32],
            "patient_key": f"p{number}",
            "split": "train" if number < 60 else "val" if number < 80 else "test",
            "y_true": number % 7 % 3,
        }
        for number in range(90)
    ]
    return pd.DataFrame(rows)


def test_permuted_labels_keep_the_counts_of_each_part_and_the_tests_truth() -> None:
    cases = _labelled()
    dealt = permuted_labels(cases, "hash of cases", 2)
    counts = cases.groupby("split")["y_true"].value_counts()
    assert dealt.groupby("split")["y_true"].value_counts().sort_index().equals(counts.sort_index())
    test = cases["split"] == "test"
    assert dealt.loc[test].equals(cases.loc[test])
    assert (dealt["y_true"] != cases["y_true"])[~test].sum() > 30
    assert dealt.drop(columns="y_true").equals(cases.drop(columns="y_true"))


def test_permuted_labels_are_a_function_of_the_plan() -> None:
    cases = _labelled()
    dealt = permuted_labels(cases, "hash of cases", 2).set_index("volume_uid")["y_true"]
    turned = permuted_labels(cases.iloc[::-1].reset_index(drop=True), "hash of cases", 2)
    assert turned.set_index("volume_uid")["y_true"].loc[dealt.index].equals(dealt)
    for other in (permuted_labels(cases, "hash of cases", 3), permuted_labels(cases, "other", 2)):
        assert not other.set_index("volume_uid")["y_true"].equals(dealt)
    # Once more, as its description says.
    by_uid = cases.set_index("volume_uid")["y_true"]
    for part in ("train", "val"):
        uids = sorted(cases.loc[cases["split"] == part, "volume_uid"])
        turn = sorted(
            uids,
            key=lambda u: hashlib.sha256(f"hash of cases|2|permuted|{u}".encode()).hexdigest(),
        )
        for uid, source in zip(uids, turn, strict=True):
            assert dealt[uid] == by_uid[source]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": ["scratch", "ssl_knn"], "encoder": None}, "arm ssl_knn needs encoder"),
        ({"arms": ["scratch", "random_linear"]}, r"encoder: without effect, for no arm ssl_\*"),
        ({"fit": {**FIT, "regime": {"name": "attention_probe"}}}, "fit.regime: a study's arms"),
        (
            {"search": {"trials": 2, "space": {"encoder_lr_factor": [0.1]}}},
            "search.space.encoder_lr_factor: without effect in arm scratch",
        ),
        (
            {"search": {"trials": 2, "space": {"batch_size": [4]}}},
            "search.space.batch_size: cannot be searched, every arm has the same batch",
        ),
        (
            {"search": {"trials": 2, "space": {"optim.rate": [0.1]}}},
            r"search\.space\.optim\.rate: the training has no such key",
        ),
        (
            {
                "arms": ["scratch", "permuted_labels", "ssl_ft"],
                "fit": {"task": {"name": "segmentation"}, "augment": {}},
                "metric": "dice_mean",
            },
            "arms permuted_labels: of classification alone",
        ),
    ],
)
def test_impossible_arms_and_searches_are_explained(
    make_config: Make, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make_config(**changes)
