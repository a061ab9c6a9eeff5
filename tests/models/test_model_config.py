from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from medssl.errors import ConfigError
from medssl.models.config import SegResNetConfig, ViTConfig, model_from_json


def test_json_brings_back_the_same_model(one_of_each):
    config, _ = one_of_each
    assert model_from_json(config.model_dump_json()) == config


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValidationError, match="5 does not divide dim 192"):
        ViTConfig(heads=5)


def test_a_vit_too_shallow_for_its_decoder_is_refused():
    with pytest.raises(ValidationError, match="at least 3"):
        ViTConfig(depth=2, token_size=8)


def test_a_level_without_blocks_is_refused():
    with pytest.raises(ValidationError, match="at least one block"):
        SegResNetConfig(blocks_down=(1, 0))


@given(st.tuples(*[st.integers(1, 200)] * 3), st.sampled_from([4, 8, 16]))
def test_a_vit_takes_whole_tokens_and_names_sizes_that_it_takes(size, token):
    config = ViTConfig(token_size=token)
    if all(n % token == 0 for n in size):
        config.check_patch(size)
        return
    with pytest.raises(ConfigError) as raised:
        config.check_patch(size)
    advice = str(raised.value).split("(")[1].split(")")[0]
    named = [int(word) for part in advice.split(";") for word in part.split(": ")[1].split(" or ")]
    assert named
    for side in named:
        config.check_patch((side,) * 3)


def test_a_cnn_names_the_least_size():
    config = SegResNetConfig(blocks_down=(1, 2, 2, 4))
    config.check_patch((16, 28, 17))
    with pytest.raises(ConfigError, match="at least 16 voxels"):
        config.check_patch((15, 64, 64))


def test_configurations_import_neither_torch_nor_monai():
    code = (
        "import sys, medssl.models.config, medssl.methods.config;"
        "sys.exit(any(m in sys.modules for m in ('torch', 'monai', 'numpy')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
