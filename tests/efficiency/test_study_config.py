"""What the configuration of a study refuses."""

from __future__ import annotations

import pytest

from medssl.config import parse_config
from medssl.efficiency.config import StudyConfig
from medssl.errors import ConfigError


def test_lora_has_nothing_to_update_in_arm_scratch() -> None:
    values = {
        "store": "s",
        "encoder": "r",
        "metric": "auc_macro",
        "fit": {"task": {"name": "classification", "label": "x"}, "augment": {}},
    }
    parse_config(StudyConfig, values)
    values["fit"] = {**values["fit"], "regime": {"name": "lora"}}  # type: ignore[dict-item]
    with pytest.raises(ConfigError, match=r"fit\.regime: lora updates pretrained weights"):
        parse_config(StudyConfig, values)
