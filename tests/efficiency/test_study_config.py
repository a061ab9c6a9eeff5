"""What the configuration of a study refuses, and that the examples are valid."""

from __future__ import annotations

import pytest

from medssl.bundled import bundled
from medssl.config import load_config, parse_config
from medssl.efficiency.config import StudyConfig
from medssl.errors import ConfigError


@pytest.mark.parametrize("name", ["smoke", "quickstart", "lung_nodules", "hippocampus"])
def test_the_example_configurations_are_valid(name: str) -> None:
    config = load_config(StudyConfig, bundled(f"configs/efficiency/{name}.yaml"))
    assert len(config.settings) == config.search.trials


def test_a_regime_is_an_arms_and_no_setting_of_fit() -> None:
    values = {
        "store": "s",
        "encoder": "r",
        "metric": "auc_macro",
        "fit": {"task": {"name": "classification", "label": "x"}, "augment": {}},
    }
    parse_config(StudyConfig, values)
    values["fit"] = {**values["fit"], "regime": {"name": "lora"}}  # type: ignore[dict-item]
    with pytest.raises(ConfigError, match=r"fit\.regime: a study's arms differ in it"):
        parse_config(StudyConfig, values)
