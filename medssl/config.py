"""YAML files and --set overrides, merged into frozen pydantic models.

Every problem of a file is reported at once, each with its key and, for an unknown key, the
nearest valid one.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from medssl.errors import ConfigError


class Config(BaseModel):
    """Base of every configuration: frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


C = TypeVar("C", bound=Config)

_TAG = "name"
"""The key by which a configuration says which of several kinds it is."""


def load_config(cls: type[C], path: Path, overrides: Sequence[str] = ()) -> C:
    """Read `path`, apply `a.b=value` overrides (values are YAML), and validate.

    Raises:
        ConfigError: the file is missing or no YAML mapping, or keys or values are wrong.
    """
    if not path.is_file():
        raise ConfigError(f"no configuration file at {path}; the folder configs/ has examples")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        raise ConfigError(f"{path}{line}: not valid YAML") from error
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: a mapping of keys to values is expected")
    for override in overrides:
        _apply_override(values, override)
    return parse_config(cls, values, source=str(path))


def parse_config(cls: type[C], values: dict[str, Any], source: str = "config") -> C:
    """Validate a mapping; every problem is in the one ConfigError that is raised."""
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        problems = [_explain(cls, dict(item)) for item in error.errors()]
        raise ConfigError(f"{source}: " + "; ".join(problems)) from error


def without_paths(config: BaseModel) -> dict[str, Any]:
    """The configuration as plain values for JSON, without any that names a file or a folder.

    For what leaves the run's folder: paths may name people and places.
    """
    plain = config.model_dump(mode="json")
    kept: dict[str, Any] = {}
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, Path):
            continue
        if isinstance(value, BaseModel):
            kept[name] = without_paths(value)
        elif isinstance(value, list | tuple):
            pairs = zip(value, plain[name], strict=True)
            kept[name] = [without_paths(v) if isinstance(v, BaseModel) else p for v, p in pairs]
        else:
            kept[name] = plain[name]
    return kept


def dump_config(config: Config) -> str:
    """The complete configuration as YAML, defaults included, so that it can be run again."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def differing_keys(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys whose values differ, each as `key: old -> new`."""
    lines = []
    for key in [*old, *(k for k in new if k not in old)]:
        dotted = f"{prefix}{key}"
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            lines += differing_keys(a, b, f"{dotted}.")
        elif a != b:
            lines.append(f"{dotted}: {a!r} -> {b!r}")
    return lines


def _apply_override(values: dict[str, Any], override: str) -> None:
    dotted, equals, text = override.partition("=")
    if not equals or not dotted:
        raise ConfigError(f"--set {override}: the form is key=value, for example optim.lr=0.001")
    node = values
    *parents, last = dotted.split(".")
    for name in parents:
        child = node.setdefault(name, {})
        if not isinstance(child, dict):
            raise ConfigError(f"--set {override}: {name} is a value, not a group of keys")
        node = child
    try:
        node[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override}: the value is not valid YAML") from error


def _explain(cls: type[BaseModel], problem: dict[str, Any]) -> str:
    location, models = _located(cls, [str(part) for part in problem["loc"]])
    key = ".".join(location)
    if problem["type"] == "extra_forbidden":
        valid = sorted({field for model in models for field in model.model_fields})
        close = difflib.get_close_matches(location[-1], valid, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}?" if close else f"valid keys: {', '.join(valid)}"
        return f"unknown key {key}; {hint}"
    if problem["type"] == "union_tag_invalid":
        named, tags = problem["ctx"]["discriminator"].strip("'"), problem["ctx"]["expected_tags"]
        return f"{key}.{named}: one of {tags} is expected (given: {problem['ctx']['tag']!r})"
    if problem["type"] == "missing":
        return f"key {key} is required"
    if not key:
        return str(problem["msg"]).removeprefix("Value error, ")
    given = problem.get("input")
    shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool) else ""
    return f"{key}: {problem['msg'].removeprefix('Value error, ')}{shown}"


def _located(cls: type[BaseModel], parts: list[str]) -> tuple[list[str], list[type[BaseModel]]]:
    """pydantic's location as the keys of the file, and the models that may hold the last of them.

    A discriminated union adds its tag to the location: it says which model, and is no key.
    """
    keys: list[str] = []
    models, inner = [cls], [cls]
    for part in parts:
        tagged = [model for model in inner if _TAG in model.model_fields and _tag_of(model) == part]
        if tagged and part not in {field for model in inner for field in model.model_fields}:
            models = inner = tagged
            continue
        keys.append(part)
        models = inner
        fields = [model.model_fields[part] for model in models if part in model.model_fields]
        inner = [m for field in fields for m in _models_in(field.annotation)] or models
    return keys, models


def _tag_of(model: type[BaseModel]) -> object:
    return model.model_fields[_TAG].default


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) in (
        typing.Union,
        types.UnionType,
        typing.Annotated,
        list,
        dict,
    ):
        return [m for arg in typing.get_args(annotation) for m in _models_in(arg)]
    return []
