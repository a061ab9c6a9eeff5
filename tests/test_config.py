"""Configuration: overrides, and errors that name the key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from medssl.config import (
    Config,
    differing_keys,
    dump_config,
    load_config,
    parse_config,
    without_paths,
)
from medssl.errors import ConfigError


class Small(Config):
    name: Literal["small"] = "small"
    width: int = Field(4, ge=1)


class Large(Config):
    name: Literal["large"] = "large"
    depth: int = 3


class Whole(Config):
    lr: float = 0.1
    part: Annotated[Small | Large, Field(discriminator="name")] = Small()
    parts: list[Annotated[Small | Large, Field(discriminator="name")]] = Field([])
    maybe: Small | None = None
    small: Small = Small()


def write(folder: Path, text: str) -> Path:
    path = folder / "c.yaml"
    path.write_text(text)
    return path


def test_override_reaches_nested_key(tmp_path: Path) -> None:
    path = write(tmp_path, "part: {name: small, width: 2}\n")
    loaded = load_config(Whole, path, ["part.width=7", "lr=1e-3"])
    assert loaded.part == Small(width=7)
    assert loaded.lr == 1e-3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lrr: 1", "unknown key lrr; did you mean lr?"),
        ("part: {name: small, widht: 2}", "unknown key part.widht; did you mean width?"),
        ("part: {name: small, depth: 2}", "unknown key part.depth; did you mean width?"),
        ("part: {name: tiny}", "part.name: one of 'small', 'large' is expected (given: 'tiny')"),
        ("parts: [{name: small, depth: 2}]", "unknown key parts.0.depth; did you mean width?"),
        ("small: {width: 0}", "c.yaml: small.width: Input should be greater than"),
        ("maybe: {zzz: 2}", "valid keys: name, width"),
        ("part: {name: small, width: 0}", "part.width: Input should be greater than"),
        ("[1, 2]", "a mapping"),
        ("lr: [", "not valid YAML"),
    ],
)
def test_wrong_file_is_explained(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(Whole, write(tmp_path, text))
    assert message in str(caught.value)


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(Whole, write(tmp_path, "lrr: 1\nlr: x\n"))
    assert "lrr" in str(caught.value)
    assert "lr: Input should be a valid number" in str(caught.value)


def test_missing_file_and_bad_override(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no configuration file"):
        load_config(Whole, tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="key=value"):
        load_config(Whole, write(tmp_path, ""), ["lr"])


def test_dump_is_complete_and_loads_again(tmp_path: Path) -> None:
    config = parse_config(Whole, {"part": {"name": "large"}})
    again = load_config(Whole, write(tmp_path, dump_config(config)))
    assert again == config


def test_differing_keys_are_dotted() -> None:
    assert differing_keys({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}, "c": 2}) == ["a.b: 1 -> 3"]


class WithPaths(Config):
    store: Path
    init: Path | None = None
    lr: float = 0.1


class Nested(Config):
    one: WithPaths
    several: tuple[WithPaths, ...] = ()
    sizes: tuple[int, ...] = (1, 2)


def test_what_names_files_is_left_out_at_any_depth() -> None:
    one = WithPaths(store=Path("/archive/Miller"), init=Path("/home/Smith/run"))
    plain = without_paths(Nested(one=one, several=(one, one)))
    assert plain == {
        "one": {"lr": 0.1},
        "several": [{"lr": 0.1}, {"lr": 0.1}],
        "sizes": [1, 2],
    }
    assert without_paths(WithPaths(store=Path("/a"))) == {"init": None, "lr": 0.1}
