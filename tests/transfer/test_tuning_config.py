"""Which settings a search tries: a pure function of space, trials and the training's own values."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from typing import Any

import pytest

from medssl.config import parse_config
from medssl.errors import ConfigError
from medssl.transfer.config import FinetuneConfig, FitConfig
from medssl.transfer.tuning_config import SearchConfig, with_setting

BASE: dict[str, Any] = {
    "task": {"name": "classification", "label": "x"},
    "model": {"name": "segresnet"},
    "augment": {"patch": {"size": [16, 16, 16]}},
    "optim": {"lr": 1e-3},
}
SPACE = {"optim.lr": [1e-3, 3e-3, 1e-2], "task.dropout": [0, 0.5]}


def fit_config(**changes: Any) -> FitConfig:
    return parse_config(FitConfig, {**BASE, **changes})


def search(trials: int, space: dict[str, list[Any]]) -> SearchConfig:
    return parse_config(SearchConfig, {"trials": trials, "space": space})


def test_the_trainings_own_values_come_first_and_all_settings_once() -> None:
    settings = search(7, SPACE).settings(fit_config())
    assert settings[0] == {"optim.lr": 1e-3, "task.dropout": 0.2}
    product = [
        {"optim.lr": lr, "task.dropout": dropout}
        for lr, dropout in itertools.product([1e-3, 3e-3, 1e-2], [0.0, 0.5])
    ]
    assert sorted(map(str, settings[1:])) == sorted(map(str, product))
    assert settings[1:] != product, "they are shuffled"
    # A whole number stands for a real one, as the configuration takes it.
    assert all(isinstance(s["task.dropout"], float) for s in settings)


def test_own_values_within_the_space_are_not_tried_twice() -> None:
    fit = fit_config(task={"name": "classification", "label": "x", "dropout": 0.5})
    settings = search(6, SPACE).settings(fit)
    assert settings[0] == {"optim.lr": 1e-3, "task.dropout": 0.5}
    assert len({str(s) for s in settings}) == 6


def test_fewer_trials_are_the_beginning_of_more_in_any_order_of_the_space() -> None:
    turned = {
        "task.dropout": SPACE["task.dropout"][::-1],
        "optim.lr": SPACE["optim.lr"][::-1],
    }
    many = search(7, SPACE).settings(fit_config())
    assert search(3, SPACE).settings(fit_config()) == many[:3]
    assert search(3, turned).settings(fit_config()) == many[:3]


def test_another_process_lists_the_same() -> None:
    code = (
        "import json, sys; from medssl.config import parse_config;"
        "from medssl.transfer.config import FitConfig;"
        "from medssl.transfer.tuning_config import SearchConfig;"
        "base, space = json.loads(sys.argv[1]);"
        "fit = parse_config(FitConfig, base);"
        "found = parse_config(SearchConfig, {'trials': 5, 'space': space});"
        "print(json.dumps(found.settings(fit)))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, json.dumps([BASE, SPACE])],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(out.stdout) == search(5, SPACE).settings(fit_config())


def test_a_setting_changes_what_it_names_and_nothing_else() -> None:
    fit = fit_config()
    changed = with_setting(fit, {"optim.lr": 0.01, "task.dropout": 0.5})
    assert (changed.optim.lr, changed.task.dropout) == (0.01, 0.5)  # type: ignore[union-attr]
    assert with_setting(changed, {"optim.lr": 1e-3, "task.dropout": 0.2}) == fit
    assert with_setting(fit, {}) == fit


@pytest.mark.parametrize(
    ("trials", "space", "message"),
    [
        (2, {}, "trials 2: space has 1 different settings"),
        (8, SPACE, "trials 8: space has 7 different settings"),
        (2, {"optim.lrr": [1]}, r"space\.optim\.lrr: the training has no such key; .*lr, weight"),
        (2, {"optim": [1]}, r"space\.optim: a group of keys; name one of lr"),
        (2, {"optim.lr": [-1]}, r"optim\.lr=-1: Input should be greater than 0"),
        (2, {"optim.lr": [1, 1.0]}, r"space\.optim\.lr: a value stands twice"),
        (2, {"optim.lr": []}, r"space\.optim\.lr: no value"),
        (2, {"steps": [5, 6]}, r"space\.steps: cannot be searched, .* equal cost"),
        (2, {"model.init_filters": [4, 8]}, r"space\.model\.init_filters: cannot be searched"),
        (2, {"task.label": ["y"]}, r"space\.task\.label: cannot be searched, it is what"),
        (2, {"store": ["a", "b"]}, r"space\.store: cannot be searched"),
        (2, {"channels": [["CT"], ["CT", "PT"]]}, r"space\.channels: cannot be searched"),
        (2, {"augment.patch.spacing_mm": [1, 2]}, r"spacing_mm: cannot be searched, .* grid"),
        (2, {"augment.patch": [{"spacing_mm": 2}]}, r"space\.augment\.patch: cannot be searched"),
    ],
)
def test_impossible_searches_are_refused_by_key(
    trials: int, space: dict[str, list[Any]], message: str
) -> None:
    values = {**BASE, "store": "s", "search": {"trials": trials, "space": space}}
    with pytest.raises(ConfigError, match=r"search\..*" + message):
        parse_config(FinetuneConfig, values)


def test_how_a_segmentation_is_measured_is_not_searched() -> None:
    fit = fit_config(task={"name": "segmentation"})
    for key, value in {"nsd_tolerance_mm": 9.0, "regions": {"whole": [1, 2]}}.items():
        with pytest.raises(ValueError, match=rf"space\.task\.{key}: cannot be searched"):
            search(2, {f"task.{key}": [value]}).settings(fit)
    tried = search(2, {"task.labelled_share": [0.5]}).settings(fit)
    assert tried == [{"task.labelled_share": 0.67}, {"task.labelled_share": 0.5}]


def test_values_that_do_not_suit_each_other_are_refused() -> None:
    """Each is possible alone: a pretrained encoder, and layers of it that learn more slowly."""
    with pytest.raises(ValueError, match="head_only_steps 1000 leaves none"):
        search(2, {"head_only_steps": [1000]}).settings(fit_config(init="run"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"regime": {"name": "linear_probe"}, "optim": {}}, "nothing to tune where regime is"),
        ({"split": {"val": 0.0}}, "search: needs a validation part"),
    ],
)
def test_a_search_without_effect_is_refused(changes: dict[str, Any], message: str) -> None:
    values = {k: v for k, v in {**BASE, **changes}.items() if v != {}}
    with pytest.raises(ConfigError, match=message):
        parse_config(FinetuneConfig, {**values, "store": "s", "search": {}})


def test_what_is_wrong_without_the_search_is_not_put_down_to_it() -> None:
    values = {**BASE, "store": "s", "head_only_steps": 5, "search": {}}
    with pytest.raises(ConfigError) as refused:
        parse_config(FinetuneConfig, values)
    assert "head_only_steps: without effect where init is null" in str(refused.value)
    assert "search" not in str(refused.value)
