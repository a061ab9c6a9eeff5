"""What a pretraining says before its first step, and after its last."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from medssl.config import load_config
from medssl.engine.config import PretrainConfig
from medssl.engine.pretrain import pretrain
from medssl.errors import ConfigError

ConfigOf = Callable[..., PretrainConfig]


@pytest.fixture
def config_of(write_config: Callable[..., Path]) -> ConfigOf:
    """config_of("key=value", ...): a pretraining of one step."""
    return lambda *sets: load_config(PretrainConfig, write_config("mae", steps=1), sets)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ("augment.patch.size=[16, 16, 2]", r"enlarge augment\.patch\.size"),
        ("method.block_size=5", r"method\.block_size 5 does not divide .* augment\.patch\.size"),
        ("method={name: simclr, overlap: [0.9, 0.1]}", r"method\.overlap \(0\.9, 0\.1\)"),
    ],
)
def test_what_does_not_suit_leaves_no_folder_that_refuses_the_right_one(
    config_of: ConfigOf, tmp_path: Path, changed: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        pretrain(config_of(changed), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_finished_run_is_told_again_and_refuses_another_configuration(
    config_of: ConfigOf, tmp_path: Path
) -> None:
    first = pretrain(config_of(), tmp_path / "run")
    weights = first.encoder.read_bytes()
    again = pretrain(config_of(), tmp_path / "run")
    assert (first.was_done, again.was_done) == (False, True)
    assert (again.volumes, again.final_loss) == (6, first.final_loss)
    assert again.encoder.read_bytes() == weights
    with pytest.raises(ConfigError, match="seed: 0 -> 2"):
        pretrain(config_of("seed=2"), tmp_path / "run")


@pytest.mark.parametrize("betas", ["[0.9, 1.0]", "[-0.1, 0.9]"])
def test_averaging_rates_are_below_1(config_of: ConfigOf, betas: str) -> None:
    with pytest.raises(ConfigError, match=r"optim\.betas\.[01]: Input should be"):
        config_of(f"optim.betas={betas}")
