"""What a search tries: settings of a training, listed before anything is trained."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import Field, ValidationError

from medssl.config import Config

Setting = dict[str, Any]
"""Dotted keys of a `FitConfig` with their values."""

C = TypeVar("C", bound=Config)

_FIXED = {
    "augment.patch": "all that predicts with the model reads scans on the grid of config.yaml",
    "channels": "it is what is learned from",
    "init": "it is what trials are compared within",
    "load_decoder": "it is what trials are compared within",
    "min_matched": "it is what trials are compared within",
    "model": "trials are compared within one network",
    "regime": "trials are compared within one regime",
    "runtime": "it does not change what is learned",
    "search": "it is the search",
    "seed": "trials are compared at one seed",
    "split": "trials are compared on the same cases",
    "store": "trials are compared on the same cases",
    "select_by": "trials are compared by one metric",
    "steps": "trials are compared at equal cost",
    "temperature_scaling": "it changes what is predicted, not what is learned",
    "test_time_flips": "it changes what is predicted, not what is learned",
    "validate_every": "trials are compared by one stopping rule",
    "patience": "trials are compared by one stopping rule",
}
_TASK_KEYS = ("dropout", "label_smoothing", "labelled_share", "loss")  # how, not what, it learns
_SHUFFLE = b"medssl search"


class SearchConfig(Config):
    """Settings tried one after the other, on the same cases; validation chooses among them."""

    trials: int = Field(
        8, ge=1, description="Settings tried, that of the training itself among them. 1: none else."
    )
    space: dict[str, tuple[Any, ...]] = Field(
        {"optim.lr": (1e-4, 3e-4, 1e-3, 3e-3), "optim.weight_decay": (0.01, 0.1)},
        description="Dotted key of the training -> values to try. With fewer trials than the space "
        "has settings, a fixed shuffle decides which.",
    )

    def settings(self, fit: Config) -> list[Setting]:
        """What the trials try: first the values that `fit` has itself, then others of the space.

        A function of the space, the number of trials and `fit` alone: all settings of the space are
        put in the order of their SHA-256.

        Raises:
            ValueError: a key or value is none of `fit`, or may not be searched; or there are fewer
                settings than trials.
        """
        own = {key: _value_of(fit, key) for key in self.space}
        tried = {key: _valid_values(fit, key, values) for key, values in self.space.items()}
        product = [
            dict(zip(tried, values, strict=True)) for values in itertools.product(*tried.values())
        ]
        others = sorted((s for s in product if s != own), key=_shuffled)
        if len(others) + 1 < self.trials:
            raise ValueError(
                f"trials {self.trials}: space has {len(others) + 1} different settings with the "
                "training's own; add values or lower trials"
            )
        settings = [own, *others[: self.trials - 1]]
        for setting in settings:  # values that are valid one by one may not suit each other
            with_setting(fit, setting)
        return settings


def with_setting(config: C, setting: Mapping[str, Any]) -> C:
    """`config` with the values of a setting.

    Raises:
        ValueError: they do not suit it.
    """
    values = config.model_dump()
    for key, value in setting.items():
        *parents, last = key.split(".")
        node = values
        for name in parents:
            node = node[name]
        node[last] = value
    try:
        return type(config).model_validate(values)
    except ValidationError as error:
        keys = ", ".join(f"{key}={value}" for key, value in setting.items())
        problems = "; ".join(item["msg"].removeprefix("Value error, ") for item in error.errors())
        raise ValueError(f"space, {keys}: {problems}") from error


def _value_of(config: Config, key: str) -> Any:
    """The value of a dotted key, as JSON has it."""
    for fixed, reason in _FIXED.items():
        if f"{key}.".startswith(f"{fixed}."):
            raise ValueError(f"space.{key}: cannot be searched, {reason}")
    node: Any = config.model_dump(mode="json")
    names = key.split(".")
    for name in names:
        if not isinstance(node, dict) or name not in node:
            known = ", ".join(node) if isinstance(node, dict) else "none"
            raise ValueError(f"space.{key}: the training has no such key; keys there: {known}")
        node = node[name]
    if isinstance(node, dict):
        raise ValueError(f"space.{key}: a group of keys; name one of {', '.join(node)}")
    if names[0] == "task" and names[1] not in _TASK_KEYS:
        raise ValueError(f"space.{key}: cannot be searched, it is what is learned and how measured")
    return node


def _valid_values(config: Config, key: str, values: tuple[Any, ...]) -> list[Any]:
    """The values as the configuration takes them (1 becomes 1.0 where a number is real)."""
    if not values:
        raise ValueError(f"space.{key}: no value is given")
    taken = [_value_of(with_setting(config, {key: value}), key) for value in values]
    if any(value in taken[:place] for place, value in enumerate(taken)):
        raise ValueError(f"space.{key}: a value stands twice")
    return taken


def _shuffled(setting: Setting) -> bytes:
    text = json.dumps(setting, sort_keys=True).encode()
    return hashlib.sha256(_SHUFFLE + text).digest()
