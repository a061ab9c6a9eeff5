"""Make the reference pages that are generated: python docs/make_reference.py

configuration.md comes from the pydantic models, cli.md from the commands, reason-codes.md from the
reasons, alarms.md from the alarms, explanation/archive-rows.md from archive_rows.py. A test
compares the pages with what this script would write.
"""

from __future__ import annotations

import inspect
import runpy
import sys
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import typer
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from typer.models import OptionInfo

from medssl.archive.config import IngestConfig
from medssl.archive.reason_codes import page as reason_codes_page
from medssl.cli.main import app
from medssl.config import Config
from medssl.efficiency.config import ClaimConfig, StudyConfig
from medssl.engine.config import PretrainConfig
from medssl.engine.health_alarms import page as alarms_page
from medssl.transfer.config import FinetuneConfig

REFERENCE = Path(__file__).resolve().parent / "reference"
_ARCHIVE_ROWS = runpy.run_path(str(Path(__file__).resolve().with_name("archive_rows.py")))

STAGES: dict[str, type[Config]] = {
    "medssl ingest --config": IngestConfig,
    "medssl pretrain": PretrainConfig,
    "medssl finetune": FinetuneConfig,
    "medssl label-efficiency": StudyConfig,
    "medssl audit --claim": ClaimConfig,
}
_SECTIONS = {cls: command for command, cls in STAGES.items()}


def pages() -> dict[str, str]:
    """File name to contents of every generated page."""
    return {
        "alarms.md": alarms_page(),
        "cli.md": cli_page(),
        "configuration.md": configuration_page(),
        "reason-codes.md": reason_codes_page(),
        _ARCHIVE_ROWS["PAGE"]: _ARCHIVE_ROWS["page"](),
    }


# --- configuration.md -----------------------------------------------------------------------------


def configuration_page() -> str:
    """Every key of every configuration file, a table a group."""
    lines = [
        "# Configuration",
        "",
        "Made by `docs/make_reference.py` from the field descriptions; do not edit.",
        "",
        "A configuration is a YAML file. Keys that are left out have the default below, unknown "
        "keys are refused with the nearest valid one, and `--set a.b=value` overrides a key (the "
        "value is YAML). A group that is one of several kinds is chosen by its key `name`.",
        "",
        *(f"- [{command}](#{_anchor(command)})" for command in STAGES),
    ]
    described: dict[type[Config], None] = {}
    for command, cls in STAGES.items():
        lines += ["", f"## {command}", "", _first_line(cls), "", *_table(cls)]
        described.update(dict.fromkeys(c for c in _inner_configs(cls) if c not in _SECTIONS))
    lines += ["", "## Groups"]
    for cls in described:
        lines += ["", f"### {cls.__name__}", "", _first_line(cls), "", *_table(cls)]
    return "\n".join(lines) + "\n"


def _table(cls: type[Config]) -> Iterator[str]:
    yield "| key | kind | default | meaning |"
    yield "|---|---|---|---|"
    for name, field in cls.model_fields.items():
        meaning = (field.description or "").replace("|", "\\|")
        if not meaning.split(" ")[0].endswith(":"):
            meaning = meaning[:1].upper() + meaning[1:]
        if name == "name":
            meaning = meaning or "Chooses this kind."
        cells = (f"`{name}`", _kind(field), _default(field), meaning)
        yield "| " + " | ".join(cells) + " |"


def _kind(field: FieldInfo) -> str:
    text = _shown(field.annotation)
    for bound, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
        limits = [getattr(m, bound) for m in field.metadata if getattr(m, bound, None) is not None]
        text += "".join(f" {sign} {limit:g}" for limit in limits)
    return text.replace("|", "\\|")


def _shown(annotation: Any) -> str:
    """A type as the author of a YAML file thinks of it."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _shown(args[0])
    if origin is Literal:
        return " or ".join(f"`{arg}`" for arg in args)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_shown(arg) for arg in args)
    if origin in (tuple, list):
        inner = [_shown(arg) for arg in args if arg is not Ellipsis]
        if Ellipsis in args or origin is list:
            return f"list of {inner[0]}"
        return f"[{', '.join(inner)}]"
    if origin is dict:
        return " to ".join(_shown(arg) for arg in args)
    if isinstance(annotation, type) and issubclass(annotation, Config):
        heading = _SECTIONS.get(annotation, annotation.__name__)
        return f"[{annotation.__name__}](#{_anchor(heading)})"
    if annotation is Any:
        return "values"
    names = {int: "integer", float: "number", str: "text", bool: "true or false", Path: "path"}
    return "null" if annotation is type(None) else names[annotation]


def _default(field: FieldInfo) -> str:
    if field.default_factory is dict:
        return "`{}`"
    if field.default is PydanticUndefined:
        return "required"
    if isinstance(field.default, Config):
        return "its defaults" if not field.default.model_fields_set else _flow(field.default)
    return f"`{_yaml(field.default)}`"


def _flow(config: Config) -> str:
    """The defaults of a group that differ from the group's own."""
    values = config.model_dump(mode="json", include=config.model_fields_set)
    return "`{" + ", ".join(f"{key}: {_yaml(value)}" for key, value in values.items()) + "}`"


def _yaml(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_yaml(v) for v in value) + "]"
    return str(value) if value != "" else '""'


def _inner_configs(cls: type[Config]) -> Iterator[type[Config]]:
    for field in cls.model_fields.values():
        for inner in _configs_in(field.annotation):
            yield inner
            yield from _inner_configs(inner)


def _configs_in(annotation: Any) -> list[type[Config]]:
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return [annotation]
    return [found for arg in typing.get_args(annotation) for found in _configs_in(arg)]


# --- cli.md ---------------------------------------------------------------------------------------


def cli_page() -> str:
    """Every command with its arguments and options."""
    lines = [
        "# Commands",
        "",
        "Made by `docs/make_reference.py` from the commands; do not edit.",
        "",
        "Exit codes: 0 done; 1 the work was judged and failed (rejected input under `--strict`, a "
        "collapsed pretraining, an audit's FAIL); 2 the command, its configuration or its input is "
        "wrong; 130 stopped by the user. `medssl audit` adds 3 (sound, but unsupported or "
        "vacuous), 4 (inconclusive) and 5 (internal error). An error is one line on stderr.",
    ]
    for words, function in _commands(app):
        parameters = list(_parameters(function))
        usage = [p.shown for p in parameters if p.default == "required"]
        name = " ".join(("medssl", *words))
        lines += ["", f"## {name}", "", inspect.getdoc(function) or "", "", "```"]
        lines += [" ".join([name, *usage, "[options]"]), "```", ""]
        lines += ["| argument | default | meaning |", "|---|---|---|"]
        lines += [f"| `{p.shown}` | {p.default} | {p.meaning} |" for p in parameters]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Parameter:
    """One argument or option of a command, as the page shows it."""

    shown: str
    default: str
    meaning: str


def _commands(group: typer.Typer) -> Iterator[tuple[tuple[str, ...], Callable[..., Any]]]:
    """(words, function) of every command, those of groups after the others."""
    for command in group.registered_commands:
        assert command.callback is not None
        yield (command.name or command.callback.__name__.replace("_", "-"),), command.callback
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        for words, function in _commands(inner.typer_instance):
            yield (str(inner.name), *words), function


def _parameters(function: Callable[..., Any]) -> Iterator[Parameter]:
    module = vars(sys.modules[function.__module__])
    hints = typing.get_type_hints(function, globalns=module, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        kind, info = typing.get_args(hints[name])[:2]
        shown = name.upper()
        if isinstance(info, OptionInfo):
            # In an Annotated option the first name stands where a default would.
            names = [info.default, *(info.param_decls or ())]
            given = [n for n in names if isinstance(n, str) and n.startswith("--")]
            shown = given[0] if given else f"--{name.replace('_', '-')}"
            shown += "" if kind is bool else f" {_metavar(kind)}"
        unset = parameter.default in ("", []) or parameter.default is None
        unset |= parameter.default is False
        default = "" if unset else f"`{parameter.default}`"
        if parameter.default is inspect.Parameter.empty:
            default = "required"
        yield Parameter(shown, default, info.help or "")


def _metavar(kind: Any) -> str:
    """What an option takes, in one word."""
    words = {int: "INTEGER", float: "NUMBER", str: "TEXT", Path: "PATH"}
    if kind in words:
        return words[kind]
    if typing.get_origin(kind) is typing.Literal:
        return "|".join(map(str, typing.get_args(kind)))
    return next(_metavar(inner) for inner in typing.get_args(kind) if inner is not type(None))


def _first_line(cls: type[Config]) -> str:
    return (cls.__doc__ or "").strip().split("\n\n")[0].replace("\n    ", " ")


def _anchor(heading: str) -> str:
    kept = "".join(c for c in heading.lower() if c.isalnum() or c in " -")
    return kept.replace(" ", "-")


if __name__ == "__main__":
    for file_name, text in pages().items():
        (REFERENCE / file_name).write_text(text, encoding="utf-8")
        print(REFERENCE / file_name)
